"""Puzzle files of every domain, read piece by piece in constant memory.

This module knows files, encodings and CSV; what a puzzle looks like in text, each domain's `TextReader` knows. A bad
puzzle becomes an `Unreadable` and reading goes on; a file that cannot be read at all is a PuzzleError.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import math
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from hrm_cli.errors import ConfigError, PuzzleError, closest
from hrm_cli.puzzles.domain import Grid, Puzzle, Unreadable

Item = Puzzle | Unreadable

READERS = {
    "sudoku": "hrm_cli.puzzles.sudoku_text:SudokuText",
    "maze": "hrm_cli.puzzles.maze_text:MazeText",
}
"""Where the text reader of each domain is found; the first whose `claims` accepts a line reads a file."""

COLUMNS = {
    "question": ("question", "puzzle", "puzzles", "quiz", "quizzes", "sudoku", "maze"),
    "answer": ("answer", "answers", "solution", "solutions"),
    "rating": ("rating", "difficulty"),
    "source": ("source",),
}
"""Names under which CSV files hold what a puzzle has, the preferred one first."""

OPENING = 50
"""Lines looked at before the first puzzle is made."""

LONGEST_LINE = 1 << 20
"""Characters; a longer line is no text that people write puzzles in, and would have to fit in memory."""

CONTROL = re.compile("[\\x00-\\x08\\x0e-\\x19\\x1b-\\x1f]")
NAME = re.compile("[a-z_][a-z_0-9 -]*")


class TextReader(Protocol):
    """Makes puzzles of one domain out of text. One object reads one file."""

    @property
    def domain(self) -> str:
        """Name of the domain."""

    def claims(self, line: str) -> bool:
        """Whether a line looks like this domain's."""

    def is_comment(self, line: str) -> bool:
        """Whether a line is to be passed over: # begins comments, and the walls of mazes."""

    def piece(self, text: str) -> Grid:
        """The grid in one piece of text, such as a CSV's cell. Raises PuzzleError."""

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """The solution of `puzzle` in such a piece. Raises PuzzleError."""

    def line(self, text: str, where: str) -> Iterator[Item]:
        """Takes the next line of a text file: what became complete by it."""

    def end(self) -> Iterator[Item]:
        """What the last lines left incomplete."""


@dataclass(frozen=True)
class Header:
    """The first row of a CSV file."""

    delimiter: str
    columns: dict[str, int]
    """Where the keys of `COLUMNS` stand, those that the file has."""

    def questions(self, lines: list[str]) -> Iterator[str]:
        """The puzzles in rows of the file, as far as they are there."""
        column = self.columns["question"]
        for row in csv.reader(lines, delimiter=self.delimiter):
            if column < len(row):
                yield row[column]


def read_puzzles(
    source: Path | IO[str] | IO[bytes], domain: str | None = None, size: int | None = None
) -> Iterator[Item]:
    """The puzzles of a file or a stream, in order, with an `Unreadable` for every piece that is none.

    `domain` names the domain, None finds it by the first lines; `size` refuses puzzles of another size.
    Raises PuzzleError naming the file when it is missing, a folder, unreadable, empty or binary, and ConfigError
    for an unknown domain or size, when the first item is asked for.
    """
    if isinstance(source, Path):
        name = str(source)
        opened: AbstractContextManager[IO[str] | IO[bytes]] | None = None
    else:
        given = str(getattr(source, "name", ""))
        name = "standard input" if given in {"", "<stdin>", "0"} else given
        # Text streams decode strictly; their bytes are read as leniently as a file's.
        opened = nullcontext(getattr(source, "buffer", source))
    try:
        with opened or Path(name).open("rb") as stream:
            yield from _read(stream, name, domain, size)
    except OSError as error:
        raise PuzzleError(f"{name}: {_why(error)}") from error


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder; a puzzle file is wanted"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    return f"cannot be read ({error.strerror or error})"


