"""Reads puzzle files of every domain incrementally, in constant memory.

This module detects whether a file is CSV, and its domain. Of CSV files it finds the columns and reads the rows; each
domain's `TextReader` parses its text formats. An invalid puzzle becomes an `Unreadable`, and reading continues. Lines
that are not part of a puzzle are counted. A file that cannot be read, or contains no puzzle, raises PuzzleError.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol, overload

from hrm_cli.errors import ConfigError, PuzzleError, closest
from hrm_cli.puzzles.domain import Grid, Puzzle, Skipped, Unreadable
from hrm_cli.puzzles.text_lines import LONGEST_LINE, SkippedLines, TooLong
from hrm_cli.puzzles.text_lines import lines as lines_of

Item = Puzzle | Unreadable

READERS = {
    "sudoku": "hrm_cli.puzzles.sudoku.text:SudokuText",
    "maze": "hrm_cli.puzzles.maze.text:MazeText",
}
"""The text reader of each domain as `module:class`. A file is read by the reader that most of its lines match."""

EXPECTED = "expected Sudoku digits (one line, a grid or CSV) with . 0 _ * - ? or x for blanks, or a maze drawn with #"

EXAMINED_LINES = 50
"""Number of lines examined to detect the format, without blank lines and comments."""
HEADER_LOOKAHEAD = 10
"""Number of lines below a possible CSV header that are used to decide whether it is one."""
MAX_EXAMINED = 1_000
"""Number of lines examined to detect the format, including blank lines and comments."""


COLUMNS = {
    "question": ("question", "puzzle", "puzzles", "quiz", "quizzes", "sudoku", "maze"),
    "answer": ("answer", "answers", "solution", "solutions"),
    "rating": ("rating", "difficulty"),
    "source": ("source",),
}
"""Accepted column names for each property of a puzzle. The preferred name comes first."""

LONGEST_FIELD = LONGEST_LINE
"""Maximum number of characters in a CSV cell. The largest maze has a million."""
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
    """Parses a line as the header of a CSV file. Returns None if the following lines show that it is only a title.

    Raises PuzzleError if the line is a header without a column of puzzles.
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
            yield Unreadable(where, "an unmatched quotation mark")
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
            # An unclosed quotation mark must not include the following rows in the cell.
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
    """Parses one row. Raises PuzzleError if it contains no valid puzzle."""
    cells = {key: row[column] for key, column in columns.items() if column < len(row)}
    if "question" not in cells:
        raise PuzzleError(f"{len(row)} columns; expected the puzzle in column {columns['question'] + 1}")
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


class TextReader(CellReader, Protocol):
    """Parses puzzles of one domain from text. One object reads one file."""

    def claims(self, line: str) -> bool:
        """Whether a line looks like a puzzle of this domain and of no other."""

    def is_comment(self, line: str) -> bool:
        """Whether to skip a line as a comment. Comments begin with #, but so do rows of maze walls."""

    def line(self, text: str, where: str) -> Iterator[Item | Skipped]:
        """Processes the next line of a text file. Yields the items that it completes."""

    def end(self) -> Iterator[Item | Skipped]:
        """Yields the items still pending at the end of the file."""


def read_puzzles(
    source: Path | IO[str] | IO[bytes],
    domain: str | TextReader | None = None,
    size: int | None = None,
    skipped: SkippedLines | None = None,
) -> Iterator[Item]:
    """Reads the puzzles of a file or a stream, in order. An invalid puzzle gives an `Unreadable`.

    `domain` is the name of a domain with text formats of its own; None detects it from the first lines. A reader
    takes their place for domains of plugins. With `size`, puzzles of other sizes are
    errors. `skipped` counts the lines that are not part of a puzzle. Raises PuzzleError if the file is missing, a
    folder, unreadable or binary, and ConfigError for an unknown domain or size, both when the first item is requested.
    Raises PuzzleError after the last line if the file contains no puzzle.
    """
    if isinstance(source, Path):
        name = str(source)
        opened: AbstractContextManager[IO[str] | IO[bytes]] | None = None
    else:
        given = str(getattr(source, "name", ""))
        name = "standard input" if given in {"", "<stdin>", "0"} else given
        # Text streams fail on invalid bytes. Read the underlying bytes instead, decoded as leniently as a file's.
        opened = nullcontext(getattr(source, "buffer", source))
    try:
        with opened or Path(name).open("rb") as stream:
            yield from _read(stream, name, domain, size, SkippedLines() if skipped is None else skipped)
    except OSError as error:
        raise PuzzleError(f"{name}: {_why(error)}") from error


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder; expected a puzzle file"
    if isinstance(error, PermissionError):
        return "may not be read (permission denied)"
    return f"cannot be read ({error.strerror or error})"


