"""Puzzle files of every domain, read piece by piece in constant memory.

This module finds out whether a file is CSV, and its domain; the text formats of puzzles are in each domain's
`TextReader`. A bad puzzle becomes an `Unreadable` and reading continues. Lines that belong to no puzzle are
counted. A file that cannot be read at all, or holds no puzzle, is a PuzzleError.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from hrm_cli.errors import ConfigError, PuzzleError, closest
from hrm_cli.puzzles.csv_puzzles import CellReader, Header, NumberedLine, csv_puzzles, find_header
from hrm_cli.puzzles.domain import Puzzle, Skipped, Unreadable
from hrm_cli.puzzles.skipped import SkippedLines
from hrm_cli.puzzles.text_lines import TooLong
from hrm_cli.puzzles.text_lines import lines as lines_of

Item = Puzzle | Unreadable

READERS = {
    "sudoku": "hrm_cli.puzzles.sudoku.text:SudokuText",
    "maze": "hrm_cli.puzzles.maze.text:MazeText",
}
"""Where the text reader of each domain is found; the first whose `claims` accepts a line reads a file."""

OPENING = 50
"""Lines looked at before the first puzzle is made, apart from blank lines and comments."""
BELOW = 10
"""Lines below one that may be the header of a CSV file, which show whether it is."""
MOST_OPENING = 1_000
"""The same with them."""


class TextReader(CellReader, Protocol):
    """Makes puzzles of one domain out of text. One object reads one file."""

    def claims(self, line: str) -> bool:
        """Whether a line looks like this domain's and like no other's."""

    def is_comment(self, line: str) -> bool:
        """Whether a line is to be passed over: # begins comments, and the walls of mazes."""

    def line(self, text: str, where: str) -> Iterator[Item | Skipped]:
        """Takes the next line of a text file: what became complete by it."""

    def end(self) -> Iterator[Item | Skipped]:
        """What the last lines left incomplete."""


def read_puzzles(
    source: Path | IO[str] | IO[bytes],
    domain: str | None = None,
    size: int | None = None,
    skipped: SkippedLines | None = None,
) -> Iterator[Item]:
    """The puzzles of a file or a stream, in order, with an `Unreadable` for every piece that is none.

    `domain` names the domain, None finds it by the first lines; `size` refuses puzzles of another size; `skipped`
    counts the lines that are no part of a puzzle. Raises PuzzleError naming the file when it is missing, a folder,
    unreadable or binary, and ConfigError for an unknown domain or size, when the first item is requested; and
    PuzzleError after the last line when no item was found.
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
    stream: IO[str] | IO[bytes], name: str, domain: str | None, size: int | None, skipped: SkippedLines
) -> Iterator[Item]:
    found = False
    for item in _items(stream, name, domain, size):
        if isinstance(item, Skipped):
            skipped.add(item.where)
        else:
            found = True
            yield item
    if not found:
        why = (
            f"; {skipped}" if skipped.count else " (nothing but blank lines, rules and comments, if anything)"
        )
        raise PuzzleError(f"{name}: holds no puzzle{why}")


def _items(
    stream: IO[str] | IO[bytes], name: str, domain: str | None, size: int | None
) -> Iterator[Item | Skipped]:
    numbered = enumerate(lines_of(stream, name), start=1)
    readers = _readers(domain, size)
    opening: list[NumberedLine] = []
    told = 0
    for number, line in numbered:
        opening.append((number, line))
        if not isinstance(line, TooLong) and (
            not line.strip() or all(reader.is_comment(line) for reader in readers)
        ):
            # However long a preface of comments is, it is not kept.
            if not told and len(opening) > OPENING:
                del opening[0]
            if len(opening) <= MOST_OPENING:
                continue
        told += 1
        if told == OPENING or len(opening) > MOST_OPENING:
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
    # What is not decided yet, the first line decides that another reader knows.
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
    """What a reader found; what it could not read gets the name of its domain."""
    for item in items:
        yield replace(item, domain=reader.domain) if isinstance(item, Unreadable) else item


def _find_header(
    opening: list[NumberedLine], name: str, readers: list[TextReader]
) -> tuple[Header | None, int]:
    """The header of a CSV file and how many lines it ends after; None and 0 where there is none.

    Comments may stand above it, and its own first column may be called `#`.
    """
    filled = [(place, line) for place, (_, line) in enumerate(opening, start=1) if str(line).strip()]
    texts = [line for _, line in filled if isinstance(line, str)]
    for number, (place, line) in enumerate(filled):
        if isinstance(line, TooLong):
            break
        below = texts[number + 1 : number + 1 + BELOW]
        is_comment = line.startswith("#")
        if is_comment and not (below and any(delimiter in line for delimiter in ",;\t")):
            continue
        header = find_header(line, below, name, readers)
        if header is not None or not is_comment:
            return header, 0 if header is None else place
    return None, 0


def _readers(domain: str | None, size: int | None) -> list[TextReader]:
    if domain is not None and domain not in READERS:
        raise ConfigError(f"unknown domain {domain!r}{closest(domain, list(READERS))}")
    readers: list[TextReader] = []
    for name in [domain] if domain else READERS:
        module, _, factory = READERS[name].partition(":")
        readers.append(getattr(importlib.import_module(module), factory)(size))
    return readers


def _most_claims(readers: list[TextReader], lines: list[str]) -> TextReader | None:
    """The reader that most lines look like puzzles of, the first among equals; None where none does."""
    counts = [sum(map(reader.claims, lines)) for reader in readers]
    return readers[counts.index(max(counts))] if any(counts) else None