def _read(stream: IO[str] | IO[bytes], name: str, domain: str | None, size: int | None) -> Iterator[Item]:
    numbered = enumerate(_lines(stream, name), start=1)
    readers = _readers(domain, size)
    opening: list[tuple[int, str]] = []
    told: list[str] = []
    for number, line in numbered:
        if line.strip() and not all(reader.is_comment(line) for reader in readers):
            told.append(line)
        # However long a preface of comments is, it is not kept.
        if told:
            opening.append((number, line))
        if len(opening) == OPENING:
            break
    if not told:
        raise PuzzleError(f"{name}: holds no puzzle (nothing but blank lines and comments, if anything)")
    # What begins with # may be a comment all the same: lines that cannot be one tell more.
    plain = [line for line in told if not line.startswith("#")]
    header = _header(plain[0], name) if plain else None
    samples = plain if header is None else [*header.questions(plain[1:]), *plain]
    reader = _claimant(readers, samples) or _claimant(readers, told) or readers[0]
    if header is not None:
        rest = itertools.dropwhile(lambda numbered_line: numbered_line[1] != plain[0], opening)
        lines = itertools.chain(rest, numbered)
        next(lines)
        yield from _csv_rows(lines, header, reader, name)
        return
    for number, line in itertools.chain(opening, numbered):
        yield from reader.line(line, f"{name}:{number}")
    yield from reader.end()


def _readers(domain: str | None, size: int | None) -> list[TextReader]:
    if domain is not None and domain not in READERS:
        raise ConfigError(f"unknown domain {domain!r}{closest(domain, list(READERS))}")
    readers: list[TextReader] = []
    for name in [domain] if domain else READERS:
        module, _, factory = READERS[name].partition(":")
        readers.append(getattr(importlib.import_module(module), factory)(size))
    return readers


def _claimant(readers: list[TextReader], lines: list[str]) -> TextReader | None:
    return next((reader for line in lines for reader in readers if reader.claims(line)), None)


def _lines(stream: IO[str] | IO[bytes], name: str) -> Iterator[str]:
    """Lines without their ends, whatever the encoding. Raises PuzzleError for binary data."""
    mark = "\ufeff"
    while raw := stream.readline(LONGEST_LINE):
        if len(raw) == LONGEST_LINE:
            raise PuzzleError(f"{name}: has a line of {LONGEST_LINE:,} characters or more: no puzzle file")
        line = _text(raw) if isinstance(raw, bytes) else raw
        line = line.removeprefix(mark)
        mark = ""
        if CONTROL.search(line):
            raise PuzzleError(f"{name}: is a binary file, or text in UTF-16; UTF-8 text is wanted")
        # Old Macintosh files end lines with a bare carriage return.
        yield from line.rstrip("\r\n").split("\r")


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _header(line: str, name: str) -> Header | None:
    """What a first line says when it is a CSV's. Raises PuzzleError when it names columns, but no puzzle's."""
    for delimiter in ",;\t":
        names = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter), [])]
        columns = {
            key: next(names.index(known) for known in accepted if known in names)
            for key, accepted in COLUMNS.items()
            if not set(accepted).isdisjoint(names)
        }
        if "question" in columns:
            return Header(delimiter, columns)
        if len(names) > 1 and all(NAME.fullmatch(cell) for cell in names):
            raise PuzzleError(
                f"{name}: a CSV file with the columns {', '.join(names)}; "
                f"the puzzles' column must be called one of {', '.join(COLUMNS['question'])}"
            )
    return None


def _csv_rows(
    lines: Iterator[tuple[int, str]], header: Header, reader: TextReader, name: str
) -> Iterator[Item]:
    at = 1

    def counted() -> Iterator[str]:
        nonlocal at
        for number, line in lines:
            at = number
            yield line

    rows = csv.reader(counted(), delimiter=header.delimiter)
    while True:
        try:
            row = next(rows)
            if any(cell.strip() for cell in row) and not reader.is_comment(row[0]):
                yield _csv_puzzle(row, header.columns, reader, f"{name}:{at}")
        except StopIteration:
            return
        except (csv.Error, PuzzleError) as error:
            yield Unreadable(f"{name}:{at}", str(error))


def _csv_puzzle(row: list[str], columns: dict[str, int], reader: TextReader, where: str) -> Puzzle:
    """The puzzle of a row. Raises PuzzleError."""
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