def _read(
    stream: IO[str] | IO[bytes],
    name: str,
    domain: str | TextReader | None,
    size: int | None,
    skipped: SkippedLines,
) -> Iterator[Item]:
    found = False
    for item in _items(stream, name, domain, size):
        if isinstance(item, Skipped):
            skipped.add(item.where)
        else:
            found = True
            yield item
    if not found:
        nothing = " (only blank lines, rules and comments, or nothing)"
        why = f" in {skipped.amount} of text" if skipped.count else nothing
        raise PuzzleError(f"{name}: contains no puzzle{why}; {getattr(domain, 'expected', EXPECTED)}")


def _items(
    stream: IO[str] | IO[bytes], name: str, domain: str | TextReader | None, size: int | None
) -> Iterator[Item | Skipped]:
    numbered = enumerate(lines_of(stream, name), start=1)
    readers = _readers(domain, size)
    opening: list[NumberedLine] = []
    examined = 0
    for number, line in numbered:
        opening.append((number, line))
        if not isinstance(line, TooLong) and (
            not line.strip() or all(reader.is_comment(line) for reader in readers)
        ):
            # Keep only the last lines of leading comments, however many there are.
            if not examined and len(opening) > EXAMINED_LINES:
                del opening[0]
            if len(opening) <= MAX_EXAMINED:
                continue
        examined += 1
        if examined == EXAMINED_LINES or len(opening) > MAX_EXAMINED:
            break
    header, place = _find_header(opening, name, readers)
    texts = [line for _, line in opening[place:] if isinstance(line, str)]
    samples = texts if header is None else list(header.questions(texts))
    likely = _most_claims(readers, [line for line in samples if header or not line.startswith("#")])
    likely = likely or _most_claims(readers, samples)
    reader = likely or readers[0]
    lines = itertools.chain(opening[place:], numbered)
    if header is not None:
        yield from _named(csv_puzzles(lines, header, reader, name), reader)
        return
    # If the domain is still unknown, the first line that another reader recognizes determines it.
    others = [] if likely else [other for other in readers if other is not reader]
    for number, text in lines:
        found: Iterator[Item | Skipped]
        if isinstance(text, TooLong):
            found = itertools.chain(reader.end(), [Unreadable(f"{name}:{number}", str(text))])
        else:
            if known := [other for other in others if other.claims(text)]:
                yield from _named(reader.end(), reader)
                reader, others = known[0], []
            found = reader.line(text, f"{name}:{number}")
        for item in _named(found, reader):
            if isinstance(item, Puzzle):
                others = []
            yield item
    yield from _named(reader.end(), reader)


def _named(items: Iterator[Item | Skipped], reader: TextReader) -> Iterator[Item | Skipped]:
    """The items of a reader; every `Unreadable` gets the name of the reader's domain."""
    for item in items:
        yield replace(item, domain=reader.domain) if isinstance(item, Unreadable) else item


def _find_header(
    opening: list[NumberedLine], name: str, readers: Sequence[TextReader]
) -> tuple[Header | None, int]:
    """The header of a CSV file and the number of lines up to its end; None and 0 if there is no header.

    There may be comments above the header. Its first column may be called `#`.
    """
    filled = [(place, line) for place, (_, line) in enumerate(opening, start=1) if str(line).strip()]
    texts = [line for _, line in filled if isinstance(line, str)]
    for number, (place, line) in enumerate(filled):
        if isinstance(line, TooLong):
            break
        below = texts[number + 1 : number + 1 + HEADER_LOOKAHEAD]
        is_comment = line.startswith("#")
        if is_comment and not (below and any(delimiter in line for delimiter in ",;\t")):
            continue
        header = find_header(line, below, name, readers)
        if header is not None or not is_comment:
            return header, 0 if header is None else place
    return None, 0


class _Readers(Sequence[TextReader]):
    """The readers of some domains. Each is made when it is first asked: most files need only the first."""

    def __init__(self, names: Sequence[str], size: int | None) -> None:
        self._names, self._size = names, size
        self._made: dict[str, TextReader] = {}

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> TextReader: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TextReader]: ...
    def __getitem__(self, index: int | slice) -> TextReader | Sequence[TextReader]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self._names[index]
        if name not in self._made:
            module, _, factory = READERS[name].partition(":")
            self._made[name] = getattr(importlib.import_module(module), factory)(self._size)
        return self._made[name]


def _readers(domain: str | TextReader | None, size: int | None) -> Sequence[TextReader]:
    if not isinstance(domain, str | None):
        return [domain]
    if domain is not None and domain not in READERS:
        raise ConfigError(f"unknown domain {domain!r}{closest(domain, list(READERS))}")
    return _Readers([domain] if domain else list(READERS), size)


def _most_claims(readers: Sequence[TextReader], lines: list[str]) -> TextReader | None:
    """The reader that recognizes the most lines as puzzles; the first on ties, None if no reader recognizes any."""
    most, best = 0, None
    for reader in readers:
        count = sum(map(reader.claims, lines))
        if count > most:
            most, best = count, reader
        if count == len(lines):
            break
    return best
