"""How Sudoku puzzles are written in text files: one a line, as drawn grids, in SadMan's or Simple Sudoku's form.

A line is taken apart only as far as it needs to be: its first word is a whole puzzle, or it is one row of a grid
whose box rules and spaces do not matter. A grid is complete when it has as many rows as columns. Where blanks are
spaces, places matter, and `sudoku_drawn` looks at the grid as a whole.

Letters in shapes: N size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Grid, Puzzle, Unreadable
from hrm_cli.puzzles.sudoku import BLANKS, SudokuDomain
from hrm_cli.puzzles.sudoku_drawn import (
    Drawing,
    dashed_cells,
    has_gaps,
    is_empty_row,
    puzzle_in,
    separated_cells,
)
from hrm_cli.puzzles.sudoku_layout import BOXES

RULE = re.compile(r"(?=.*[-=─━═]{2})[-=─━═|+*.:'\s┼╋╬┌┐└┘├┤┬┴╔╗╚╝╠╣╦╩]+|[|+:│┃║\s]+")
LABEL = re.compile(r"(grid|puzzle|sudoku|game|no\.?|nr\.?)\s*#?\s*\d*\s*:?", re.IGNORECASE)
SECTION = re.compile(r"\[(.*)\]")
BARS = str.maketrans("", "", "|:!│┃║")
SEPARATORS = str.maketrans("", "", " \t|:!│┃║")
CELL = re.compile(rf"[1-9{re.escape(BLANKS)}]+")
WORD_END = re.compile(r"[\s,;]")
TITLE = re.compile(
    r"(?=.*[^\W\d_]{3})(?=.*\s.*\d|.*\d.*\s|.*(sudoku|puzzle|grid|easy|mild|medium|moderate|hard|difficult|tough"
    r"|expert|fiendish)).*",
    re.IGNORECASE,
)
"""Words with a number, or that speak of puzzles: what newspapers print above a grid."""
MOST_TITLES = 4
"""Lines of words that may stand above a puzzle."""
SHORTEST_PUZZLE = 10
"""Characters from which the first word of a line is meant as a puzzle, not as a row."""


class SudokuText:
    """Reads Sudoku puzzles of every size, or of one. Raises ConfigError for a size that there is not."""

    domain = "sudoku"

    def __init__(self, size: int | None = None) -> None:
        self._domains = {n: SudokuDomain(n) for n in ([size] if size is not None else BOXES)}
        self._by_length = {domain.seq_len: domain for domain in self._domains.values()}
        self._rows: list[str] = []
        self._where = ""
        self._skips = False
        self._broken = False
        self._has_dashes = False
        self._drawing = Drawing()
        self._gap: Unreadable | None = None
        """The first row that leaves blanks as spaces, and what to say of it if the grid makes no sense."""
        self._waits = False
        """Whether a blank line has stood behind a band of boxes."""
        self._titles: list[Unreadable] = []
        """Lines of words that no puzzle has followed yet."""

    def claims(self, line: str) -> bool:
        """Whether some word of the line has the length and the characters of a puzzle or of a row."""
        words = [*WORD_END.split(line.translate(BARS)), line.translate(SEPARATORS)]
        lengths = {*self._domains, *self._by_length}
        return any(len(word) in lengths and CELL.fullmatch(word) for word in words)

    def is_comment(self, line: str) -> bool:
        """Whether the line begins with #, puzzle or not: commented out."""
        return line.startswith("#")

    def piece(self, text: str) -> Grid:
        """The grid of N² characters, spaces between them allowed. Raises PuzzleError."""
        text = text.translate(SEPARATORS)
        domain = self._by_length.get(len(text))
        if domain is None:
            choices = " or ".join(f"{length} ({d.describe()})" for length, d in self._by_length.items())
            raise PuzzleError(f"{len(text)} characters; expected {choices}")
        return domain.grid(text)

    def answer(self, text: str, puzzle: Grid) -> Grid:
        """A solution of the puzzle's own size, without blanks. Raises PuzzleError."""
        try:
            grid = self._domains[len(puzzle)].grid(text.translate(SEPARATORS))
        except PuzzleError as error:
            raise PuzzleError(f"answer: {error}") from error
        if not grid.all():
            raise PuzzleError("answer: has blank cells")
        return grid

    def line(self, text: str, where: str) -> Iterator[Puzzle | Unreadable]:
        """Takes the next line of a file: the puzzle that it completes, or what is wrong with it."""
        line = text.strip()
        plain = len(line) in self._by_length and CELL.fullmatch(line)
        section = None if plain else SECTION.fullmatch(line)
        if section and not separated_cells(line):
            yield from self._finish()
            # Beside [Puzzle], SadMan's files hold a state of play and pencil marks, which are no puzzles.
            self._skips = section[1].strip().lower() != "puzzle"
        elif self._skips:
            return
        elif plain:
            yield from self._whole(line, where)
        elif not line and self._is_at_band() and not self._waits:
            self._waits = True
        elif not line or LABEL.fullmatch(line):
            yield from self._finish()
        elif is_empty_row(text) and (len(self._drawing) or not line.strip("|:│┃║! ")):
            self._drawing.add(text)
        elif (cells := dashed_cells(line, self._has_dashes)) is not None:
            self._has_dashes = True
            yield from self._row(cells, where)
        elif not line.startswith("#") and not RULE.fullmatch(line):
            yield from self._told(text, line, where)

    def _told(self, text: str, line: str, where: str) -> Iterator[Puzzle | Unreadable]:
        """A line that is no rule: a puzzle, a row of one, or words above one."""
        word = WORD_END.split(line.translate(BARS).lstrip(), maxsplit=1)[0]
        joined = line.translate(SEPARATORS)
        if (puzzle := puzzle_in(line, self._by_length)) is not None:
            yield from self._whole(puzzle, where)
        elif (cells := separated_cells(text)) is not None:
            yield from self._row(cells, where)
        elif TITLE.match(line) and 2 * sum(c in "123456789" + BLANKS for c in line) < len(line):
            yield from self._finish()
            self._titles.append(Unreadable(where, f"{line[:40]!r}: no puzzle"))
            if len(self._titles) > MOST_TITLES:
                yield from self._forget_titles()
        elif len(word) >= SHORTEST_PUZZLE:
            yield from self._whole(word, where)
        elif has_gaps(text) or self._drawing.has_gaps:
            yield from self._gappy(text, joined, where)
        elif len(joined) >= SHORTEST_PUZZLE:
            # Cells with spaces between them.
            yield from self._whole(joined, where)
        else:
            self._drawing.add(text)
            yield from self._row(joined, where)

    def end(self) -> Iterator[Puzzle | Unreadable]:
        """The grid that broke off, if one did, and words that no puzzle followed."""
        yield from self._finish()
        yield from self._forget_titles()

    def _forget_titles(self) -> Iterator[Unreadable]:
        titles, self._titles = self._titles, []
        yield from titles

    def _is_at_band(self) -> bool:
        """Whether the rows so far are whole bands of boxes: a blank line may stand there."""
        width = len(self._rows[0]) if self._rows else 0
        return width in BOXES and not self._broken and len(self._rows) % BOXES[width][0] == 0

    def _finish(self) -> Iterator[Puzzle | Unreadable]:
        """Ends the grid at hand."""
        rows, self._rows = self._rows, []
        broken, self._broken = self._broken, False
        gap, self._gap = self._gap, None
        cells = self._drawing.cells() if gap else None
        self._drawing.clear()
        self._has_dashes = self._waits = False
        if cells:
            self._titles = []
            yield self._puzzle(cells, self._where)
        elif gap:
            yield gap
        elif rows and not broken:
            yield Unreadable(self._where, f"a grid of {len(rows[0])} columns that ends after row {len(rows)}")

    def _gappy(self, text: str, joined: str, where: str) -> Iterator[Puzzle | Unreadable]:
        """A row of a grid that leaves blanks as spaces."""
        if self._broken:
            return
        if not len(self._drawing):
            self._where = where
        self._drawing.add(text)
        self._drawing.has_gaps = True
        choices = " or ".join(map(str, self._domains))
        number = len(self._drawing)
        self._gap = self._gap or Unreadable(
            where, f"{len(joined)} characters in row {number} of a grid; expected {choices}"
        )
        self._rows = []
        if number == max(self._domains) and self._drawing.cells():
            yield from self._finish()

    def _whole(self, text: str, where: str) -> Iterator[Puzzle | Unreadable]:
        yield from self._finish()
        self._titles = []
        yield self._puzzle(text, where)

    def _row(self, row: str, where: str) -> Iterator[Puzzle | Unreadable]:
        if self._broken:
            return
        self._waits = False
        if not self._rows:
            self._where = where
        width = len(self._rows[0]) if self._rows else len(row)
        self._rows.append(row)
        if len(row) != width or width not in self._domains:
            # One message for the grid: its other rows are passed over.
            self._broken = True
            choices = f"{width}" if width in self._domains else " or ".join(map(str, self._domains))
            yield Unreadable(
                where, f"{len(row)} characters in row {len(self._rows)} of a grid; expected {choices}"
            )
        elif len(self._rows) == width:
            text = "".join(self._rows)
            self._rows, self._titles, self._has_dashes = [], [], False
            self._drawing.clear()
            yield self._puzzle(text, self._where)

    def _puzzle(self, text: str, where: str) -> Puzzle | Unreadable:
        try:
            return Puzzle(self.piece(text), where=where, domain=self.domain)
        except PuzzleError as error:
            return Unreadable(where, str(error))
