"""Pinning cells of a Sudoku, and what plain propagation refutes."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_cli.puzzles.domain import can_pin, make_domain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

FOUR = SudokuDomain(4)


def tokens(*texts: str) -> np.ndarray:
    return np.stack([FOUR.encode(FOUR.parse(text).grid) for text in texts])


def test_a_pin_adds_one_given_and_leaves_the_original_puzzle_unchanged() -> None:
    (puzzle,) = tokens("..1..4...3....2.")
    before = puzzle.copy()
    pinned = FOUR.pin(puzzle, 0, 3)
    assert np.array_equal(puzzle, before)
    assert np.flatnonzero(pinned != puzzle).tolist() == [0]
    assert FOUR.text(FOUR.decode(pinned)) == "2.1..4...3....2."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("..1..4...3....2.", False),
        ("1...1...........", True),  # a digit twice in a column
        ("123....4........", True),  # a cell without a digit left
        ("12..34..........", False),
        ("1.....2.........", False),
    ],
)
def test_naked_singles_refute_what_they_contradict(text: str, expected: bool) -> None:
    assert FOUR.refuted(tokens(text)).tolist() == [expected]


def test_nothing_that_has_a_solution_is_refuted() -> None:
    domain = SudokuDomain(9)
    rng = np.random.default_rng(0)
    (puzzle,) = [
        domain.encode(
            domain.parse(
                "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
            ).grid
        )
    ]
    answer = domain.solve_all(puzzle[None]).answers[0]
    pinned = np.stack(
        [np.where(rng.random(81) < share, answer, puzzle) for share in np.linspace(0, 1, 50)]
    ).astype(np.uint8)
    assert not domain.refuted(pinned).any()
    wrong = pinned.copy()
    cells = [int(rng.choice(np.flatnonzero(puzzle == 1))) for _ in wrong]
    wrong[np.arange(50), cells] = (answer[cells] - 1) % 9 + 2
    counts = domain.solve_all(wrong).counts
    assert (counts == 0).all()
    assert domain.refuted(wrong)[-1], "a full grid with a wrong digit"
    assert not domain.refuted(wrong).all(), "without search some contradictions stay hidden"


@pytest.mark.parametrize(("name", "expected"), [("sudoku", True), ("maze", True), ("arc", False)])
def test_search_works_where_cells_can_be_given_one_by_one_and_rules_check_answers(
    name: str, expected: bool
) -> None:
    assert can_pin(make_domain(name)) is expected
