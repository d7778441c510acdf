"""Parses grids drawn with spaces for blanks, as in newspapers: the position of a character determines its cell.

A single row with blanks does not determine its columns, so the grid is parsed as a whole: from the positions of its
bars, from the distances between its digits, and from the number of rows, which equals the number of columns. The
parser considers every layout that fits all rows. If two layouts give different puzzles, or leading spaces have been
lost, it reports an error instead of guessing.

Letters: N size. A layout consists of a stride (text columns from cell to cell), the spaces before the first and after
the last cell of a box, and, without bars, the additional gap between boxes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

from hrm_cli.puzzles.sudoku.layout import BOXES

BARS = re.compile(r"[|:!]+")
"""Adjacent bars count as one, for double lines between boxes."""

_LABEL = re.compile(r"\d{1,3}\s*")
"""A first line that may be a number above the grid."""
_ONE_LESS = frozenset({8, 15})
"""Apparent sizes that may belong to a larger grid whose last row and column are empty."""
_STRIDES = range(1, 5)
_PADS = range(4)
_GAPS = range(7)

NOT_ALIGNED = "its bars are not aligned"
NO_LAYOUT = "the positions of its digits fit no grid"
AMBIGUOUS = "its spaces can be read as more than one puzzle"
TRIMMED = "the spaces at the beginning of its lines seem to be lost"

HELP = "write blanks as dots"


def cells_of_drawing(rows: Sequence[str]) -> list[str] | str:
    """The cells of N drawn rows, `.` for blanks; or, as a string, the reason why they cannot be determined."""
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
    """Whether every row begins at the same column. No puzzle has a digit in every row of its first column."""
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
    per_row = size // BOXES[size][1]
    for left, right in product((0, 1), repeat=2):
        count = len(pieces[0]) - left - right
        inner = [of_row[left : left + count] for of_row in pieces]
        outside = [piece for of_row in pieces for piece in of_row[:left] + of_row[left + count :]]
        if any(piece.strip() for piece in outside):
            continue
        if count == size and (len(starts) > 1 or size > per_row + 2):
            yield from _cells_in_order(inner)
        elif len(starts) == 1 and count in (size, per_row):
            # In 4×4, three bars are two boxes with a frame or four cells without one. The widths decide.
            yield from _between_bars(inner, size // count, bool(left), bool(right))


def _cells_in_order(pieces: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with bars around every cell: the cell's index is its column."""
    cells = [piece.strip() or "." for of_row in pieces for piece in of_row]
    if all(len(cell) == 1 for cell in cells):
        yield "".join(cells)


def _between_bars(
    pieces: Sequence[Sequence[str]], width: int, has_left: bool, has_right: bool
) -> Iterator[str]:
    """Boxes (or cells) between vertically aligned bars.

    Cells are counted from the bars. If the first box has no bar on its left, they are counted from the right.
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
    """Rows of digits and spaces only: tries every stride, gap between boxes and indent that fits all digits."""
    width = BOXES[size][1]
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
    """The characters at the given columns, `.` for spaces; None if there is a character anywhere else."""
    if any(not character.isspace() and place not in places for place, character in enumerate(text)):
        return None
    return "".join(
        text[place] if 0 <= place < len(text) and not text[place].isspace() else "." for place in places
    )
