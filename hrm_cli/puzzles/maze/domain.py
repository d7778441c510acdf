"""Mazes as a domain: their tokens, their one-line text, their rules, and breadth-first search.

A path goes up, down, left and right from S to G through free cells. An answer marks its cells. An answer is correct if
its marks form one connected path; the verdict notes whether a shorter path exists. Datasets contain only shortest
paths, so models learn these. A path must not touch itself, because its marks would be ambiguous. Shortest paths never
touch themselves.

Letters in shapes: R rows, C columns, S = R·C cells, n mazes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.printable import counted
from hrm_cli.puzzles.dihedral import cell_permutations
from hrm_cli.puzzles.domain import Diagnosis, Grid, Puzzle, Solved, Tokens, TokenSymmetries, Verdict
from hrm_cli.puzzles.relations import Neighborhood

WALL, FREE, START, GOAL, MARK = range(5)
"""Values of the cells of a grid, in the order of their characters."""

CHARACTERS = "# SGo"
FREE_IN_DRAWINGS = "."
"""Also read as a free cell, because editors strip spaces at line ends."""

FIRST_TOKEN = 1
"""Token of a wall, and the offset from cell values to tokens (token 0 is padding)."""

USUAL_SIZE = 30
LARGEST = 1_000_000
"""Largest number of cells of a maze."""

_CELLS = np.full(256, 255, np.uint8)
"""Cell value of each character."""
_CELLS[[ord(character) for character in CHARACTERS]] = range(len(CHARACTERS))
_CELLS[ord(FREE_IN_DRAWINGS)] = FREE


class MazeDomain:
    """Mazes of `rows` × `columns` cells, or of `size` × `size`; 30×30 by default. Raises ConfigError."""

    name = "maze"
    blank_token = None
    vocab_size = len(CHARACTERS) + FIRST_TOKEN
    solver_is_fast = True

    def __init__(
        self, rows: int | None = None, columns: int | None = None, *, size: int | None = None
    ) -> None:
        self.rows = _side("rows", rows, size)
        self.columns = _side("columns", columns, self.rows if size is None else size)
        self.seq_len = self.rows * self.columns
        if not 2 <= self.seq_len <= LARGEST:
            raise ConfigError(f"{self.describe()}: {self.seq_len:,} cells; mazes have from 2 to {LARGEST:,}")

    @property
    def neighborhood(self) -> Neighborhood:
        """The cells are a grid."""
        return Neighborhood(self.rows, self.columns)

    def facts(self) -> dict[str, Any]:
        """`{"rows": R, "columns": C}`."""
        return {"rows": self.rows, "columns": self.columns}

    def describe(self) -> str:
        """`30×30 maze`."""
        return f"{self.rows}×{self.columns} maze"

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses a maze from its R·C characters. Raises PuzzleError, with `where` and the error."""
        try:
            grid = self._grid(text.strip("\r\n"))
            refuse_unsolvable_text(grid)
        except PuzzleError as error:
            raise PuzzleError(f"{where}: {error}" if where else str(error)) from None
        return Puzzle(grid, where=where, domain=self.name)

    def _grid(self, text: str) -> Grid:
        if len(text) != self.seq_len:
            raise PuzzleError(
                f"{len(text)} characters; mazes of {self.rows}×{self.columns} have {self.seq_len}"
            )
        return grid_of([text[i : i + self.columns] for i in range(0, len(text), self.columns)])

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of a grid `[R, C]` or `[S]`. Raises PuzzleError for another shape or other cells."""
        cells = np.asarray(grid)
        if cells.shape not in {(self.rows, self.columns), (self.seq_len,)}:
            shape = "×".join(map(str, cells.shape)) or "a single"
            raise PuzzleError(f"{shape} cells; expected a maze of {self.rows}×{self.columns}")
        cells = cells.reshape(-1)
        if not np.issubdtype(cells.dtype, np.integer):
            raise PuzzleError(f"cells of type {cells.dtype}; expected whole numbers")
        wrong = np.flatnonzero((cells < 0) | (cells > MARK))
        if len(wrong):
            raise PuzzleError(f"{self._place(wrong[0])}: found {cells[wrong[0]]}; expected 0 to {MARK}")
        return (cells + FIRST_TOKEN).astype(np.uint8)

    def encode_all(self, cells: Grid) -> Tokens:
        """Tokens of the cells `[n, S]` of grids that were parsed or generated."""
        return cells + np.uint8(FIRST_TOKEN)

    def decode(self, tokens: Tokens) -> Grid:
        """The grid `[R, C]` of tokens `[S]`; padding and tokens beyond the vocabulary become free cells."""
        tokens = np.asarray(tokens).reshape(-1)
        if len(tokens) != self.seq_len:
            raise PuzzleError(
                f"{len(tokens)} tokens; mazes of {self.rows}×{self.columns} have {self.seq_len}"
            )
        known = (tokens >= FIRST_TOKEN) & (tokens < self.vocab_size)
        cells = np.where(known, tokens.astype(np.int64) - FIRST_TOKEN, FREE)
        return cells.astype(np.uint8).reshape(self.rows, self.columns)

    def text(self, grid: Grid) -> str:
        """The R·C characters on one line, row by row, a space for a free cell."""
        return "".join(CHARACTERS[cell] for cell in self._cells(grid))

    def lines(self, grid: Grid) -> Sequence[str]:
        """The grid with a space between cells, `.` for free cells."""
        symbols = CHARACTERS.replace(" ", FREE_IN_DRAWINGS)
        cells = self._cells(grid).reshape(self.rows, self.columns)
        return [" ".join(symbols[cell] for cell in row) for row in cells]

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """`count` random symmetries: of the 8 of a square, or of the 4 that preserve another rectangle."""
        orientations = cell_permutations(self.rows, self.columns)
        tokens = np.arange(self.vocab_size, dtype=np.uint8)
        return TokenSymmetries(
            orientations[rng.integers(0, len(orientations), count)],
            np.broadcast_to(tokens, (count, self.vocab_size)),
        )

    def canonical(self, tokens: Tokens) -> list[bytes]:
        """A key for each maze `[n, S]`: the lexicographically smallest of its orientations."""
        orientations = cell_permutations(self.rows, self.columns)
        return [min(one.tobytes() for one in row[orientations]) for row in tokens.astype(np.uint8)]

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether the marks of `answer` form one connected path. The note states whether a shorter path exists.

        Raises PuzzleError if `puzzle` has another size, or does not have exactly one S and one G.
        """
        maze = self._cells(puzzle)
        refuse_unsolvable_text(maze.reshape(self.rows, self.columns))
        marked = np.asarray(answer).reshape(-1)
        if len(marked) != self.seq_len:
            return Verdict(False, f"the answer has {len(marked)} cells, not {self.seq_len}")
        changed = np.flatnonzero((maze != marked) & ~((maze == FREE) & (marked == MARK)))
        if len(changed):
            return Verdict(False, self._change(changed[0], maze, marked))
        from hrm_cli.puzzles.maze import paths

        moves, cell = paths.follow(marked, self.columns, int(np.argmax(maze == START)))
        onward = paths.onward_cells(marked, self.columns, cell)
        if len(onward) > 1 + (moves > 0):
            return Verdict(False, f"the path branches or touches itself at {self._place(cell)}")
        if maze[cell] != GOAL:
            if not moves:
                return Verdict(False, "no path: no cell next to S is marked")
            return Verdict(
                False, f"the path from S ends at {self._place(cell)} after {_moves(moves)}, not at G"
            )
        if len(onward) > 1:
            return Verdict(False, "more than one marked cell touches G; the path has one end there")
        off_path = int((marked == MARK).sum()) - (moves - 1)
        if off_path:
            cells = "cell is" if off_path == 1 else "cells are"
            return Verdict(False, f"{off_path} marked {cells} not on the path")
        found = self.solve_all(self.encode(maze)[None])
        shortest = int(found.difficulties[0])
        if moves > shortest:
            return Verdict(True, note=f"a path of {_moves(moves)}; the shortest has {shortest}")
        which = "the" if found.counts[0] == 1 else "a"
        return Verdict(True, note=f"{which} shortest path, {_moves(moves)}")

    def _change(self, cell: np.integer, maze: Grid, marked: Grid) -> str:
        place = self._place(cell)
        if maze[cell] in (START, GOAL):
            return f"{CHARACTERS[maze[cell]]} at {place} is missing"
        if maze[cell] == WALL:
            return (
                f"the path goes through the wall at {place}"
                if marked[cell] == MARK
                else f"the wall at {place} is missing"
            )
        return f"{place} is free, but the answer has {CHARACTERS[marked[cell]]!r} there"

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """The number of shortest paths and their length in moves. Raises PuzzleError for another size."""
        maze = self._cells(puzzle)
        refuse_unsolvable_text(maze.reshape(self.rows, self.columns))
        found = self.solve_all(self.encode(maze)[None])
        solutions, moves = int(found.counts[0]), int(found.difficulties[0])
        if solutions == 0:
            return Diagnosis(0, "no path leads from S to G")
        if solutions > 1:
            return Diagnosis(2, f"more than one shortest path, of {_moves(moves)} each", moves)
        return Diagnosis(1, "", moves, self.decode(found.answers[0]))

    def solve_all(self, tokens: Tokens) -> Solved:
        """Shortest paths of mazes `[n, S]` without padding. Mazes without S or G have no solution."""
        from hrm_cli.puzzles.maze import paths

        mazes = np.ascontiguousarray(tokens - np.uint8(FIRST_TOKEN))
        moves, ways = np.empty(len(mazes), np.int64), np.empty(len(mazes), np.int32)
        answers = np.empty_like(mazes)
        paths.solve_mazes(mazes, self.columns, paths.search_space(self.seq_len), moves, ways, answers)
        return Solved(ways, moves, self.encode_all(answers))

    def verify_all(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.bool_]:
        """Which answers `[n, S]` mark a shortest path."""
        # An answer is a shortest path if it has as many marks as one and G stays reachable through marked cells only.
        found = self.solve_all(puzzles)
        mark, free = MARK + FIRST_TOKEN, FREE + FIRST_TOKEN
        unchanged = ((puzzles == answers) | ((puzzles == free) & (answers == mark))).all(axis=1)
        only_marked = np.where(answers == free, WALL + FIRST_TOKEN, answers).astype(np.uint8)
        along = self.solve_all(only_marked).difficulties
        as_many = (answers == mark).sum(axis=1) == found.difficulties - 1
        return unchanged & as_many & (along == found.difficulties)

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """0 for shortest paths `[n, S]`, 1 for longer paths, otherwise 1 + the number of wrong cells.

        Wrong cells are: changed cells, cells of the path without exactly two neighbors on it (S and G: one), and
        marks that form separate rings.
        """
        mark, free = MARK + FIRST_TOKEN, FREE + FIRST_TOKEN
        changed = ((puzzles != answers) & ~((puzzles == free) & (answers == mark))).sum(axis=1)
        ends = (puzzles == START + FIRST_TOKEN) | (puzzles == GOAL + FIRST_TOKEN)
        on_path = ((answers == mark) | ends).reshape(-1, self.rows, self.columns)
        padded = np.pad(on_path, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
        beside = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        wanted = np.where(ends, 1, 2).reshape(on_path.shape)
        wrong = (on_path & (beside != wanted)).sum(axis=(1, 2))
        marks = (answers == mark).sum(axis=1)
        surplus = marks - (self.solve_all(puzzles).difficulties - 1)
        # If all neighbor counts are right, the marks are one path, plus separate rings if they have more cells than it.
        rings = np.zeros(len(answers), np.int64)
        for row in np.flatnonzero((changed + wrong == 0) & (surplus > 0)):
            rings[row] = not self.verify(self.decode(puzzles[row]), self.decode(answers[row])).ok
        broken = changed + wrong + rings
        return np.where(broken > 0, broken + 1, (surplus > 0).astype(np.int64)).astype(np.int64)

    def pin(self, tokens: Tokens, cell: int, token: int) -> Tokens:
        """Returns the maze `[S]` with one more wall. Does not modify `tokens`."""
        pinned = tokens.copy()
        pinned[cell] = token
        return pinned

    def next_pins(self, tokens: Tokens, probabilities: NDArray[np.float64]) -> list[tuple[int, int, float]]:
        """Walls to try after a failed answer: cell, token, and the probability that no shortest path is there."""
        from hrm_cli.puzzles.maze.pinning import walls_to_try  # most mazes need no search

        free, mark, wall = (kind + FIRST_TOKEN for kind in (FREE, MARK, WALL))
        return walls_to_try(tokens, probabilities, self.columns, free=free, mark=mark, wall=wall)

    def without_pins(self, puzzles: Tokens, pinned: Tokens, answers: Tokens) -> Tokens:
        """Answers `[n, S]` to mazes with further walls as answers to the mazes themselves."""
        return np.where((pinned != puzzles) & (answers == pinned), puzzles, answers).astype(answers.dtype)

    def refuted(self, puzzles: Tokens) -> NDArray[np.bool_]:
        """Which mazes `[n, S]` have no path from S to G, `[n]`."""
        return self.solve_all(puzzles).counts == 0

    def _cells(self, grid: Grid) -> Grid:
        return self.encode(grid) - np.uint8(FIRST_TOKEN)

    def _place(self, cell: int | np.integer) -> str:
        row, column = divmod(int(cell), self.columns)
        return f"row {row + 1}, column {column + 1}"


def grid_of(rows: Sequence[str]) -> Grid:
    """Parses rows of equal length. Raises PuzzleError, with row and column of an unknown character."""
    codes = np.frombuffer("".join(rows).encode("latin-1", "replace"), np.uint8)
    cells = _CELLS[codes].reshape(len(rows), -1)
    unknown = np.argwhere(cells > MARK)
    if len(unknown):
        row, column = unknown[0]
        raise PuzzleError(
            f"character {rows[row][column]!r} in row {row + 1}, column {column + 1} is not allowed in a "
            f"maze: # (wall), a space or . (free), S, G"
        )
    return cells


def refuse_unsolvable_text(grid: Grid) -> None:
    """Raises PuzzleError unless a grid `[R, C]` is an unsolved maze: one S, one G, no marks."""
    for kind in (START, GOAL):
        places = np.argwhere(grid == kind)
        if len(places) != 1:
            name, role = CHARACTERS[kind], "starts" if kind == START else "ends"
            if not len(places):
                raise PuzzleError(f"no {name}: the maze needs one cell where the path {role}")
            listed = " and ".join(f"row {row + 1}, column {column + 1}" for row, column in places[:2])
            raise PuzzleError(
                f"{len(places)} cells with {name} ({listed}{', …' * (len(places) > 2)}); expected one"
            )
    marks = np.argwhere(grid == MARK)
    if len(marks):
        row, column = marks[0]
        raise PuzzleError(
            f"'o' in row {row + 1}, column {column + 1} marks a path; expected an unsolved maze"
        )


def from_shape(vocab_size: int, seq_len: int) -> MazeDomain | None:
    """The square maze domain with this vocabulary size and sequence length, or None."""
    side = math.isqrt(seq_len)
    fits = vocab_size == MazeDomain.vocab_size and side * side == seq_len and 2 <= seq_len <= LARGEST
    return MazeDomain(side, side) if fits else None


def _side(name: str, given: int | None, otherwise: int | None) -> int:
    side = given if given is not None else otherwise if otherwise is not None else USUAL_SIZE
    if isinstance(side, bool) or not isinstance(side, int) or side < 1:
        raise ConfigError(f"maze {name} {side!r}: expected a whole number of at least 1")
    return side


def _moves(count: int) -> str:
    return counted(count, "move")
