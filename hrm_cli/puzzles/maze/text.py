"""Text format of mazes: drawn row by row with blank lines between mazes, or a square maze on one line.

A square maze on one line may be followed by a delimiter and its answer, as in a CSV file without a header. Spaces are
free cells, so lines are not trimmed. A line of spaces is a row if it is as long as the maze's other rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import Grid, Puzzle, Skipped, Unreadable
from hrm_cli.puzzles.maze.domain import CHARACTERS, FREE_IN_DRAWINGS, LARGEST, grid_of, refuse_unsolvable_text
from hrm_cli.puzzles.sudoku.line_text import plain

_ROW = frozenset(CHARACTERS + FREE_IN_DRAWINGS)
_UNIQUE_TO_MAZES = "#SG"
"""Characters that no other puzzle format uses in rows."""
_DELIMITERS = ",;\t"
_SHORTEST_ROW = 2
_SMALLEST_SQUARE = 2
"""Side of the smallest maze that may be written on one line."""


class MazeText:
    """Reads mazes of any shape, or only mazes of `size` × `size`. Raises ConfigError for a size below 2."""

    domain = "maze"

    def __init__(self, size: int | None = None) -> None:
        if size is not None and size < _SMALLEST_SQUARE:
            raise ConfigError(f"maze size {size}: expected a whole number of at least {_SMALLEST_SQUARE}")
        self._size = size
        self._rows: list[str] = []
        self._places: list[str] = []
        self._cells = 0

    def claims(self, line: str) -> bool:
        """Whether the line has only maze characters, and at least one that no other format uses, or is a CSV row."""
        is_row = len(line) >= _SHORTEST_ROW and _ROW.issuperset(line)
        return (is_row and any(c in _UNIQUE_TO_MAZES for c in line)) or self._csv_row(line) is not None

    def is_comment(self, line: str) -> bool:
        """Whether the line begins with # but is neither a row of walls nor a maze of a CSV file."""
        return line.startswith("#") and not _ROW.issuperset(line.rstrip()) and self._csv_row(line) is None

    def is_puzzle(self, text: str) -> bool:
        """Whether length and characters of the text are those of a square maze with start and goal."""
        is_maze = _is_square(len(text)) and _ROW.issuperset(text)
        return is_maze and text.count("S") == text.count("G") == 1

    def piece(self, text: str) -> Grid:
        """Parses a square maze written row by row. Raises PuzzleError."""
        grid = self._square(text)
        refuse_unsolvable_text(grid)
        return grid

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """Parses an answer, which must have the shape of `puzzle`. Raises PuzzleError."""
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
        """Processes the next line of a text file. A blank line completes a maze, which is yielded, or its error."""
        text = plain(text)
        is_row = len(self._rows[0]) == len(text) if self._rows else False
        if (cells := self._csv_row(text)) is not None:
            yield from self.end()
            yield self._of_csv(*cells, where)
            return
        if is_row and self.is_puzzle(self._rows[0]) and self.is_puzzle(text):
            # Only one row of a drawn maze can have a start and a goal: these are mazes on one line each.
            yield from self.end()
        if not text or (text.isspace() and not is_row):
            yield from self.end()
        elif _is_title(text) and not is_row:
            yield from self.end()
            yield Skipped(where)
        # A comment-like line as long as the other rows is a row with an invalid character.
        elif (is_row or not self.is_comment(text)) and self._cells <= LARGEST:
            self._rows.append(text)
            self._places.append(where)
            self._cells += len(text)

    def end(self) -> Iterator[Puzzle | Unreadable]:
        """Yields the maze in the last lines, if any."""
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

    def _csv_row(self, text: str) -> tuple[str, str] | None:
        """The maze and the text of the second column, if any; None if the line is not such a row."""
        for delimiter in _DELIMITERS:
            maze, found, rest = text.partition(delimiter)
            if found and self.is_puzzle(maze):
                return maze, rest.partition(delimiter)[0]
        return None

    def _of_csv(self, maze: str, second: str, where: str) -> Puzzle | Unreadable:
        try:
            grid = self.piece(maze)
            # Without a header, a second column may be something else.
            is_answer = len(second) == len(maze) and _ROW.issuperset(second)
            answer = self.answer(second, grid) if is_answer else None
            return Puzzle(grid, solution=answer, where=where, domain=self.domain)
        except PuzzleError as error:
            return Unreadable(where, str(error))

    def _drawn(self, rows: list[str], places: list[str]) -> Grid:
        if len(rows) == 1 and _is_square(len(rows[0])):
            return self.piece(rows[0])
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise PuzzleError(
                    f"row {number + 1} ({places[number]}) has {len(row)} characters, the first {len(rows[0])}; "
                    "all rows of a maze have the same length (write free cells at the end of a line as dots)"
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
            raise PuzzleError(f"{rows}×{columns} cells; expected mazes of {self._size}×{self._size}")


def _is_title(text: str) -> bool:
    """Whether a line is text: most of its characters are not maze characters."""
    written = [c for c in text if not c.isspace()]
    return 2 * sum(c in _ROW for c in written) < len(written)


def _without_margins(rows: list[str]) -> list[str]:
    """Removes indentation and trailing spaces outside the walls, if walls enclose the whole maze."""
    bare = [row.strip() for row in rows]
    is_closed = len(rows) > 1 and all(row.startswith("#") and row.endswith("#") for row in bare)
    is_closed = is_closed and {*bare[0], *bare[-1]} == {"#"} and len({len(row) for row in bare}) == 1
    margins = {len(row) - len(row.lstrip()) for row in rows}
    return bare if is_closed and len(margins) == 1 else rows


def _is_square(length: int) -> bool:
    return length >= _SMALLEST_SQUARE**2 and math.isqrt(length) ** 2 == length
