"""Reads the puzzles of a domain that has no text formats of its own: one per line, in the domain's one-line text."""

from __future__ import annotations

from collections.abc import Iterator

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Domain, Grid, Puzzle, Skipped, Unreadable


class PlainText:
    """Implements `hrm_cli.puzzles.reading.TextReader` for the puzzles of one domain."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self.domain = domain.name

    @property
    def expected(self) -> str:
        """What a file contains, for messages."""
        return f"expected {self._domain.describe()} puzzles, one per line or in a CSV file"

    def claims(self, line: str) -> bool:
        """Whether a line is a puzzle."""
        return self.is_puzzle(line)

    def is_comment(self, line: str) -> bool:
        """Whether a line begins with # and is not a puzzle."""
        return line.startswith("#") and not self.is_puzzle(line)

    def is_puzzle(self, text: str) -> bool:
        """Whether the domain can parse a text."""
        try:
            self._domain.parse(text)
        except PuzzleError:
            return False
        return True

    def piece(self, text: str) -> Grid:
        """The grid in a CSV cell. Raises PuzzleError."""
        return self._domain.parse(text).grid

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """The solution in a CSV cell. Raises PuzzleError."""
        try:
            return self._domain.parse(text).grid
        except PuzzleError as error:
            raise PuzzleError(f"answer: {error}") from None

    def line(self, text: str, where: str) -> Iterator[Puzzle | Unreadable | Skipped]:
        """Yields the puzzle of a line, or its error."""
        if not text.strip() or self.is_comment(text):
            return
        try:
            yield Puzzle(self._domain.parse(text).grid, where=where, domain=self.domain)
        except PuzzleError as error:
            yield Unreadable(where, str(error))

    def end(self) -> Iterator[Puzzle | Unreadable | Skipped]:
        """Nothing: every line is complete."""
        yield from ()
