"""Position tables: the units of a domain's cells, their embeddings, and the ledger's count of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hrm_cli.accounting.components import components
from hrm_cli.accounting.counting import count_exactly
from hrm_cli.checkpoints.regime import built_in_knowledge
from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.position_tables import PositionTables
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.cell_units import cell_units, units_of
from hrm_cli.puzzles.domain import make_domain

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_heads": 2, "H_layers": 1, "L_layers": 1, "halt_max_steps": 2, "forward_dtype": "float32",
    "puzzle_emb_ndim": 40,
}  # fmt: skip
ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "with rope": {},
    "with learned positions": {"pos_encodings": "learned"},
    "alone": {"pos_encodings": "none", "puzzle_emb_ndim": 0},
    "with token mixing": {"core": "trm", "mlp_t": True, "pos_encodings": "none"},
}


def made(tables: bool, domain: dict[str, Any] | None = None, **more: Any) -> ACTModel:
    arch = ArchConfig(**{**SMALL, **more, "position_tables": tables})
    return build_model(arch, 6, 16, 3, domain=domain, generator=torch.Generator().manual_seed(0))


def test_sudoku_cells_belong_to_their_row_column_and_box() -> None:
    units = units_of(make_domain("sudoku", size=6))
    assert units.count == 18
    # Row 2, column 4 of 6×6, whose boxes have 2 rows and 3 columns: box 3.
    assert units.of_cells[2 * 6 + 4].tolist() == [2, 6 + 4, 12 + 3]


@settings(max_examples=30)
@given(rows=st.integers(2, 12), columns=st.integers(2, 12))
def test_cells_of_a_grid_belong_to_their_row_and_column(rows: int, columns: int) -> None:
    units = cell_units({"name": "maze", "rows": rows, "columns": columns}, 6, rows * columns)
    assert units.count == rows + columns
    cells = units.of_cells.reshape(rows, columns, 2)
    assert (cells[..., 0] == np.arange(rows)[:, None]).all()
    assert (cells[..., 1] == rows + np.arange(columns)).all()


def test_a_position_embedding_has_the_variance_of_one_embedding() -> None:
    tables = PositionTables(units_of(make_domain("sudoku", size=9)), 4096)
    tables.initialize(torch.Generator().manual_seed(0))
    assert tables.cells(torch.float32).var().item() == pytest.approx(1 / 4096, rel=0.1)


@settings(max_examples=20)
@given(st.permutations(range(4)), st.permutations(range(4)))
def test_permuted_rows_and_columns_permute_the_embedding_alike(rows: list[int], columns: list[int]) -> None:
    tables = PositionTables(cell_units({"name": "maze", "rows": 4, "columns": 4}, 6, 16), 8)
    tables.initialize(torch.Generator().manual_seed(0))
    cells = tables.cells(torch.float32).view(4, 4, 8)
    table = tables.embedding_weight.data
    table.copy_(torch.cat([table[:4][rows], table[4:][columns]]))
    assert torch.equal(tables.cells(torch.float32).view(4, 4, 8), cells[rows][:, columns])


@pytest.mark.parametrize("more", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_all_other_weights_start_as_without_tables(more: dict[str, Any]) -> None:
    plain, tabled = made(False, **more).state_dict(), made(True, **more).state_dict()
    assert {*tabled} - {*plain} == {"inner.position_tables.embedding_weight"}
    assert tabled["inner.position_tables.embedding_weight"].shape == (12, 32)
    for name, tensor in plain.items():
        assert torch.equal(tensor, tabled[name]), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("more", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_every_table_row_is_trained(more: dict[str, Any], dtype: str) -> None:
    model = made(True, **{**more, "forward_dtype": dtype}).train()
    inputs = torch.randint(1, 6, (4, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(1))
    batch = PuzzleBatch(inputs, inputs, torch.zeros(4, dtype=torch.int32))
    _, out = model.train_step(model.initial_carry(batch), batch)
    out.logits.float().square().sum().backward()
    gradient = model.inner.position_tables.embedding_weight.grad
    assert gradient is not None
    assert (gradient.abs().sum(1) > 0).all()


def test_puzzle_positions_get_no_position_embedding() -> None:
    plain, tabled = made(False).inner, made(True).inner
    inputs, rows = torch.ones(1, 16, dtype=torch.int32), torch.randn(1, 40)
    without = plain.embed(inputs, rows, plain.cast_weights())
    with_tables = tabled.embed(inputs, rows, tabled.cast_weights())
    assert torch.equal(without[:, :2], with_tables[:, :2])
    assert not torch.allclose(without[:, 2:], with_tables[:, 2:])


@pytest.mark.parametrize("more", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_the_ledger_counts_the_tables(more: dict[str, Any]) -> None:
    arch = ArchConfig(**{**SMALL, **more, "position_tables": True})
    model = made(True, **more)
    assert sum(part.trainable for part in components(arch, 6, 16)) == sum(
        p.numel() for p in model.parameters()
    )
    assert count_exactly(arch, 6, 16).trainable == sum(p.numel() for p in model.parameters())


def test_the_ledger_counts_a_rectangle_by_its_domain() -> None:
    arch = ArchConfig(**{**SMALL, "position_tables": True})
    domain = {"name": "grids", "rows": 2, "columns": 8, "symbols": ["a", "b"]}
    shape = make_domain(**domain).vocab_size, 16  # type: ignore[arg-type]
    (part,) = (one for one in components(arch, *shape, domain=domain) if one.module == "position_tables")
    assert part.trainable == (2 + 8) * 32
    assert count_exactly(arch, *shape, domain=domain).trainable == sum(
        one.trainable for one in components(arch, *shape, domain=domain)
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"core": "nova"}, "position_tables works only with the cores hrm and trm, but core is nova"),
        ({"mixer": "units", "pos_encodings": "none", "puzzle_emb_ndim": 0}, "mixer units has no position tables"),
        ({"core": "trm", "mixer": "grid", "pos_encodings": "none", "puzzle_emb_ndim": 0}, "mixer grid has no position"),
    ],
)  # fmt: skip
def test_models_that_cannot_have_tables_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArchConfig(**{**SMALL, **more, "position_tables": True})


def test_puzzles_without_rows_and_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="no known domain has 7 tokens and 20 cells"):
        build_model(ArchConfig(**SMALL, position_tables=True), 7, 20, 1)
    with pytest.raises(ConfigError, match=r"rings does neither\. Use arch.position_tables=false"):
        units_of(SimpleNamespace(describe=lambda: "rings"))  # type: ignore[arg-type]


def test_the_regime_names_what_the_tables_know() -> None:
    sudoku = built_in_knowledge("attention", {"name": "sudoku", "size": 9}, position_tables=True)
    assert sudoku == "which cells share a row, column or box (arch.position_tables)"
    assert "row or column" in built_in_knowledge("mlp", {"name": "maze"}, position_tables=True)
    assert built_in_knowledge("attention", {"name": "sudoku"}) == "none"
