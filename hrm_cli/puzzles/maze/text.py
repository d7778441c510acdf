"""How mazes are written in text files: drawn line by line with blank lines between, or square ones in one line.

Spaces are free cells, so nothing is trimmed; lines of spaces alone are rows where they are as long as their maze.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import Grid, Puzzle, Skipped, Unreadable
from hrm_cli.puzzles.maze.domain import CHARACTERS, FREE_IN_DRAWINGS, LARGEST, grid_of, refuse_unsolvable_text
from hrm_cli.puzzles.sudoku.line_text import plain

_ROW = frozenset(CHARACTERS + FREE_IN_DRAWINGS)
_TELLING = "#SG"
_SHORTEST_ROW = 2
_SMALLEST_SQUARE = 2
"""Side of the smallest maze in one line."""


class MazeText:
    """Reads mazes of every shape, or only those of `size` rows and columns. Raises ConfigError for a size below 2."""

    domain = "maze"

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < _SMALLEST_SQUARE:
            raise ConfigError(f"maze size {size}: a whole number from {_SMALLEST_SQUARE} is expected")
        self._size = size
        self._rows: list[str] = []
        self._places: list[str] = []
        self._cells = 0

    def claims(self, line: str) -> bool:
        """Whether the line has a maze's characters only, and one that nothing else has."""
        return len(line) >= _SHORTEST_ROW and _ROW.issuperset(line) and any(c in _TELLING for c in line)

    def is_comment(self, line: str) -> bool:
        """Whether the line begins with # but is not a row of walls."""
        return line.startswith("#") and not _ROW.issuperset(line.rstrip())

    def is_puzzle(self, text: str) -> bool:
        """Whether the text is a square maze by its length and characters, with a start and a goal."""
        is_maze = _is_square(len(text)) and _ROW.issuperset(text)
        return is_maze and text.count("S") == text.count("G") == 1

    def piece(self, text: str) -> Grid:
        """The grid of a square maze, row after row. Raises PuzzleError."""
        grid = self._square(text)
        refuse_unsolvable_text(grid)
        return grid

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """An answer of the maze's own shape. Raises PuzzleError."""
        try:
            grid = self._square(text)
        except PuzzleError as error:
            raise PuzzleError(f"answer: {error}") from error
        if grid.shape != puzzle.shape:
            raise PuzzleError(
                f"answer: {len(grid)}×{len(grid)} cells; the maze has {len(puzzle)}×{len(puzzle)}"
            )
        return grid

    def line(self, text: str, where: str) -> Iterator[Puzzle | Unreadable | Skipped]:
        """Takes the next line of a text file: the maze that a blank line completes, or what is wrong with it."""
        text = plain(text)
        is_row = len(self._rows[0]) == len(text) if self._rows else False
        if not text or (text.isspace() and not is_row):
            yield from self.end()
        elif _is_title(text) and not is_row:
            yield from self.end()
            yield Skipped(where)
        # Among rows of its length, what looks like a comment is a row with a character that no maze has.
        elif (is_row or not self.is_comment(text)) and self._cells <= LARGEST:
            self._rows.append(text)
            self._places.append(where)
            self._cells += len(text)

    def end(self) -> Iterator[Puzzle | Unreadable]:
        """The maze that the last lines drew."""
        rows, places = _without_margins(self._rows), self._places
        too_large = self._cells > LARGEST
        self._rows, self._places, self._cells = [], [], 0
        if not rows:
            return
        try:
            if too_large:
                raise PuzzleError(f"a maze of more than {LARGEST:,} cells; mazes end at a blank line")
            yield Puzzle(self._drawn(rows, places), where=places[0], domain=self.domain)
        except PuzzleError as error:
            yield Unreadable(places[0], str(error))

    def _drawn(self, rows: list[str], places: list[str]) -> Grid:
        if len(rows) == 1 and _is_square(len(rows[0])):
            return self.piece(rows[0])
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise PuzzleError(
                    f"row {number + 1} ({places[number]}) has {len(row)} characters, the first {len(rows[0])}; "
                    "all rows of a maze are equally long (free cells at the end of a line may be written as dots)"
                )
        grid = grid_of(rows)
        self._check_size(*grid.shape)
        refuse_unsolvable_text(grid)
        return grid

    def _square(self, text: str) -> Grid:
        text = text.strip("\r\n")
        side = math.isqrt(len(text))
        if not _is_square(len(text)):
            raise PuzzleError(
                f"{len(text)} characters; a maze on one line is square: {side * side} ({side}×{side}) or "
                f"{(side + 1) ** 2} ({side + 1}×{side + 1})"
            )
        self._check_size(side, side)
        return grid_of([text[i : i + side] for i in range(0, len(text), side)])

    def _check_size(self, rows: int, columns: int) -> None:
        if self._size is not None and (rows, columns) != (self._size, self._size):
            raise PuzzleError(f"{rows}×{columns} cells; mazes of {self._size}×{self._size} are expected")


def _is_title(text: str) -> bool:
    """Whether a line is words: most of its characters are no maze's."""
    written = [c for c in text if not c.isspace()]
    return 2 * sum(c in _ROW for c in written) < len(written)


def _without_margins(rows: list[str]) -> list[str]:
    """Rows without the spaces around walls that enclose the whole maze: an indent, or ends that were padded."""
    bare = [row.strip() for row in rows]
    is_closed = len(rows) > 1 and all(row.startswith("#") and row.endswith("#") for row in bare)
    is_closed = is_closed and {*bare[0], *bare[-1]} == {"#"} and len({len(row) for row in bare}) == 1
    margins = {len(row) - len(row.lstrip()) for row in rows}
    return bare if is_closed and len(margins) == 1 else rows


def _is_square(length: int) -> bool:
    return length >= _SMALLEST_SQUARE**2 and math.isqrt(length) ** 2 == length
