"""Fourteen tasks for `own_puzzles.py`: functions of a random generator that return an input grid and an output grid.

A function returns None for a sample that does not fit the task, such as a puzzle with more than one solution. It is
then called again.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

Grid = list[list[str]]
Pair = tuple[Grid, Grid]
Cell = tuple[int, int]


def rotation(rng: Random) -> Pair:
    """6×6 digits, turned by 90° clockwise."""
    grid = _random(rng, 6, 6, "012345")
    return grid, [list(row) for row in zip(*grid[::-1], strict=True)]


def transposition(rng: Random) -> Pair:
    """6×6 digits, rows as columns."""
    grid = _random(rng, 6, 6, "012345")
    return grid, [list(row) for row in zip(*grid, strict=True)]


def spiral(rng: Random) -> Pair:
    """5×5 digits as one row, in the order of a spiral from the corner."""
    grid = _random(rng, 5, 5, "0123456789")
    rest, order = [list(row) for row in grid], []
    while rest:
        order += rest.pop(0)
        rest = [list(row) for row in zip(*rest, strict=True)][::-1]
    return grid, [order]


def sorted_rows(rng: Random) -> Pair:
    """5×5 digits, each row sorted."""
    grid = _random(rng, 5, 5, "0123456789")
    return grid, [sorted(row) for row in grid]


def reversed_text(rng: Random) -> Pair:
    """3 to 10 letters in reverse order: sizes differ between pairs."""
    row = [rng.choice("abcdef") for _ in range(rng.randint(3, 10))]
    return [row], [row[::-1]]


def gravity(rng: Random) -> Pair:
    """7×7, stones of two colors fall to the bottom of their columns."""
    grid = _random(rng, 7, 7, "...ab")
    columns = [[cell for cell in column if cell != "."] for column in zip(*grid, strict=True)]
    fallen = [["."] * (7 - len(column)) + column for column in columns]
    return grid, [list(row) for row in zip(*fallen, strict=True)]


def game_of_life(rng: Random) -> Pair:
    """8×8, one step of Conway's game of life; outside the grid, all is dead."""
    alive = rng.uniform(0.2, 0.6)
    grid = [["#" if rng.random() < alive else "." for _ in range(8)] for _ in range(8)]

    def lives(row: int, column: int) -> bool:
        near = sum(
            grid[r][c] == "#"
            for r in range(max(0, row - 1), min(8, row + 2))
            for c in range(max(0, column - 1), min(8, column + 2))
        )
        return near == 3 or (near == 4 and grid[row][column] == "#")

    return grid, [["#" if lives(row, column) else "." for column in range(8)] for row in range(8)]


def flood_fill(rng: Random) -> Pair:
    """8×8 with walls, everything that a marked cell can reach is filled."""
    grid = _random(rng, 8, 8, "..#")
    start = rng.randrange(8), rng.randrange(8)
    grid[start[0]][start[1]] = "o"
    reached = _distances(grid, start)
    return grid, [
        ["o" if (row, column) in reached else grid[row][column] for column in range(8)] for row in range(8)
    ]


def largest_component(rng: Random) -> Pair | None:
    """7×7, only the largest connected group of cells remains."""
    grid = _random(rng, 7, 7, "..#")
    groups: list[set[Cell]] = []
    for cell in itertools.product(range(7), range(7)):
        if grid[cell[0]][cell[1]] == "#" and not any(cell in group for group in groups):
            groups.append(set(_distances(grid, cell, wall=".")))
    groups.sort(key=len)
    if len(groups) < 2 or len(groups[-1]) == len(groups[-2]):
        return None
    return grid, [["#" if (row, column) in groups[-1] else "." for column in range(7)] for row in range(7)]


def distances(rng: Random) -> Pair | None:
    """7×7, the number of steps from each cell to the nearest 0 (binary matrix)."""
    grid = _random(rng, 7, 7, "0111")
    zeros = [cell for cell in itertools.product(range(7), range(7)) if grid[cell[0]][cell[1]] == "0"]
    if not zeros:
        return None
    return grid, [
        [str(min(abs(row - r) + abs(column - c) for r, c in zeros)) for column in range(7)]
        for row in range(7)
    ]


def shortest_path(rng: Random) -> Pair | None:
    """7×7 with walls, the one shortest path from S to G, of at least 4 steps."""
    grid = _random(rng, 7, 7, "..#")
    start, goal = rng.sample(list(itertools.product(range(7), range(7))), 2)
    grid[start[0]][start[1]], grid[goal[0]][goal[1]] = "S", "G"
    to_goal, to_start = _distances(grid, goal), _distances(grid, start)
    length = to_goal.get(start, 0)
    if length < 4:
        return None
    path = [cell for cell in to_goal if to_goal[cell] + to_start[cell] == length]
    if len(path) != length + 1:
        return None  # several paths are shortest
    answer = [list(row) for row in grid]
    for row, column in set(path) - {start, goal}:
        answer[row][column] = "*"
    return grid, answer


def nonogram(rng: Random) -> Pair | None:
    """5×5 nonogram with one solution: the input has the clues of the rows, then of the columns, three in each row."""
    grid = _random(rng, 5, 5, ".##")
    rows, columns = tuple(map(_clue, grid)), tuple(map(_clue, zip(*grid, strict=True)))
    if sum(1 for _ in itertools.islice(_nonograms(rows, columns), 2)) != 1:
        return None
    return [[str(number) for number in (0, 0, 0, *clue)[-3:]] for clue in (*rows, *columns)], grid


