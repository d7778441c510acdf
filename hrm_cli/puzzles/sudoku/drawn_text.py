"""Grids drawn with spaces for blanks, as newspapers print them: the position of a character shows its cell.

One row with blanks does not show its columns, so a grid is understood as a whole: from where its bars stand, from the
distances between its digits, and from its number of rows, which is its number of columns. Every layout that explains
all rows is considered. Where two of them give different puzzles, or leading spaces have been lost, nothing is guessed.

Letters: N size; a layout is a stride (columns from cell to cell), the spaces before the first and after the last cell
of a box, and without bars the additional gap between boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

from hrm_cli.puzzles.sudoku.layout import ALL_BOXES

BARS = re.compile(r"[|:!]+")
"""Neighboring bars are one: double lines between boxes."""

_LABEL = re.compile(r"\d{1,3}\s*")
"""A first line that may be a number above the grid."""
_ONE_LESS = frozenset({8, 15})
"""Sizes that a larger grid seems to have when its last row and column are empty."""
_STRIDES = range(1, 5)
_PADS = range(4)
_GAPS = range(7)

NOT_ALIGNED = "its bars are not aligned"
NO_LAYOUT = "the positions of its digits fit no grid"
AMBIGUOUS = "its spaces can be read as more than one puzzle"
TRIMMED = "the spaces at the beginning of its lines seem to be lost"

HELP = "write blanks as dots"


def cells_of_drawing(rows: Sequence[str]) -> list[str] | str:
    """The cells of N drawn rows, `.` for blanks; or why they are not known, as text."""
    size = len(rows)
    rows = [row.expandtabs() for row in rows]
    readings = set(_readings(rows, size))
    if len(readings) > 1:
        return AMBIGUOUS
    if not readings:
        bars = {tuple(match.span() for match in BARS.finditer(row)) for row in rows}
        return NOT_ALIGNED if len(bars) > 1 else NO_LAYOUT
    if not any(BARS.search(row) for row in rows):
        if _seems_trimmed(rows):
            return TRIMMED
        if _LABEL.fullmatch(rows[0]):
            return AMBIGUOUS
    (cells,) = readings
    return [cells[i : i + size] for i in range(0, size * size, size)]


def _seems_trimmed(rows: Sequence[str]) -> bool:
    """Whether every row begins at the same place: no puzzle has a digit in each row of its first column."""
    return len({len(row) - len(row.lstrip()) for row in rows if row.strip()}) == 1


def _readings(rows: Sequence[str], size: int) -> Iterator[str]:
    if not any(BARS.search(row) for row in rows):
        if size not in _ONE_LESS:
            yield from _without_bars(rows, size)
        return
    pieces = [BARS.split(row) for row in rows]
    if len({len(of_row) for of_row in pieces}) > 1:
        return
    starts = {tuple(match.span() for match in BARS.finditer(row)) for row in rows}
    per_row = size // ALL_BOXES[size][1]
    for left, right in product((0, 1), repeat=2):
        count = len(pieces[0]) - left - right
        inner = [of_row[left : left + count] for of_row in pieces]
        outside = [piece for of_row in pieces for piece in of_row[:left] + of_row[left + count :]]
        if any(piece.strip() for piece in outside):
            continue
        if count == size and (len(starts) > 1 or size > per_row + 2):
            yield from _cells_in_order(inner)
        elif len(starts) == 1 and count in (size, per_row):
            # Three bars in 4×4 are those of two boxes with a frame, or of four cells without: the widths tell.
            yield from _between_bars(inner, size // count, bool(left), bool(right))


def _cells_in_order(pieces: Sequence[Sequence[str]]) -> Iterator[str]:
    """Every cell between bars of its own: its place in the order says which it is."""
    cells = [piece.strip() or "." for of_row in pieces for piece in of_row]
    if all(len(cell) == 1 for cell in cells):
        yield "".join(cells)


def _between_bars(
    pieces: Sequence[Sequence[str]], width: int, has_left: bool, has_right: bool
) -> Iterator[str]:
    """Boxes (or cells) between bars that stand below each other.

    Cells are counted from the bars: in the first box from the right where nothing bounds it on the left.
    """
    count = len(pieces[0])
    for stride, before, after in product(_STRIDES if width > 1 else (1,), _PADS, _PADS):
        if abs(before - after) > 1 or (stride > 2 and before + after not in (0, stride - 1)):
            continue
        span = stride * (width - 1) + 1
        rows: list[str] = []
        for of_row in pieces:
            cells = ""
            for number, piece in enumerate(of_row):
                is_open_left = number == 0 and not has_left
                is_open_right = number == count - 1 and not has_right
                first = len(piece) - after - span if is_open_left else before
                fits = first >= 0 if is_open_left else is_open_right or len(piece) == before + span + after
                found = _cells_at(piece, [first + stride * i for i in range(width)]) if fits else None
                if found is None:
                    break
                cells += found
            else:
                rows.append(cells)
                continue
            break
        if len(rows) == len(pieces):
            yield "".join(rows)


def _without_bars(rows: Sequence[str], size: int) -> Iterator[str]:
    """Digits and spaces alone: every stride, gap between boxes and indent that explains all digits."""
    width = ALL_BOXES[size][1]
    stops = [place for row in rows for place, character in enumerate(row) if not character.isspace()]
    if not stops:
        return
    for stride, gap in product(_STRIDES, _GAPS):
        columns = [stride * column + gap * (column // width) for column in range(size)]
        for start in range(max(stops) - columns[-1], min(stops) + 1):
            places = [start + column for column in columns]
            found = [_cells_at(row, places) for row in rows]
            if all(cells is not None for cells in found):
                yield "".join(cells for cells in found if cells is not None)


def _cells_at(text: str, places: Sequence[int]) -> str | None:
    """The characters at some places, `.` for spaces; None where something stands elsewhere."""
    if any(not character.isspace() and place not in places for place, character in enumerate(text)):
        return None
    return "".join(
        text[place] if 0 <= place < len(text) and not text[place].isspace() else "." for place in places
    )
