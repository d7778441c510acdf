"""Which cells get attention: kinds of pairs, and the weights that the model uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrm_cli.analysis.attention import PREFIX, AttentionTally, PairKinds, pair_kinds
from hrm_cli.analysis.measures import uniform_shares
from hrm_cli.models.layers import AttentionWeights, attention_weights, rotary_tables, self_attention
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


def kinds_of(size: int) -> PairKinds:
    found = pair_kinds(SudokuDomain(size))
    assert found is not None
    return found


def test_the_kinds_of_a_9x9_sudoku_have_the_known_numbers_of_cells() -> None:
    found = kinds_of(9)
    counts = np.stack([np.bincount(row, minlength=6) for row in found.kinds])
    assert (counts == [1, 6, 6, 4, 4, 60]).all()
    assert found.names == ("itself", "row", "column", "box", "intersection", "elsewhere")


def test_the_pairs_of_one_cell_of_a_6x6_sudoku() -> None:
    # Boxes of two rows and three columns: cell 0 shares its box with 1, 2 (also its row), 6 (its column), 7 and 8.
    row = kinds_of(6).kinds[0].tolist()
    names = kinds_of(6).names
    assert [names[row[cell]] for cell in (0, 1, 2, 3, 6, 7, 8, 12, 35)] == [
        "itself", "intersection", "intersection", "row", "intersection", "box", "box", "column", "elsewhere",
    ]  # fmt: skip


def test_neighbors_of_a_maze_are_the_four_cells_next_to_it() -> None:
    found = pair_kinds(MazeDomain(rows=3, columns=4))
    assert found is not None
    assert [found.names[kind] for kind in found.kinds[5]] == [
        "elsewhere", "neighbors", "elsewhere", "elsewhere",
        "neighbors", "itself", "neighbors", "row",
        "elsewhere", "neighbors", "elsewhere", "elsewhere",
    ]  # fmt: skip


def test_every_grid_has_kinds_or_none_are_claimed() -> None:
    assert pair_kinds(None) is None
    found = pair_kinds(ArcDomain())
    assert found is not None
    assert found.kinds.shape == (900, 900)


def test_puzzle_positions_are_a_kind_of_their_own() -> None:
    found = kinds_of(4).with_prefix(18)
    assert found.kinds.shape == (16, 18)
    assert found.names[-1] == PREFIX
    assert uniform_shares(found.kinds, len(found.names))[-1] == pytest.approx(2 / 18)
    assert kinds_of(4).with_prefix(16).names == kinds_of(4).names


@pytest.mark.parametrize("positions", [16, 18])
def test_uniform_attention_has_the_uniform_shares(positions: int) -> None:
    tally = AttentionTally(kinds_of(4))
    empty = np.zeros((2, 16), bool)
    empty[:, :4] = True
    for _ in range(3):
        tally.add("L", 0, np.full((2, 3, positions, positions), 1 / positions), empty)
    found = tally.document(0.25)
    assert found is not None
    assert found["modules"]["L"] == pytest.approx(found["uniform"])
    assert sum(found["uniform"].values()) == pytest.approx(1)
    assert found["on_empty"]["L"] == pytest.approx(4 / positions)
    assert len(found["heads"]) == 3
    assert found["heads"][0]["entropy_bits"] == pytest.approx(np.log2(positions)) == found["uniform_bits"]


def test_attention_on_one_kind_alone_is_found() -> None:
    pairs = kinds_of(4)
    weights = (pairs.kinds == pairs.names.index("column")) / 2.0
    tally = AttentionTally(pairs)
    tally.add("H", 1, weights[None, None], None)
    found = tally.document(None)
    assert found is not None
    assert found["modules"]["H"]["column"] == pytest.approx(1)
    assert found["on_empty"] == {}
    assert found["heads"][0]["block"] == 1


@pytest.mark.parametrize("with_rotary", [True, False])
def test_the_weights_are_those_that_self_attention_uses(with_rotary: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 8, generator=generator)
    weights = AttentionWeights(
        torch.randn(24, 8, generator=generator), torch.randn(8, 8, generator=generator)
    )
    rotary = rotary_tables(5, 4, 10_000.0) if with_rotary else None
    found = attention_weights(x, weights, 2, rotary)
    assert found.sum(-1) == pytest.approx(torch.ones(2, 2, 5), abs=1e-6)
    values = (x @ weights.qkv[16:].T).view(2, 5, 2, 4)
    mixed = torch.einsum("bnqk,bknd->bqnd", found, values).reshape(2, 5, 8) @ weights.out.T
    assert torch.allclose(mixed, self_attention(x, weights, 2, rotary), atol=1e-5)
