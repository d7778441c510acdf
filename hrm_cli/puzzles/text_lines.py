"""Reads the lines of a text in constant memory, with any line endings, encoding and line length.

`SkippedLines` counts and lists the lines that are not part of a puzzle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, cast

from hrm_cli.errors import PuzzleError

LONGEST_LINE = 1 << 20
"""Maximum number of characters in a line. Puzzles are shorter, and longer lines are skipped."""
ENDLESS_LINE = 1 << 28
"""Number of characters without a line end after which reading stops with an error."""
CHUNK = 1 << 16
"""Bytes per read."""

_CONTROL = re.compile("[\\x00-\\x08\\x0e-\\x19\\x1b-\\x1f]")
_END = re.compile(r"\r\n|\n|\r")
_END_OF_BYTES = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class TooLong:
    """A line that was skipped because it is too long."""

    length: int

    def __str__(self) -> str:
        return f"a line of {self.length:,} characters; puzzles have at most {LONGEST_LINE:,}"


def lines(stream: IO[str] | IO[bytes], name: str) -> Iterator[str | TooLong]:
    """The lines without their line ends (`\\n`, `\\r\\n` or `\\r`). Raises PuzzleError for binary data."""
    mark = "\ufeff"
    for raw in _raw_lines(stream, name):
        if isinstance(raw, TooLong):
            yield raw
            continue
        line = _text(raw) if isinstance(raw, bytes) else raw
        line = line.removeprefix(mark)
        mark = ""
        if _CONTROL.search(line):
            raise PuzzleError(f"{name}: is a binary file or UTF-16 text; expected UTF-8 text")
        yield line


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _raw_lines(stream: IO[str] | IO[bytes], name: str) -> Iterator[str | bytes | TooLong]:
    # `read1` returns available data without waiting for a full block, so typed puzzles are answered line by line.
    read = cast(Callable[[int], str | bytes], getattr(stream, "read1", stream.read))
    rest = read(CHUNK)
    dropped = 0
    while True:
        end = _END if isinstance(rest, str) else _END_OF_BYTES
        start = 0
        for match in end.finditer(rest):  # type: ignore[arg-type]
            if match.end() == len(rest) and match[0] in ("\r", b"\r"):
                # The `\n` of a Windows line end may still follow.
                break
            piece = rest[start : match.start()]
            yield TooLong(dropped + len(piece)) if dropped else piece
            dropped = 0
            start = match.end()
        rest = rest[start:]
        if len(rest) > LONGEST_LINE or (dropped and len(rest) > 1):
            _refuse_binary(rest, name)
            dropped += len(rest) - 1
            rest = rest[-1:]
            if dropped > ENDLESS_LINE:
                raise PuzzleError(
                    f"{name}: a line of more than {ENDLESS_LINE:,} characters; not a puzzle file"
                )
        more = read(CHUNK)
        if not more:
            break
        rest += more  # type: ignore[operator]
    ends_with_return = rest[-1:] in ("\r", b"\r")
    rest = rest[:-1] if ends_with_return else rest
    if dropped:
        yield TooLong(dropped + len(rest))
    elif rest or ends_with_return:
        yield rest


def _refuse_binary(piece: str | bytes, name: str) -> None:
    text = piece.decode("latin-1") if isinstance(piece, bytes) else piece
    if _CONTROL.search(text):
        raise PuzzleError(f"{name}: is a binary file or UTF-16 text; expected UTF-8 text")


MAX_LISTED = 20
"""Maximum number of lines that are listed. Further lines are only counted."""


@dataclass
class SkippedLines:
    """The skipped lines, such as titles and notes. Readers add them; messages list them."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    """The line numbers of the first skipped lines."""
    names_files: bool = False
    """Whether the lines come from several files and are therefore listed as `file.txt:3`."""
    where: list[str] = field(default_factory=list)
    """File and line of the first skipped lines."""

    def add(self, where: str) -> None:
        """Counts the line at `where`, for example `file.txt:3`."""
        self.count += 1
        number = where.rpartition(":")[2]
        if len(self.first) < MAX_LISTED and number.isdecimal():
            self.first.append(int(number))
            self.where.append(where)

    def document(self) -> dict[str, Any]:
        """The JSON record. It has the same keys as the records of puzzles."""
        return {
            "index": None,
            "status": "skipped",
            "answer": None,
            "verified": False,
            "reason": str(self),
            "count": self.count,
            "lines": self.first,
            **({"where": self.where} if self.names_files else {}),
        }

    @property
    def amount(self) -> str:
        """`1 line` or `3 lines`."""
        return f"{self.count:,} {'line' if self.count == 1 else 'lines'}"

    def __str__(self) -> str:
        """For example `3 lines are not puzzles: 12, 40, 41`; empty if no line was skipped."""
        if not self.count:
            return ""
        named = ", ".join(self.where if self.names_files else map(str, self.first))
        more = f" and {self.count - len(self.first):,} more" if self.count > len(self.first) else ""
        what = "is not a puzzle" if self.count == 1 else "are not puzzles"
        return f"{self.amount} {what}: {named}{more}"
