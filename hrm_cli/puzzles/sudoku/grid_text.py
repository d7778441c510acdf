"""Assembles Sudoku grids from the rows of a text: where a grid begins and ends, and what each line means.

Rows are collected into paragraphs, which end at blank lines and between frames. A grid is one paragraph, or several
paragraphs that are complete bands of boxes. Grids with characters for blanks may also follow each other directly. They
are yielded as soon as they are complete, so a file may have any length.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from hrm_cli.puzzles.domain import Skipped, Unreadable
from hrm_cli.puzzles.sudoku.layout import BOXES
from hrm_cli.puzzles.sudoku.line_text import WRITTEN, Line, counts_from_zero, is_label

MOST_ROWS = 120
"""Largest number of lines of a paragraph that are kept until it ends."""

_AMBIGUOUS_SIZE = 16
"""Cells of a 4×4 puzzle and of a row of 16×16."""


@dataclass(frozen=True)
class Cells:
    """The cells of a puzzle as one string, blanks as dots or as written in the file."""

    cells: str
    where: str


Found = Cells | Unreadable | Skipped


class Grids:
    """Takes the lines of a file that may be rows, and yields grids."""

    def __init__(self, sizes: Collection[int]) -> None:
        self._sizes = sizes
        self._lines: list[Line] = []
        self._paragraphs: list[int] = []
        """Lines in each earlier paragraph of the current grid."""
        self._leading: list[Line] = []
        """Lines of spaces above the first row. They are rows of blanks if they are as long as the other rows."""
        self._after_rule = False
        self._is_broken = False
        self._after_fragment = False
        """Whether incomplete bands were just discarded; the next bands may belong to the same grid."""
        self._after_blank = False

    def rule(self) -> Iterator[Found]:
        """Processes a horizontal rule. Two rules without a row between them end one frame and begin another."""
        if self._after_rule:
            yield from self.blank("")
        self._after_rule = True

    def row(self, line: Line) -> Iterator[Found]:
        """Processes a line that may be a row."""
        self._after_rule = self._after_blank = False
        if self._is_broken:
            return
        own = self._own()
        if own and not line.maybe and len(line.cells) != len(own[-1].cells):
            # A row of another length begins another grid, unless blanks are spaces: then row lengths differ anyway.
            is_written = not all(row.has_gaps for row in own)
            if is_written and self._grids_of(own):
                yield from self._end_paragraph()
        if not self._lines and line.has_gaps and "|" not in line.text:
            self._lines += self._leading
        self._leading = []
        self._lines.append(line)
        own = self._own()
        if self._is_whole(own) or (len(own) >= MOST_ROWS and self._grids_of(own)):
            yield from self._end_paragraph()
        elif len(own) >= 2 * MOST_ROWS:
            yield from self._give_up()
            self._is_broken = True

    def blank(self, text: str) -> Iterator[Found]:
        """Processes a blank line: the end of a paragraph, or a row of blanks if it is as long as the other rows."""
        own = self._own()
        is_drawn = own and not self._is_broken and all(line.has_gaps for line in own)
        if is_drawn and len(text) == max(len(line.text) for line in own):
            self._lines.append(Line("row", text, own[-1].where, maybe="\n"))
            return
        self._is_broken = self._after_rule = False
        yield from self._end_paragraph()
        if self._after_blank:
            self._after_fragment = False
        self._after_blank = True
        if text and len(self._leading) < max(self._sizes):
            self._leading.append(Line("row", text, maybe="\n"))
        elif not text:
            self._leading = []

    def end(self) -> Iterator[Found]:
        """Yields what is pending, at the end of the file or at a line that is not part of a grid."""
        yield from self._end_paragraph()
        yield from self._give_up()
        self._is_broken = self._after_rule = self._after_fragment = False
        self._leading = []

    def _own(self) -> list[Line]:
        return self._lines[sum(self._paragraphs) :]

    def _is_whole(self, own: Sequence[Line]) -> bool:
        """Whether the paragraph is certainly a complete grid, because all its rows have characters for blanks."""
        rows = [line for line in own if not line.maybe]
        size = len(rows[0].cells) if rows else 0
        if len(own) < size or size not in self._sizes or rows[0].separated or rows[0].cells in _heading(size):
            return False
        used = {c for line in rows for c in line.cells if c in WRITTEN}
        if not used or any(line.maybe in used for line in own):
            return False
        return len(rows) == size and all(len(line.cells) == size for line in rows)

    def _end_paragraph(self) -> Iterator[Found]:
        own = self._own()
        if not own:
            return
        self._leading = []
        before = self._lines[: len(self._lines) - len(own)]
        found = self._grids_of(own)
        if found:
            yield from self._unreadable(before)
        elif before:
            found = self._in_bands(len(before))
        if found:
            yield from found
            self._forget()
            self._after_fragment = False
        elif not before and len(own) == 1 and is_label(own[0]):
            yield Skipped(own[0].where)
            self._forget()
        else:
            self._paragraphs.append(len(own))
            if self._after_fragment or not self._may_grow(self._lines, self._paragraphs):
                # Never combine the rest of a broken grid with bands of the next grid.
                self._after_fragment |= bool(before)
                yield from self._unreadable(before)
                yield from self._unreadable(own)
                self._forget()

    def _in_bands(self, before: int) -> list[Found]:
        """The grid that the last paragraph completes, if it completes exactly one."""
        lines = self._lines
        if not self._may_be_bands([*self._paragraphs, len(lines) - before], len(lines)):
            return []
        rows = [line for line in lines if not line.maybe]
        # Unless a box has bars on both sides, rows of spaces and blank lines, or two sizes, cannot be distinguished.
        is_clear = all(line.text.count("|") > 1 for line in lines)
        found = self._grids_of(lines) if is_clear else self._written(lines, rows)
        is_one = len(found) == 1 and isinstance(found[0], Cells) and len(found[0].cells) == len(lines) ** 2
        return found if is_one else []

    def _may_grow(self, lines: Sequence[Line], paragraphs: Sequence[int]) -> bool:
        """Whether these paragraphs can be the first bands of a grid, or its first rows separated by blank lines."""
        rows = [line for line in lines if not line.maybe]
        lengths = {len(line.cells) for line in rows}
        gaps = all(line.has_gaps for line in rows)
        if not gaps and len(lengths) != 1:
            return False
        sizes = [n for n in self._sizes if (gaps or n in lengths) and len(rows) < n]
        return any(self._may_be_bands(paragraphs, n) for n in sizes)

    def _may_be_bands(self, paragraphs: Sequence[int], size: int) -> bool:
        """Whether paragraphs with these numbers of lines are complete bands, or single rows."""
        if all(count == 1 for count in paragraphs):
            return True
        return size in self._sizes and all(count % BOXES[size][0] == 0 for count in paragraphs)

    def _give_up(self) -> Iterator[Found]:
        yield from self._unreadable(self._lines)
        self._forget()

    def _forget(self) -> None:
        self._lines, self._paragraphs = [], []

    def _unreadable(self, lines: Sequence[Line]) -> Iterator[Found]:
        rows = [line for line in lines if not line.maybe]
        small = [line for line in rows if self._ambiguous([line])]
        sixteen = [line for line in rows if len(line.cells) == _AMBIGUOUS_SIZE]
        is_large = len(small) < len(rows) and self._is_large([line.cells for line in small])
        if small and len(small) == len(sixteen) and not is_large:
            # 4×4 puzzles, one per line, with other lines between them.
            for is_puzzle, group in groupby(rows, key=lambda line: self._ambiguous([line])):
                run = list(group)
                if is_puzzle:
                    yield from (Cells(line.cells, line.where) for line in run)
                else:
                    yield Unreadable(run[0].where, self._reason(run, run))
        elif rows:
            yield Unreadable(rows[0].where, self._reason(lines, rows))
        elif sum(line.maybe == " " for line in lines) in self._sizes:
            yield Unreadable(lines[0].where, "a grid without any digit")

    def _ambiguous(self, rows: Sequence[Line]) -> bool:
        """Whether rows that do not form a grid are 4×4 puzzles, one per line."""
        return 4 in self._sizes and all(
            len(line.cells) == _AMBIGUOUS_SIZE
            and set("1234" + WRITTEN).issuperset(line.cells)
            and not set("1234").isdisjoint(line.cells)
            for line in rows
        )

    def _reason(self, lines: Sequence[Line], rows: Sequence[Line]) -> str:
        size = len(rows[0].cells)
        choices = " or ".join(map(str, _near(self._sizes, size)))
        if all(line.has_gaps for line in rows) and len(rows) > 1:
            from hrm_cli.puzzles.sudoku.drawn_text import HELP, cells_of_drawing  # few files need it

            for drawn in _drawings(lines):
                if len(drawn) in self._sizes:
                    reason = cells_of_drawing([line.text for line in drawn])
                    if isinstance(reason, str):
                        return f"a grid of {len(drawn)} rows with spaces for blanks: {reason}; {HELP}"
        if len(rows) == 1 and size > 9 and size != _AMBIGUOUS_SIZE:
            wholes = " or ".join(f"{n * n} ({n}×{n} Sudoku)" for n in near_lengths(self._sizes, size))
            return f"{size} characters; expected {wholes}, or a grid of as many rows"
        if size not in self._sizes:
            return f"{size} characters in row 1 of a grid; expected {choices}"
        for number, line in enumerate(rows, start=1):
            if len(line.cells) != size:
                return f"{len(line.cells)} characters in row {number} of a grid; expected {size}"
        if len(rows) < size:
            return f"a grid of {size} columns that ends after row {len(rows)}"
        return f"a grid of {size} columns and {len(rows)} rows"

    def _grids_of(self, lines: Sequence[Line]) -> list[Found]:
        """The grids formed by all of these lines; empty if they form no grid or are ambiguous."""
        rows = [line for line in lines if not line.maybe]
        if not rows:
            return []
        for heading in (0, 1):
            found = self._written(lines, rows[heading:]) if len(rows) > heading else []
            if heading and found:
                if is_label(rows[0]) or rows[0].cells in _heading(len(rows[1].cells)):
                    found = [Skipped(rows[0].where), *found]
                elif len(rows[0].cells) != len(rows[1].cells):
                    found = [*self._unreadable(rows[:1]), *found]
                else:
                    found = []
            if found:
                return found
        return self._drawn(lines) if all(line.has_gaps for line in rows) else []

    def _written(self, lines: Sequence[Line], rows: Sequence[Line]) -> list[Found]:
        """Grids whose rows have a character for every cell."""
        for cells_of in (_numbers, _separated, _cells):
            cells = cells_of(rows) if rows else [""]
            size = len(cells[0])
            if len(cells) != len(rows) or size not in self._sizes or any(len(row) != size for row in cells):
                continue
            if size == _AMBIGUOUS_SIZE and 4 in self._sizes and not self._is_large(cells):
                return [Cells(row, line.where) for row, line in zip(cells, rows, strict=True)]
            if found := self._stacked(lines, rows, dict(zip(map(id, rows), cells, strict=True)), size):
                return found
        return []

    def _is_large(self, cells: Sequence[str]) -> bool:
        """Whether lines of 16 cells are rows and not 4×4 puzzles.

        A row repeats no digit, and a puzzle has four clues.
        """
        if _AMBIGUOUS_SIZE not in self._sizes:
            return False
        if len(cells) >= _AMBIGUOUS_SIZE and set("1234" + WRITTEN).issuperset("".join(cells)):
            return False
        small = 0
        for row in cells:
            digits = [c for c in row if c not in WRITTEN]
            is_repeated = len(set(digits)) < len(digits)
            small += set("1234").issuperset(digits) and (is_repeated or len(digits) >= 4)
        return 2 * small < len(cells)

    def _stacked(
        self, lines: Sequence[Line], rows: Sequence[Line], cells: dict[int, str], size: int
    ) -> list[Found]:
        """Grids directly below each other. Lines of dashes are either all rows of blanks or all rules."""
        used = {c for row in cells.values() for c in row if c in WRITTEN}
        if not used and len(rows) != size and not all(_is_one_word(line) for line in rows):
            return []
        if counts_from_zero("".join(cells.values()), size) is None:
            return []
        also = {id(line) for line in lines if line.maybe in used and len(line.cells) == size}
        choices = [rows]
        if also:
            # A row of blanks has its bars and spaces at the same positions as the other rows; a rule usually does not.
            outlines = {line.outline for line in rows}
            alike = {id(line) for line in lines if id(line) in also and line.outline in outlines}
            has_outline = len(outlines) == 1 and not all(c == "x" for c in rows[0].outline)
            chosen_ids = alike if has_outline else also
            with_blanks = [line for line in lines if id(line) in chosen_ids or id(line) in cells]
            choices = [with_blanks] if has_outline else [rows, with_blanks]
        fitting = [choice for choice in choices if len(choice) % size == 0]
        if len(fitting) != 1:
            return []
        (chosen,) = fitting
        whole = [cells.get(id(line), line.cells) for line in chosen]
        return [Cells("".join(whole[i : i + size]), chosen[i].where) for i in range(0, len(whole), size)]

    def _drawn(self, lines: Sequence[Line]) -> list[Found]:
        """Parses a grid with spaces for blanks."""
        from hrm_cli.puzzles.sudoku.drawn_text import cells_of_drawing

        readings: set[tuple[str, str]] = set()
        for drawn in _drawings(lines):
            if len(drawn) in self._sizes:
                cells = cells_of_drawing([line.text for line in drawn])
                if not isinstance(cells, str):
                    readings.add(("".join(cells), drawn[0].where))
        if len({cells for cells, _ in readings}) != 1:
            return []
        cells, where = min(readings)
        return [Cells(cells, where)]


def _drawings(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Two candidate lists of rows: without lines of only bars or spaces, which may be spacers, and with them."""
    rows = [line for line in lines if not line.maybe]
    longest = max(len(line.text) for line in rows)
    with_spaces = [
        line for line in lines if not line.maybe or (line.maybe == "\n" and len(line.text) == longest)
    ]
    if len(with_spaces) > len(rows):
        yield with_spaces
        return
    yield rows
    with_bars = [line for line in lines if line.maybe in ("", " ")]
    if len(with_bars) > len(rows):
        yield with_bars


