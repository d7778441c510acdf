"""The `units` mixer of a CPU hears what the portable one hears, whoever takes the rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hrm_cli.models.cpu.kernels import launch
from hrm_cli.models.cpu.units import mix_and_norm, weights_for_cpu
from hrm_cli.models.layers import Linear, rms_norm
from hrm_cli.models.mixers.units import RelationTables, Units, mix_units, relation_tables
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


@pytest.mark.parametrize("puzzles", [1, 5])
@pytest.mark.parametrize("threads", ["one", "three of torch", "three of Python"])
@pytest.mark.parametrize("attends", [True, False])
def test_every_position_receives_the_same_messages_on_any_number_of_threads(
    puzzles: int, threads: str, attends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, relations, hidden = torch.Generator().manual_seed(0), SudokuDomain(9).relations, 24
    mixer = Units(hidden, 3, relations, attends=attends)
    for module in mixer.modules():
        if isinstance(module, Linear):
            module.initialize(generator)
    if attends:
        nn.init.normal_(mixer.pair_bias, generator=generator)
    membership, pairs = relation_tables(relations)
    sizes = tuple(len(units) for _, units in relations.classes)
    tables = RelationTables(membership, membership / membership.sum(1, keepdim=True), pairs, sizes, 9)
    x = torch.randn(puzzles, 729, hidden, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads == "one" else 3)
    if threads == "three of Python":
        monkeypatch.setattr(launch, "_gnu_parallel", lambda: None)
    try:
        with torch.no_grad():
            weights = mixer.cast(torch.float32)
            found = mix_and_norm(x, weights_for_cpu(weights, tables), 1e-5)
            expected = rms_norm(x + mix_units(x, weights, tables), 1e-5)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_nan_reaches_every_position_that_receives_its_message_so_that_training_stops(
    dtype: torch.dtype,
) -> None:
    relations, hidden = SudokuDomain(4).relations, 8
    mixer = Units(hidden, 1, relations, attends=False)
    for module in mixer.modules():
        if isinstance(module, Linear):
            module.initialize(torch.Generator().manual_seed(0))
    membership, pairs = relation_tables(relations)
    sizes = tuple(len(units) for _, units in relations.classes)
    tables = RelationTables(membership, membership, pairs, sizes, 4)
    x = torch.ones(2, 64, hidden, dtype=dtype)
    x[1, 0, 3] = torch.nan
    with torch.no_grad():
        found = mix_and_norm(x, weights_for_cpu(mixer.cast(dtype), tables), 1e-5)
    assert found[0].isfinite().all()
    # Cell 0, and its neighbor in the row; not the cell in the opposite corner.
    assert found[1, 0].isnan().all()
    assert found[1, 4].isnan().any()
    assert found[1, -1].isfinite().all()
