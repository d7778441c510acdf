"""The symmetry group of Sudoku and canonical forms under it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.puzzles.domain import TokenSymmetries
from hrm_cli.puzzles.sudoku import symmetry
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.generator import generate
from hrm_cli.puzzles.sudoku.layout import BOXES, layout
from hrm_cli.puzzles.sudoku.solver import search

SIZES = (4, 6, 9)
ALL_SIZES = tuple(BOXES)
seeds = st.integers(0, 2**32)
sizes = st.sampled_from(SIZES)
all_sizes = st.sampled_from(ALL_SIZES)


def some(size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of puzzles and of their solutions."""
    pairs = list(generate(size, count, np.random.default_rng(seed)))
    return tuple(np.concatenate(half) + np.uint8(1) for half in zip(*pairs, strict=True))


def same(one: TokenSymmetries, other: TokenSymmetries) -> bool:
    return bool((one.cells == other.cells).all() and (one.tokens == other.tokens).all())


@given(all_sizes, seeds)
@settings(max_examples=30, deadline=None)
def test_symmetries_invert(size, seed):
    rng = np.random.default_rng(seed)
    domain = SudokuDomain(size)
    symmetries = domain.sample_symmetries(rng, 5)
    tokens = rng.integers(0, domain.vocab_size, (5, domain.seq_len), dtype=np.uint8)
    assert (symmetries.inverse().apply(symmetries.apply(tokens)) == tokens).all()
    assert same(symmetries.inverse().inverse(), symmetries)


@given(all_sizes, seeds)
@settings(max_examples=30, deadline=None)
def test_symmetries_compose(size, seed):
    rng = np.random.default_rng(seed)
    domain = SudokuDomain(size)
    first, second = domain.sample_symmetries(rng, 4), domain.sample_symmetries(rng, 4)
    tokens = rng.integers(0, domain.vocab_size, (4, domain.seq_len), dtype=np.uint8)
    assert (second.after(first).apply(tokens) == second.apply(first.apply(tokens))).all()


@given(sizes, seeds)
@settings(max_examples=20)
def test_symmetries_map_puzzles_to_puzzles_and_solutions_to_their_solutions(size, seed):
    domain = SudokuDomain(size)
    puzzles, solutions = some(size, 3, seed)
    symmetries = domain.sample_symmetries(np.random.default_rng(seed), 3)
    moved, solved = symmetries.apply(puzzles), symmetries.apply(solutions)
    for puzzle, answer in zip(moved, solved, strict=True):
        assert domain.verify(domain.decode(puzzle), domain.decode(answer)).ok
    assert (search(moved - np.uint8(1), size).counts == 1).all()


@given(all_sizes, seeds)
@settings(max_examples=40, deadline=None)
def test_symmetries_keep_units_and_transpose_only_square_boxes(size, seed):
    symmetries = SudokuDomain(size).sample_symmetries(np.random.default_rng(seed), 8)
    shape = layout(size)
    units = {tuple(sorted(unit)) for unit in shape.units.tolist()}
    rows = {tuple(unit) for unit in shape.units[:size].tolist()}
    for cells, tokens in zip(symmetries.cells, symmetries.tokens, strict=True):
        moved = {tuple(sorted(cells[unit].tolist())) for unit in shape.units}
        assert moved == units
        is_transposed = tuple(sorted(cells[:size].tolist())) not in rows
        assert not is_transposed or shape.box_rows == shape.box_columns
        assert sorted(tokens.tolist()) == list(range(size + 2))


def test_large_arrangements_are_sampled_uniformly(monkeypatch):
    """The sampler of large sizes, tried on a size whose arrangements can be counted."""
    monkeypatch.setattr(symmetry, "LARGEST_LISTED", 4)
    for by_columns, count in ((False, 48), (True, 72)):
        drawn = symmetry.sample_arrangements(6, np.random.default_rng(0), 30_000, by_columns=by_columns)
        every, counts = np.unique(drawn, axis=0, return_counts=True)
        assert len(every) == count
        assert counts.min() > 0.8 * 30_000 / count


@pytest.mark.parametrize("size", ALL_SIZES)
def test_padding_and_blanks_keep_their_tokens(size):
    tokens = SudokuDomain(size).sample_symmetries(np.random.default_rng(0), 100).tokens
    assert (tokens[:, :2] == [0, 1]).all()


def test_one_puzzle_goes_under_many_symmetries():
    domain = SudokuDomain(9)
    symmetries = domain.sample_symmetries(np.random.default_rng(0), 10)
    tokens = some(9, 1, 0)[0][0]
    assert (symmetries.apply(tokens)[3] == symmetries[3].apply(tokens)[0]).all()


