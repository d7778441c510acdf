"""The built-in Sudoku generator."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.sudoku import generator
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.generator import generate
from hrm_cli.puzzles.sudoku.solver import UNLIMITED, search

SIZES = (4, 6, 9)


def make(size: int, count: int, seed: int = 0, **options) -> tuple[np.ndarray, np.ndarray]:
    pairs = list(generate(size, count, np.random.default_rng(seed), **options))
    return tuple(np.concatenate(half) for half in zip(*pairs, strict=True))


def clue_counts(puzzles: np.ndarray) -> np.ndarray:
    return np.bincount((puzzles > 0).sum(axis=1))


@pytest.mark.parametrize("size", SIZES)
def test_puzzles_have_exactly_the_solution_given_and_differ(size):
    puzzles, solutions = make(size, 200)
    found = search(puzzles, size)
    assert (found.counts == 1).all()
    assert (found.solutions[:, 0] == solutions).all()
    assert len(np.unique(puzzles, axis=0)) == 200
    domain = SudokuDomain(size)
    assert all(
        domain.verify(p.reshape(size, size), s.reshape(size, size)).ok
        for p, s in zip(puzzles, solutions, strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
def test_no_clue_of_a_minimal_puzzle_can_go(size):
    puzzles, _ = make(size, 30)
    assert len(puzzles) == 30
    for puzzle in puzzles:
        clues = np.flatnonzero(puzzle)
        fewer = np.repeat(puzzle[None], len(clues), axis=0)
        fewer[np.arange(len(clues)), clues] = 0
        assert (search(fewer, size).counts == 2).all()


@pytest.mark.parametrize(
    ("size", "count", "clues"),
    [*((size, 3, None) for size in (8, 10, 12, 15, 16)), (20, 2, 185), (25, 2, 301)],
)
def test_large_puzzles_have_exactly_the_solution_given(size, count, clues):
    """A minimal puzzle of 25×25 takes a minute to make and to check; those of 15×15 and 16×16 come the same way."""
    puzzles, solutions = make(size, count, clues=clues)
    found = search(puzzles, size, budget=UNLIMITED)
    assert (found.counts == 1).all()
    assert (found.solutions[:, 0] == solutions).all()
    assert ((puzzles > 0).sum(axis=1) < (0.49 if size == 25 else 0.47) * size * size).all()


@pytest.mark.parametrize("size", [8, 10, 12])
def test_no_clue_of_a_minimal_puzzle_of_up_to_twelve_can_go(size):
    for puzzle in make(size, 3)[0]:
        clues = np.flatnonzero(puzzle)
        fewer = np.repeat(puzzle[None], len(clues), axis=0)
        fewer[np.arange(len(clues)), clues] = 0
        assert (search(fewer, size).counts == 2).all()


def test_few_clues_of_a_large_minimal_puzzle_can_go():
    """The check of a clue has a budget, so some removable ones may stay."""
    (puzzle,), _ = make(16, 1)
    clues = np.flatnonzero(puzzle)
    fewer = np.repeat(puzzle[None], len(clues), axis=0)
    fewer[np.arange(len(clues)), clues] = 0
    assert (search(fewer, 16).counts == 1).mean() < 0.1


@pytest.mark.parametrize(("size", "clues"), [(12, (66, 74)), (16, (109, 115)), (25, (302, 303))])
def test_large_puzzles_have_the_requested_numbers_of_clues(size, clues):
    low, high = clues
    puzzles, _ = make(size, high - low + 1, clues=clues, threads=2)
    assert sorted((puzzles > 0).sum(axis=1)) == list(range(low, high + 1))


def test_large_puzzles_do_not_depend_on_threads():
    one, other = (make(16, 3, seed=3, threads=threads)[0] for threads in (1, 3))
    assert (one == other).all()
    assert (make(16, 1, seed=4)[0] != one[:1]).any()


def test_digits_and_clues_of_large_grids_are_spread_evenly():
    """No digit, cell or band is preferred, so grids are not shuffles of a fixed pattern."""
    _, solutions = make(16, 200, clues=255)
    first = solutions[:, 0]
    assert np.bincount(first, minlength=17)[1:].max() < 40
    rows = solutions.reshape(-1, 16, 16)
    # In a pattern grid, the digits of a row of a box stay together in the rows of the neighboring boxes.
    left = np.sort(rows[:, 0, :4], axis=1)
    together = [(np.sort(rows[:, row, 4:8], axis=1) == left).all(axis=1).mean() for row in range(1, 4)]
    assert max(together) < 0.05


def test_complete_grids_are_not_shuffles_of_one_another():
    _, solutions = make(9, 20)
    assert len(set(SudokuDomain(9).canonical(solutions + np.uint8(1)))) == 20


@pytest.mark.parametrize(
    ("count", "options"), [(2500, {}), (300, {"clues": (24, 34)}), (40, {"min_difficulty": 8})]
)
def test_the_same_seed_makes_the_same_puzzles_for_any_chunk_size_and_threads(count, options):
    one = make(9, count, seed=7, chunk=100, **options)
    for chunk, threads in ((13, 1), (4000, 2), (77, 5)):
        other = make(9, count, seed=7, chunk=chunk, threads=threads, **options)
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    assert (make(9, count, seed=8, **options)[0] != one[0]).any()


@pytest.mark.parametrize(
    ("count", "options", "recorded"),
    [
        (300, {}, "035a878cf3fe8b0e"),
        (44, {"clues": (24, 34)}, "9c5fd5c215f18c8c"),
        (12, {"min_difficulty": 12}, "d6660140cefdfd53"),
        (8, {"clues": 25, "min_difficulty": 8}, "1cf65c14bbb01d9c"),
    ],
)
def test_the_puzzles_of_a_seed_never_change(count, options, recorded):
    """The recordings were made with the solver of solver.py in place of the search of bands.py."""
    puzzles, solutions = make(9, count, seed=7, **options)
    assert blake2b(puzzles.tobytes() + solutions.tobytes(), digest_size=8).hexdigest() == recorded


def test_chunks_have_the_requested_size():
    sizes = [len(p) for p, _ in generate(4, 25, np.random.default_rng(0), chunk=10)]
    assert sizes == [10, 10, 5]


def test_an_exact_number_of_clues_is_kept():
    assert clue_counts(make(9, 100, clues=30)[0])[30] == 100


def test_a_range_of_clues_is_spread_evenly():
    assert clue_counts(make(9, 110, clues=(26, 36))[0]).tolist() == [0] * 26 + [10] * 11


def test_fifty_thousand_different_four_by_four_puzzles_are_made():
    puzzles, _ = make(4, 50_000, clues=(4, 10))
    assert len(np.unique(puzzles, axis=0)) == 50_000
    assert clue_counts(puzzles)[4:].min() >= 7142


def test_requesting_more_puzzles_than_exist_gives_all_that_were_found(monkeypatch):
    monkeypatch.setattr(generator, "PATIENCE", 1_000)
    chunks: list[int] = []
    made = (len(puzzles) for puzzles, _ in generate(4, 30_000, np.random.default_rng(0), clues=4))
    with pytest.raises(PuzzleError, match=r"30,000 .* 4 clues"):
        chunks.extend(made)
    # 25,728 puzzles of 4 clues exist.
    assert 24_000 < sum(chunks) <= 25_728


def test_an_exhausted_number_of_clues_leaves_its_share_to_the_others(monkeypatch):
    monkeypatch.setattr(generator, "PATIENCE", 1_000)
    counts = clue_counts(make(9, 30, clues=(17, 26))[0])
    assert counts.sum() == 30
    assert counts[17] == 0


def test_a_difficulty_that_does_not_occur_is_an_error(monkeypatch):
    monkeypatch.setattr(generator, "PATIENCE_WHEN_HARD", 10)
    with pytest.raises(PuzzleError, match="difficulty 50"):
        make(4, 1, min_difficulty=50)


def test_difficult_puzzles_are_as_difficult_as_requested_and_still_minimal():
    puzzles, _ = make(9, 10, min_difficulty=12)
    found = search(puzzles, 9)
    assert (found.counts == 1).all()
    assert (found.branches >= 12).all()


def test_difficulty_and_number_of_clues_go_together():
    puzzles, _ = make(9, 5, clues=25, min_difficulty=8)
    assert clue_counts(puzzles)[25] == 5
    assert (search(puzzles, 9).branches >= 8).all()


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (9, {"clues": 16}, "from 17 to 80"),
        (4, {"clues": 3}, "from 4 to 15"),
        (6, {"clues": (7, 10)}, "from 8 to 35"),
        (9, {"clues": 81}, "80"),
        (9, {"clues": (30, 25)}, "lower number"),
        (5, {}, "4, 6, 8, 9, 10"),
        (16, {"clues": 14}, "from 15 to 255"),
        (9, {"chunk": 0}, "chunk"),
    ],
)
def test_impossible_requests_are_refused_at_once(size, options, words):
    with pytest.raises(ConfigError, match=words):
        generate(size, 1, np.random.default_rng(0), **options)