def _numbers(rows: Sequence[Line]) -> list[str]:
    """Parses rows of numbers, some with two digits."""
    return [
        line.numbers or (line.cells if len(line.text.split()) == len("".join(line.text.split())) else "")
        for line in rows
    ]


def _separated(rows: Sequence[Line]) -> list[str]:
    """Parses rows of separated cells. A first or last field that is empty in every row may lie outside the grid."""
    pieces = [line.separated for line in rows]
    width = len(pieces[0])
    if len(rows) % max(width, 1) and all(len(row) == width for row in pieces):
        first, last = (not any(row[end] for row in pieces) for end in (0, -1))
        if first != last:
            pieces = [row[1:] if first else row[:-1] for row in pieces]
        elif first:
            return [""]
    return ["".join(cell or "." for cell in row) for row in pieces]


def _cells(rows: Sequence[Line]) -> list[str]:
    """The cells of rows as written in the file."""
    return ["" if line.separated else line.cells for line in rows]


def _is_one_word(line: Line) -> bool:
    return len(line.text.split()) == 1 or bool(line.separated)


def _heading(size: int) -> tuple[str, ...]:
    """The forms of a heading row with column numbers."""
    return ("123456789",) if size == 9 else ()


def near_lengths(sizes: Collection[int], length: int) -> list[int]:
    """The sizes whose puzzle lengths are closest to an invalid length."""
    return [round(square**0.5) for square in _near([n * n for n in sizes], length)]


def _near(sizes: Collection[int], size: int) -> list[int]:
    """The valid sizes closest to an invalid size."""
    ordered = sorted(sizes)
    below = [n for n in ordered if n < size][-1:]
    return below + [n for n in ordered if n > size][:1] if len(ordered) > 3 else ordered
