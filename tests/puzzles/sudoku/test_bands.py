"""The 9×9 search behind the removal of clues, against the solver."""

from __future__ import annotations

import numpy as np
import pytest

from hrm_cli.puzzles.sudoku import bands
from hrm_cli.puzzles.sudoku.generator import generate
from hrm_cli.puzzles.sudoku.solver import search


@pytest.mark.parametrize("clues", [20, 26, 34, 50])
def test_another_solution_is_found_exactly_where_there_is_one(clues):
    """Clues are drawn at random, so that most of the puzzles with few of them have many solutions."""
    rng = np.random.default_rng(clues)
    _, solutions = next(generate(9, 40, rng))
    room = bands.make_bands()
    seen = {False: 0, True: 0}
    for solution in solutions:
        puzzle = np.zeros(81, np.uint8)
        given = rng.permutation(81)[:clues]
        puzzle[given] = solution[given]
        cell = int(given[0])
        bands.start(puzzle, solution, room)
        bands.switch(cell, int(solution[cell]) - 1, room)
        # The same question for the solver: every other digit of the cell.
        rivals = np.repeat(puzzle[None], 9, axis=0)
        rivals[:, cell] = np.arange(1, 10)
        counts = search(rivals, 9, limit=1).counts
        counts[solution[cell] - 1] = 0
        row = bands.find_other(cell, int(solution[cell]) - 1, room)
        assert (row >= 0) == counts.any()
        seen[row >= 0] += 1
        if bands.is_seen(cell, int(solution[cell]) - 1, room):
            assert row < 0
        if row >= 0:
            other = answer_at(row, room)
            without = puzzle.copy()
            without[cell] = 0
            assert ((other == without) | (without == 0)).all()
            assert (search(other[None], 9).counts == 1).all()
            assert other[cell] != solution[cell]
            differs = [bands.difference(row, band, room) >> p & 1 for band in range(3) for p in range(27)]
            assert (np.array(differs, bool) == (other != solution)).all()
    if clues in (26, 34):
        assert min(seen.values()) > 0


def answer_at(row: int, room: np.ndarray) -> np.ndarray:
    """The digits of the solution in that row of the working array."""
    state = room[row, : bands.BLANKS].reshape(3, 9)
    cells = (state[:, :, None] >> np.arange(27)) & 1
    assert (cells.sum(axis=1) == 1).all()
    return (cells.argmax(axis=1) + 1).reshape(81).astype(np.uint8)


def test_a_clue_that_is_taken_away_and_put_back_leaves_everything_as_it_was():
    puzzles, solutions = next(generate(9, 5, np.random.default_rng(3)))
    room = bands.make_bands()
    for puzzle, solution in zip(puzzles, solutions, strict=True):
        bands.start(puzzle, solution, room)
        before = room.copy()
        for cell in np.flatnonzero(puzzle):
            for _ in range(2):
                bands.switch(int(cell), int(solution[cell]) - 1, room)
            assert (room == before).all()
