"""Puzzles in CSV files: finds the columns and reads the rows one at a time."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Grid, Puzzle, Unreadable
from hrm_cli.puzzles.text_lines import LONGEST_LINE, TooLong

COLUMNS = {
    "question": ("question", "puzzle", "puzzles", "quiz", "quizzes", "sudoku", "maze"),
    "answer": ("answer", "answers", "solution", "solutions"),
    "rating": ("rating", "difficulty"),
    "source": ("source",),
}
"""Accepted column names for each property of a puzzle, the preferred name first."""

LONGEST_FIELD = LONGEST_LINE
"""Largest number of characters in a CSV cell; the largest maze has a million."""
csv.field_size_limit(2 * LONGEST_FIELD)

NumberedLine = tuple[int, str | TooLong]

_NAME = re.compile("[a-z_][a-z_0-9 -]*")


class CellReader(Protocol):
    """Reads the cells of a CSV row. Each domain's `TextReader` is one."""

    @property
    def domain(self) -> str:
        """Name of the domain."""

    def piece(self, text: str) -> Grid:
        """The grid in a cell. Raises PuzzleError."""

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """The solution of `puzzle` in a cell. Raises PuzzleError."""

    def is_puzzle(self, text: str) -> bool:
        """Whether length and characters of a text are those of a complete puzzle."""


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file."""

    delimiter: str
    width: int
    """Number of columns."""
    columns: dict[str, int]
    """Column index of each key of `COLUMNS` that the file has."""

    def questions(self, lines: list[str]) -> Iterator[str]:
        """The puzzle cells of some rows; rows that are too short are skipped."""
        column = self.columns["question"]
        for line in lines:
            row = cells_of(line, self.delimiter)
            if column < len(row):
                yield row[column]


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line."""
    return next(csv.reader([line], delimiter=delimiter), [])


def find_header(
    line: str, following: Sequence[str], name: str, readers: Sequence[CellReader]
) -> Header | None:
    """Parses a line as the header of a CSV file. Returns None if the lines that follow show that it is only a title.

    Raises PuzzleError if the line names columns but none of them holds puzzles.
    """
    for delimiter in ",;\t":
        names = [cell.strip().lower() for cell in cells_of(line.removeprefix("#"), delimiter)]
        columns = {
            key: next(names.index(known) for known in accepted if known in names)
            for key, accepted in COLUMNS.items()
            if not set(accepted).isdisjoint(names)
        }
        below = cells_of(following[0], delimiter) if following else []
        if len(names) == 1:
            puzzles = sum(any(reader.is_puzzle(row) for reader in readers) for row in following)
            is_header = 0 < len(following) <= 2 * puzzles
        else:
            # A single digit in the row below is the first cell of a grid, not a puzzle.
            question = columns.get("question", len(names))
            is_header = not following or (
                len(below) > 1 and (question >= len(below) or len(below[question].strip()) != 1)
            )
        if not is_header:
            continue
        if "question" in columns:
            return Header(delimiter, len(names), columns)
        if len(names) > 1 and len(below) in (0, len(names)) and all(map(_NAME.fullmatch, names)):
            raise PuzzleError(
                f"{name}: a CSV file with the columns {', '.join(names)}; "
                f"the puzzles' column must be called one of {', '.join(COLUMNS['question'])}"
            )
    return None


def csv_puzzles(
    lines: Iterator[NumberedLine], header: Header, reader: CellReader, name: str
) -> Iterator[Puzzle | Unreadable]:
    """The puzzles of the rows below the header, and an `Unreadable` for each row without a valid puzzle."""
    for at, text in _rows(lines, header):
        where = f"{name}:{at}"
        try:
            if isinstance(text, TooLong):
                raise PuzzleError(str(text))
            (row,) = csv.reader(text.splitlines(keepends=True), delimiter=header.delimiter)
            if any(cell.strip() for cell in row):
                yield _puzzle(row, header.columns, reader, where)
        except ValueError:
            yield Unreadable(where, "a quotation mark that is not closed, or not opened")
        except (csv.Error, PuzzleError) as error:
            yield Unreadable(where, str(error))


def _rows(lines: Iterator[NumberedLine], header: Header) -> Iterator[NumberedLine]:
    """The text of each row with the number of its last line. Quoted cells may span several lines."""
    number, row, length, is_open = 0, list[str](), 0, False
    for at, line in lines:
        if is_open and (
            isinstance(line, TooLong)
            or length + len(line) > LONGEST_FIELD
            or 1 < header.width == len(cells_of(line, header.delimiter))
        ):
            # An unclosed quotation mark must not swallow the rows that follow.
            yield number, "\n".join(row)
            is_open = False
        if isinstance(line, TooLong):
            yield at, line
        elif is_open or line.strip():
            if not is_open:
                row, length = [], 0
            row.append(line)
            length += len(line) + 1
            number = at
            is_open ^= line.count('"') % 2 == 1
            if not is_open:
                yield number, "\n".join(row)
    if is_open:
        yield number, "\n".join(row)


def _puzzle(row: list[str], columns: dict[str, int], reader: CellReader, where: str) -> Puzzle:
    """Parses one row. Raises PuzzleError if it holds no valid puzzle."""
    cells = {key: row[column] for key, column in columns.items() if column < len(row)}
    if "question" not in cells:
        raise PuzzleError(f"{len(row)} columns; the puzzle is expected in column {columns['question'] + 1}")
    grid = reader.piece(cells["question"])
    answer = cells.get("answer")
    return Puzzle(
        grid,
        solution=reader.answer(answer, grid) if answer and answer.strip() else None,
        where=where,
        source=cells.get("source", "").strip(),
        rating=_number(cells.get("rating", "")),
        domain=reader.domain,
    )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