def futoshiki(rng: Random) -> Pair | None:
    """4×4 futoshiki with one solution: digits, and < > ^ v between some cells of a 7×7 grid."""
    square = rng.choice(_latin_squares())
    grid = [[" " if r % 2 and c % 2 else "." for c in range(7)] for r in range(7)]
    for row, column in itertools.product(range(4), range(4)):
        if rng.random() < 0.2:
            grid[2 * row][2 * column] = square[row][column]
    for row, column in itertools.product(range(7), range(7)):
        if (row + column) % 2 and rng.random() < 0.5:
            first, second = _compared(row, column)
            is_less = square[first[0]][first[1]] < square[second[0]][second[1]]
            grid[row][column] = ("<" if is_less else ">") if column % 2 else ("^" if is_less else "v")
    grid = [["_" if cell == " " else cell for cell in row] for row in grid]
    if sum(1 for _ in itertools.islice(_futoshikis(grid), 2)) != 1:
        return None
    return grid, [list(row) for row in square]


def queens(rng: Random) -> Pair:
    """8×8, one to three queens are given; a placement of eight that do not attack each other. Any one is right."""
    solution = rng.choice(_eight_queens())
    given = set(rng.sample(range(8), rng.randint(1, 3)))
    return (
        [
            ["Q" if solution[row] == column and row in given else "." for column in range(8)]
            for row in range(8)
        ],
        [["Q" if solution[row] == column else "." for column in range(8)] for row in range(8)],
    )


def queens_is_right(given: list[list[Any]], answer: list[list[Any]]) -> bool:
    """Whether an answer of the task `queens` keeps the given queens and has eight, none attacking another."""
    placed = [(r, c) for r, c in itertools.product(range(8), range(8)) if answer[r][c] == "Q"]
    lines = [
        {r for r, _ in placed}, {c for _, c in placed}, {r + c for r, c in placed}, {r - c for r, c in placed},
    ]  # fmt: skip
    kept = all(answer[r][c] == "Q" for r, c in itertools.product(range(8), range(8)) if given[r][c] == "Q")
    return len(placed) == 8 and all(len(line) == 8 for line in lines) and kept


TASKS: dict[str, Callable[[Random], Pair | None]] = {
    task.__name__: task
    for task in (
        rotation, transposition, spiral, sorted_rows, reversed_text, gravity, game_of_life, flood_fill,
        largest_component, distances, shortest_path, nonogram, futoshiki, queens,
    )
}  # fmt: skip
CHECKS = {"queens": "queens_is_right"}
"""Tasks with more than one right answer, and the function that recognizes all of them."""


def _random(rng: Random, rows: int, columns: int, symbols: str) -> Grid:
    return [[rng.choice(symbols) for _ in range(columns)] for _ in range(rows)]


def _distances(grid: Grid, start: Cell, wall: str = "#") -> dict[Cell, int]:
    """The number of steps from `start` to each cell that can be reached without a wall."""
    found, queue = {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            is_inside = 0 <= r < len(grid) and 0 <= c < len(grid[0])
            if is_inside and grid[r][c] != wall and (r, c) not in found:
                found[r, c] = found[row, column] + 1
                queue.append((r, c))
    return found


def _clue(line: Any) -> tuple[int, ...]:
    return tuple(len(run) for run in "".join(line).replace(".", " ").split())


def _nonograms(rows: tuple[tuple[int, ...], ...], columns: tuple[tuple[int, ...], ...]) -> Iterator[Grid]:
    """Every solution of a 5×5 nonogram."""
    for lines in itertools.product(*(_lines()[clue] for clue in rows)):
        if tuple(map(_clue, zip(*lines, strict=True))) == columns:
            yield [list(line) for line in lines]


@cache
def _lines() -> dict[tuple[int, ...], list[str]]:
    """The lines of five cells with each clue."""
    lines: dict[tuple[int, ...], list[str]] = {}
    for line in itertools.product(".#", repeat=5):
        lines.setdefault(_clue(line), []).append("".join(line))
    return lines


@cache
def _latin_squares() -> list[tuple[str, ...]]:
    """All 576 Latin squares of size 4."""
    rows = ["".join(row) for row in itertools.permutations("1234")]
    return [
        square
        for square in itertools.product(rows, repeat=4)
        if all(len(set(column)) == 4 for column in zip(*square, strict=True))
    ]


def _compared(row: int, column: int) -> tuple[Cell, Cell]:
    """The two cells of the Latin square that a sign at this place of a futoshiki compares."""
    return (row // 2, column // 2), ((row + 1) // 2, (column + 1) // 2)


def _futoshikis(grid: Grid) -> Iterator[tuple[str, ...]]:
    """Every solution of a futoshiki."""
    for square in _latin_squares():
        given = all(
            grid[2 * r][2 * c] in (".", square[r][c]) for r, c in itertools.product(range(4), range(4))
        )
        if given and all(
            _is_met(grid[r][c], *(square[a][b] for a, b in _compared(r, c)))
            for r, c in itertools.product(range(7), range(7))
            if (r + c) % 2
        ):
            yield square


def _is_met(sign: str, first: str, second: str) -> bool:
    return sign == "." or (first < second) == (sign in "<^")


@cache
def _eight_queens() -> list[tuple[int, ...]]:
    """The 92 placements of eight queens, as the column of each row."""
    return [
        columns
        for columns in itertools.permutations(range(8))
        if len({r + c for r, c in enumerate(columns)}) == len({r - c for r, c in enumerate(columns)}) == 8
    ]
