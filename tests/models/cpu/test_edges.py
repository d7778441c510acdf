"""The `edges` mixer of a CPU: the messages and gradients of the portable one, whichever thread takes the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu import blocks
from hrm_cli.models.cpu.edges import mix_and_norm, weights_for_cpu
from hrm_cli.models.cpu.kernels import launch
from hrm_cli.models.layers import rms_norm
from hrm_cli.models.mixers.edges import EdgesStructure
from hrm_cli.models.mixers.neighbors import NeighborsWeights
from hrm_cli.puzzles.maze.domain import MazeDomain

from ..test_edges import answers, edges_model  # noqa: TID252

HIDDEN = 24


def weights(dtype: torch.dtype = torch.float32) -> NeighborsWeights:
    generator = torch.Generator().manual_seed(0)
    into, out = (
        torch.randn(shape, generator=generator) * 0.3
        for shape in ((3 * HIDDEN, HIDDEN), (HIDDEN, 5 * HIDDEN))
    )
    return NeighborsWeights(into.to(dtype), out.to(dtype))


def state(puzzles: int, cells: int) -> Tensor:
    return torch.randn(puzzles, 4 * cells, HIDDEN, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(2, 1), (1, 7), (6, 5)])
@pytest.mark.parametrize("threads", ["one", "three of torch", "three of Python"])
def test_every_side_receives_the_same_messages_on_any_number_of_threads(
    size: tuple[int, int], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure, own = EdgesStructure(MazeDomain(*size)), weights()
    x = state(5, size[0] * size[1])
    before = torch.get_num_threads()
    torch.set_num_threads(1 if threads == "one" else 3)
    if threads == "three of Python":
        monkeypatch.setattr(launch, "_gnu_parallel", lambda: None)
    try:
        with torch.no_grad():
            found = mix_and_norm(x, weights_for_cpu(own, structure.grid), 1e-5)
            expected = rms_norm(x + structure.mix(x, own, structure.grid), 1e-5)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equal_sides", [False, True], ids=["different sides", "equal sides"])
@pytest.mark.parametrize("size", [(1, 2), (3, 5)])
def test_gradients_are_those_of_the_portable_mixer(size: tuple[int, int], equal_sides: bool) -> None:
    # Sides that send the same share the gradient of the maximum.
    structure = EdgesStructure(MazeDomain(*size))
    x = state(3, size[0] * size[1])
    if equal_sides:
        x = x[:, ::4].repeat_interleave(4, dim=1)
    factors = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def gradients(on_cpu: bool) -> tuple[Tensor, ...]:
        own, given = (
            NeighborsWeights(*(one.requires_grad_() for one in weights())),
            x.clone().requires_grad_(),
        )
        if on_cpu:
            found = mix_and_norm(given, weights_for_cpu(own, structure.grid), 1e-5)
        else:
            found = rms_norm(given + structure.mix(given, own, structure.grid), 1e-5)
        return torch.autograd.grad((found * factors).sum(), (given, *own))

    for found, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_rotations_and_reflections_change_no_rounding() -> None:
    own = weights()
    x = state(1, 24)

    def mixed(cells: Tensor) -> Tensor:
        structure = EdgesStructure(MazeDomain(*cells.shape[:2]))
        flat = cells.reshape(1, -1, HIDDEN)
        with torch.no_grad():
            return mix_and_norm(flat, weights_for_cpu(own, structure.grid), 1e-5).view(cells.shape)

    plain = x.view(4, 6, 4, HIDDEN)
    for name, moved in MOVES.items():
        torch.testing.assert_close(mixed(moved(plain)), moved(mixed(plain)), rtol=0, atol=0, msg=name)


MOVES = {
    # The sides of a cell: up, right, down, left.
    "transposition": lambda cells: cells.transpose(0, 1)[:, :, [3, 2, 1, 0]].contiguous(),
    "upside down": lambda cells: cells.flip(0)[:, :, [2, 1, 0, 3]].contiguous(),
    "left and right": lambda cells: cells.flip(1)[:, :, [0, 3, 2, 1]].contiguous(),
}


def test_a_nan_reaches_every_side_that_receives_its_message_so_that_training_stops() -> None:
    structure = EdgesStructure(MazeDomain(3, 3))
    x = state(2, 9)
    x[1, 0, 3] = torch.nan
    with torch.no_grad():
        found = mix_and_norm(x, weights_for_cpu(weights(), structure.grid), 1e-5)
    assert found[0].isfinite().all()
    assert found[1, :4].isnan().all()
    assert found[1, -4:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_messages_in_every_format_are_near_those_in_float32(dtype: torch.dtype) -> None:
    structure, own = EdgesStructure(MazeDomain(4, 4)), weights(dtype)
    x = state(2, 16).to(dtype)
    with torch.no_grad():
        found = mix_and_norm(x, weights_for_cpu(own, structure.grid), 1e-5)
        exact = NeighborsWeights(*(one.float() for one in own))
        sent = x.float() + structure.mix(x.float(), exact, structure.grid)
        expected = F.rms_norm(sent, (HIDDEN,), eps=1e-5)
    torch.testing.assert_close(found.float(), expected, rtol=3e-2, atol=3e-2)


def test_a_batch_that_is_computed_in_parts_has_the_states_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = edges_model(5, 4, hidden_size=HIDDEN)
    grids = np.random.default_rng(0).integers(1, 6, (7, 5, 4))
    whole = answers(model, grids)
    monkeypatch.setattr(blocks, "_PART_BYTES", 3 * 80 * HIDDEN * 4 // torch.get_num_threads())
    parts: list[int] = []
    original = blocks._structured_mix_and_norm

    def counted(x: Tensor, *more: Any) -> Tensor:
        parts.append(len(x))
        return original(x, *more)

    monkeypatch.setattr(blocks, "_structured_mix_and_norm", counted)
    found = answers(model, grids)
    assert parts[:3] == [3, 3, 1]
    torch.testing.assert_close(found.logits, whole.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.q_halt, whole.q_halt, rtol=1e-4, atol=1e-4)
