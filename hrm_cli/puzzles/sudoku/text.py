"""Text formats of Sudoku puzzles: one per line, drawn grids, lists, and the SadMan format.

`line_text.py` classifies lines, `grid_text.py` assembles grids from rows, and `drawn_text.py` parses grids with spaces
for blanks.
"""

from __future__ import annotations

from collections.abc import Iterator

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Grid, Puzzle, Skipped, Unreadable
from hrm_cli.puzzles.sudoku.domain import BLANKS, SudokuDomain
from hrm_cli.puzzles.sudoku.grid_text import Cells, Grids, near_lengths
from hrm_cli.puzzles.sudoku.layout import BOXES, SYMBOLS
from hrm_cli.puzzles.sudoku.line_text import (
    DIGITS,
    FROM_ZERO,
    LONGEST_LINE,
    WRITTEN,
    counts_from_zero,
    plain,
    read_line,
)

_SEPARATORS = str.maketrans("", "", " \t\r\n\f\v|:!,;'\"[](){}")
_PLAIN = DIGITS + BLANKS
_OWN_SECTION = "puzzle"
_OTHER_SECTIONS = frozenset({"state", "pencilmarks", "pencil marks", "marks", "candidates", "solution"})
"""Sections of SadMan files other than `[Puzzle]`: the state of play and notes, which are not puzzles."""
_LONGEST_SECTION = 25


class SudokuText:
    """Reads Sudoku puzzles of every size, or of one size. Raises ConfigError for an unsupported size."""

    domain = "sudoku"

    def __init__(self, size: int | None = None) -> None:
        self._domains = {n: SudokuDomain(n) for n in ([size] if size is not None else BOXES)}
        self._by_length = {domain.seq_len: domain for domain in self._domains.values()}
        self._grids = Grids(self._domains)
        self._has_own_section = False
        self._left_of_section = 0
        """Remaining lines of a section other than the puzzle's."""

    def claims(self, line: str) -> bool:
        """Whether a line contains a digit and has the form of a puzzle or a row."""
        if not any(character in DIGITS for character in line):
            return False
        found = read_line(line, "", self._domains)
        if found.kind == "puzzle":
            return len(found.cells) in self._by_length
        return found.kind == "row" and (found.has_gaps or len(found.cells) in self._domains)

    def is_comment(self, line: str) -> bool:
        """Whether the line begins with #. A puzzle on such a line is commented out."""
        return line.startswith("#")

    def is_puzzle(self, text: str) -> bool:
        """Whether length and characters of the text are those of a complete puzzle, and not of a row."""
        text = plain(text).translate(_SEPARATORS)
        return (
            len(text) in self._by_length
            and len(text) not in self._domains
            and all(c in DIGITS + WRITTEN or c.isalnum() for c in text)
        )

    def piece(self, text: str) -> Grid:
        """Parses a grid of N² characters, optionally separated by spaces. Raises PuzzleError."""
        found = read_line(" ".join(text.split("\n")), "", self._domains)
        text = found.cells if found.kind == "puzzle" else found.text.translate(_SEPARATORS)
        if found.kind == "long":
            raise PuzzleError(_too_long(found.text))
        domain = self._by_length.get(len(text))
        if domain is None:
            choices = " or ".join(
                f"{n * n} ({self._domains[n].describe()})" for n in near_lengths(self._domains, len(text))
            )
            raise PuzzleError(f"{len(text)} characters; expected {choices}")
        return domain.grid(text.replace("-", "."))

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """Parses a solution, which must have the size of `puzzle` and no blanks. Raises PuzzleError."""
        try:
            grid = self._domains[len(puzzle)].grid(plain(text).translate(_SEPARATORS))
        except PuzzleError as error:
            raise PuzzleError(f"answer: {error}") from error
        if not grid.all():
            raise PuzzleError("answer: has blank cells")
        return grid

    def line(self, text: str, where: str) -> Iterator[Puzzle | Unreadable | Skipped]:
        """Processes the next line of a file. Yields the puzzles that it completes, or its error."""
        if len(text) in self._by_length and len(text) not in self._domains and not text.strip(_PLAIN):
            yield from self._found(self._grids.end())
            yield self._puzzle(text, where)
            return
        line = read_line(text, where, self._domains)
        if self._left_of_section and line.kind not in ("blank", "section"):
            self._left_of_section -= 1
            yield Skipped(where)
            return
        if line.kind == "blank":
            self._left_of_section = 0
            yield from self._found(self._grids.blank(text))
        elif line.kind == "comment":
            if line.cells:
                yield Skipped(where)
        elif line.kind == "rule":
            yield from self._found(self._grids.rule())
        elif line.kind == "row":
            yield from self._found(self._grids.row(line))
        else:
            yield from self._found(self._grids.end())
            if line.kind == "puzzle":
                yield self._puzzle(line.cells, where)
            elif line.kind == "long":
                yield Unreadable(where, _too_long(line.text))
            elif line.kind == "section":
                yield from self._section(line.name.lower(), where)
            else:
                yield Skipped(where)

    def _section(self, name: str, where: str) -> Iterator[Skipped]:
        self._has_own_section |= name == _OWN_SECTION
        is_other = self._has_own_section and name in _OTHER_SECTIONS
        self._left_of_section = _LONGEST_SECTION if is_other else 0
        if name != _OWN_SECTION:
            yield Skipped(where)

    def end(self) -> Iterator[Puzzle | Unreadable | Skipped]:
        """Yields the grid in the last lines, or what is missing in it."""
        yield from self._found(self._grids.end())

    def _found(
        self, items: Iterator[Cells | Unreadable | Skipped]
    ) -> Iterator[Puzzle | Unreadable | Skipped]:
        for item in items:
            yield self._puzzle(item.cells, item.where) if isinstance(item, Cells) else item

    def _puzzle(self, cells: str, where: str) -> Puzzle | Unreadable:
        domain = self._by_length.get(len(cells))
        try:
            if domain is None:
                return Puzzle(self.piece(cells), where=where, domain=self.domain)
            from_zero = counts_from_zero(cells, domain.size)
            if from_zero is None:
                raise PuzzleError(
                    f"contains both 0 and {SYMBOLS[domain.size - 1]}; digits begin at 0 or at 1"
                )
            grid = domain.grid(_from_one(cells) if from_zero else cells.replace("-", "."))
            characters = str.maketrans(SYMBOLS, FROM_ZERO) if from_zero else {}
            return Puzzle(grid, where=where, domain=self.domain, characters=characters)
        except PuzzleError as error:
            return Unreadable(where, str(error))


def _from_one(cells: str) -> str:
    return cells.upper().replace("-", ".").translate(str.maketrans(FROM_ZERO, SYMBOLS))


def _too_long(text: str) -> str:
    return f"{len(text):,} characters in a line; puzzles have at most {LONGEST_LINE:,}"