@given(all_sizes, seeds)
@settings(max_examples=30, deadline=None)
def test_puzzles_and_answers_together_are_moved_as_each_alone(size, seed):
    rng = np.random.default_rng(seed)
    domain = SudokuDomain(size)
    symmetries = domain.sample_symmetries(rng, 5)
    both = rng.integers(0, domain.vocab_size, (5, 2, domain.seq_len), dtype=np.uint8)
    moved = symmetries.apply_both(both[:, 0], both[:, 1])
    assert all((moved[k] == symmetries.apply(both[:, k])).all() for k in (0, 1))


def test_tokens_outside_the_vocabulary_are_refused():
    symmetries = SudokuDomain(4).sample_symmetries(np.random.default_rng(0), 2)
    wrong, right = np.full((2, 16), 9, np.uint8), np.full((2, 16), 5, np.uint8)
    with pytest.raises(ValueError, match="token 9"):
        symmetries.apply(wrong)
    for pair in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match="token 9"):
            symmetries.apply_both(*pair)


def test_the_symmetries_of_four_by_four_are_sampled_uniformly():
    symmetries = SudokuDomain(4).sample_symmetries(np.random.default_rng(1), 40_000)
    arrangements, counts = np.unique(symmetries.cells, axis=0, return_counts=True)
    assert len(arrangements) == 2 * 8 * 8
    assert counts.min() > 0.7 * 40_000 / 128
    assert counts.max() < 1.3 * 40_000 / 128
    labels, counts = np.unique(symmetries.tokens, axis=0, return_counts=True)
    assert len(labels) == 24
    assert counts.min() > 0.9 * 40_000 / 24


def test_six_by_six_has_every_arrangement_but_no_transposition():
    cells = SudokuDomain(6).sample_symmetries(np.random.default_rng(1), 60_000).cells
    assert len(np.unique(cells, axis=0)) == 48 * 72
    assert (np.diff(cells.reshape(-1, 6, 6) // 6, axis=2) == 0).all()


def test_nine_by_nine_is_transposed_half_of_the_time():
    cells = SudokuDomain(9).sample_symmetries(np.random.default_rng(1), 10_000).cells.reshape(-1, 9, 9)
    transposed = (np.diff(cells % 9, axis=2) == 0).all(axis=(1, 2)).mean()
    assert 0.47 < transposed < 0.53


@given(sizes, seeds, st.integers(0, 2))
@settings(max_examples=25)
def test_symmetric_copies_share_their_canonical_form(size, seed, extra):
    domain = SudokuDomain(size)
    rng = np.random.default_rng(seed)
    puzzles, solutions = some(size, 2, seed)
    shown = rng.random(puzzles.shape) < extra / 3
    tokens = np.where(shown, solutions, puzzles)
    moved = domain.sample_symmetries(rng, 2).apply(tokens)
    assert domain.canonical(tokens) == domain.canonical(moved)


def test_canonical_forms_are_copies_of_their_puzzles():
    domain = SudokuDomain(9)
    puzzles, _ = some(9, 20, 5)
    forms = np.frombuffer(b"".join(domain.canonical(puzzles)), np.uint8).reshape(20, 81)
    assert ((forms > 0).sum(axis=1) == (puzzles > 1).sum(axis=1)).all()
    assert (search(forms, 9).counts == 1).all()
    assert (search(forms, 9).branches < 10_000).all()


def test_canonical_forms_tell_all_classes_of_complete_grids_apart():
    grids = search(np.zeros((1, 16), np.uint8), 4, limit=1000)
    assert grids.counts[0] == 288
    names = SudokuDomain(4).canonical(grids.solutions[0, :288] + np.uint8(1))
    assert len(set(names)) == 2


def test_canonical_forms_agree_with_trying_every_symmetry():
    domain = SudokuDomain(4)
    puzzles, _ = some(4, 60, 2)
    drawn = domain.sample_symmetries(np.random.default_rng(0), 60_000)
    _, first = np.unique(np.hstack([drawn.cells, drawn.tokens]), axis=0, return_index=True)
    every = drawn[first]
    assert len(every) == 2 * 8 * 8 * 24
    images = {puzzle.tobytes(): {row.tobytes() for row in every.apply(puzzle)} for puzzle in puzzles}
    names = domain.canonical(puzzles)
    for (one, name), (other, its_name) in pairwise(zip(puzzles, names, strict=True)):
        assert (other.tobytes() in images[one.tobytes()]) == (name == its_name)


def test_real_puzzles_are_diagnosed_quickly(shared):
    lines = (shared / "data/sudoku/test.csv").read_text().splitlines()[1:]
    domain = SudokuDomain(9)
    tokens = np.stack([domain.encode(domain.parse(line.split(",")[1]).grid) for line in lines])
    names = domain.canonical(tokens)
    assert (
        domain.canonical(domain.sample_symmetries(np.random.default_rng(0), len(tokens)).apply(tokens))
        == names
    )
