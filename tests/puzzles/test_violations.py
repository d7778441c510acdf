"""Faults order wrong answers and agree with the rules: 0 is right, 1 is right but not best, more is broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

SUDOKU = SudokuDomain(4)
PUZZLE = SUDOKU.encode(SUDOKU.parse("..1..4...3....2.").grid)
ANSWER = SUDOKU.solve_all(PUZZLE[None]).answers[0]
MAZE = MazeDomain(rows=3, columns=4)
MAZES = [
    MAZE.encode(MAZE.parse(text).grid)
    for text in ("S          G", "S  # #    G#", "  S  #G     ", "S#  G       ")
]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 5)), max_size=4))
def test_sudoku_answers_without_violations_are_verified_by_the_rules(changes: list[tuple[int, int]]) -> None:
    answer = ANSWER.copy()
    for cell, token in changes:
        answer[cell] = token
    violations = int(SUDOKU.violations(PUZZLE[None], answer[None])[0])
    assert (violations == 0) == SUDOKU.verify(SUDOKU.decode(PUZZLE), SUDOKU.decode(answer)).ok
    assert violations != 1


@settings(max_examples=300)
@given(st.sampled_from(range(4)), st.integers(0, 2**12 - 1))
def test_maze_violations_distinguish_shortest_longer_and_broken_paths(which: int, marks: int) -> None:
    maze = MAZES[which]
    answer = maze.copy()
    free = 2
    answer[[cell for cell in range(12) if marks >> cell & 1 and maze[cell] == free]] = 5
    violations = int(MAZE.violations(maze[None], answer[None])[0])
    verdict = MAZE.verify(MAZE.decode(maze), MAZE.decode(answer))
    assert (violations <= 1) == verdict.ok
    assert (violations == 0) == bool(MAZE.verify_all(maze[None], answer[None])[0])


def test_every_path_through_small_mazes_is_judged_as_the_rules_do() -> None:
    for maze in MAZES:
        places = np.flatnonzero(maze == 2)
        answers = np.repeat(maze[None], 2 ** len(places), axis=0)
        for number in range(len(answers)):
            answers[number, places[[bool(number >> i & 1) for i in range(len(places))]]] = 5
        mazes = np.repeat(maze[None], len(answers), axis=0)
        assert np.array_equal(MAZE.violations(mazes, answers) == 0, MAZE.verify_all(mazes, answers))


@pytest.mark.parametrize(("wrong_cells", "least"), [(1, 2), (2, 3)])
def test_more_wrong_cells_never_count_fewer_violations(wrong_cells: int, least: int) -> None:
    answer = ANSWER.copy()
    counts = []
    for cell in np.flatnonzero(PUZZLE == 1)[:wrong_cells]:
        answer[cell] = answer[cell] % 5 + 1 if answer[cell] != 5 else 2
        counts.append(int(SUDOKU.violations(PUZZLE[None], answer[None])[0]))
    assert counts == sorted(counts)
    assert counts[-1] >= least


def test_a_closed_loop_of_marks_next_to_a_path_is_a_violation() -> None:
    maze = MazeDomain(rows=3, columns=8)
    grid = maze.encode(maze.parse("S           #          G").grid)
    answer = grid.copy()
    path = [8, 16, 17, 18, 19, 20, 21, 22]
    answer[path] = 5
    assert maze.violations(grid[None], answer[None])[0] == 0
    rings = MazeDomain(rows=5, columns=9)
    drawn = rings.encode(
        rings.parse("S    ####" + "     ####" + "     #   " + "     # # " + "G    #   ").grid
    )
    marked = drawn.copy()
    marked[[9, 18, 27]] = 5
    marked[[24, 25, 26, 33, 35, 42, 43, 44]] = 5
    assert rings.violations(drawn[None], marked[None])[0] > 1
    assert not rings.verify(rings.decode(drawn), rings.decode(marked)).ok
