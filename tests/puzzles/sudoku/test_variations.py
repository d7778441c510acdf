"""New Sudoku puzzles from given ones by exchanging clues."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.sudoku import variations as sudoku_variations
from hrm_cli.puzzles.sudoku.generator import generate
from hrm_cli.puzzles.sudoku.solver import search
from hrm_cli.puzzles.sudoku.variations import vary

Pair = tuple[np.ndarray, np.ndarray]


@lru_cache
def parents(size: int, clues: int | None = None, seed: int = 0, count: int = 5, hard: int = 0) -> Pair:
    ((puzzles, solutions),) = generate(size, count, np.random.default_rng(seed), clues, hard)
    return puzzles, solutions


def make(size: int, given: Pair, count: int, seed: int = 0, **options) -> Pair:
    pairs = list(vary(size, *given, count, np.random.default_rng(seed), **options))
    puzzles, solutions = (np.concatenate(half) for half in zip(*pairs, strict=True))
    return puzzles, solutions


def rows(puzzles: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in puzzles}


@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(4, None), (4, 9), (6, None), (6, 17), (9, None), (9, 28), (9, 60)]),
    seed=st.integers(0, 2**32),
)
def test_variations_have_the_one_solution_given_and_differ_from_each_other_and_from_the_parents(shape, seed):
    size, clues = shape
    given = parents(size, clues, seed % 3)
    puzzles, solutions = make(size, given, 25, seed)
    found = search(puzzles, size)
    assert (found.counts == 1).all()
    assert (found.solutions[:, 0] == solutions).all()
    assert len(rows(puzzles)) == 25
    assert not rows(puzzles) & rows(given[0])


@pytest.mark.parametrize("size", [6, 9])
def test_variations_of_minimal_puzzles_are_minimal(size):
    puzzles, _ = make(size, parents(size), 20)
    assert len(puzzles) == 20
    for puzzle in puzzles:
        clues = np.flatnonzero(puzzle)
        fewer = np.repeat(puzzle[None], len(clues), axis=0)
        fewer[np.arange(len(clues)), clues] = 0
        assert (search(fewer, size).counts == 2).all()


@pytest.mark.parametrize("clues", [30, 55, 80])
def test_variations_of_other_puzzles_keep_the_number_of_clues(clues):
    puzzles, _ = make(9, parents(9, clues), 40)
    assert ((puzzles > 0).sum(axis=1) == clues).all()


def test_variations_are_half_as_hard_at_least_as_the_puzzle_they_come_from():
    given = parents(9, hard=40)
    easiest = search(given[0], 9).branches.min()
    assert easiest >= 40
    puzzles, _ = make(9, given, 60)
    assert search(puzzles, 9).branches.min() >= easiest / 2


def test_a_least_difficulty_is_kept():
    assert search(make(9, parents(9), 20, min_difficulty=15)[0], 9).branches.min() >= 15


def test_every_parent_has_variations_and_many_solutions_are_new():
    given = parents(9)
    puzzles, solutions = make(9, given, 200)
    # A variation of the first generation shares all clues of its parent but one or two.
    shared = ((puzzles[:, None] == given[0]) & (given[0] > 0)).sum(axis=2)
    nearest = shared.argmax(axis=1)
    assert set(nearest[shared.max(axis=1) >= 15]) == set(range(5))
    assert len(rows(solutions) - rows(given[1])) > 50


@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_seed_makes_the_same_variations_for_any_chunk_size_and_threads(threads):
    one = make(9, parents(9), 60, seed=5)
    other = make(9, parents(9), 60, seed=5, threads=threads, chunk=7)
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert (make(9, parents(9), 60, seed=6)[0] != one[0]).any()


def test_variations_that_are_not_allowed_are_left_out():
    first, _ = make(9, parents(9), 50)
    forbidden = rows(first[::2])
    again, _ = make(
        9, parents(9), 50, allowed=lambda cells: np.array([row.tobytes() not in forbidden for row in cells])
    )
    assert not rows(again) & forbidden


def test_requesting_more_variations_than_can_be_found_gives_all_that_were_found(monkeypatch):
    monkeypatch.setattr(sudoku_variations, "PATIENCE", 5)
    # A 4×4 puzzle with one blank cell can be varied by moving the blank and by changing the grid: 16 · 288 puzzles.
    stream = vary(4, *parents(4, 15), 100_000, np.random.default_rng(0), chunk=100_000)
    (found,) = next(stream)[:1]
    with pytest.raises(
        PuzzleError, match=r"100,000 variations of 5 4×4 puzzles were requested and 4,\d+ found"
    ):
        next(stream)
    assert 4000 < len(rows(found)) == len(found) <= 16 * 288
