"""Grids drawn with spaces for blanks, as newspapers print them: where a character stands says which cell it is.

A grid is understood as a whole, since one row with blanks does not show its columns: cells of their own between bars
(`| 5 |   | 7 |`), boxes between bars (`| 5 3   |   7   |`), or no bars at all. Of the ways to lay out the cells of a
box the first that explains every row is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from hrm_cli.puzzles.sudoku_layout import BOXES

BAR = re.compile(r"[|│┃║!]")
DRAWN = re.compile(r"[1-9\s|│┃║!]*")
"""A row of digits, spaces and bars; a grid that writes its blanks does not leave them out as well."""

_LAYOUTS = ((2, 1), (2, 0), (1, 1), (1, 0))
"""Columns from cell to cell, and columns before the first cell of a box."""


def has_gaps(line: str) -> bool:
    """Whether a row leaves blanks as spaces: only the whole grid tells which cells its digits stand in."""
    if not re.fullmatch(r"[1-9\s|│┃║!]*", line):
        return False
    pieces = [piece for piece in BAR.split(line.strip()) if piece]
    words = [word for piece in pieces for word in piece.split()]
    if not words or (len(words) == 1 and len(pieces) == 1 and line.rstrip() == words[0]):
        return False
    counts = {len("".join(piece.split())) for piece in pieces}
    whole = len("".join(words)) in BOXES
    alike = whole and len({len(word) for word in words}) == 1 and len(counts) == 1
    return not alike or any(re.search(r"\S\s{3,}\S", piece) for piece in pieces)


def is_empty_row(line: str) -> bool:
    """Whether a line may be a row of blanks, or a spacer: bars and spaces only."""
    return bool(re.fullmatch(r"[\s|│┃║!]+", line)) and len(line.strip()) > 1


class Drawing:
    """The row-like lines of one grid, kept as they stand until the grid is whole."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets the grid."""
        self._lines: list[str] = []
        self.has_gaps = False

    def add(self, line: str) -> None:
        """Takes a row, or a line that may be one."""
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._lines)

    def cells(self) -> str | None:
        """The cells of the whole grid, or None while it has none of the known sizes or makes no sense."""
        told = [line for line in self._lines if not is_empty_row(line)]
        return cells_of_drawing(self._lines) or cells_of_drawing(told)


def cells_of_drawing(rows: Sequence[str]) -> str | None:
    """The cells of N drawn rows, row behind row with `.` for blanks, or None where no layout explains them."""
    size = len(rows)
    if size not in BOXES or not all(DRAWN.fullmatch(row) for row in rows):
        return None
    has_edge = all(BAR.match(row.lstrip()) for row in rows)
    if has_edge:
        rows = [row.lstrip()[1:] for row in rows]
    else:
        indent = min((len(row) - len(row.lstrip()) for row in rows if row.strip()), default=0)
        rows = [row[indent:] for row in rows] if any(BAR.search(row) for row in rows) else list(rows)
    pieces = [BAR.split(row) for row in rows]
    # Behind a bar at the end of a line there is no further box.
    count = max(len(of_row) for of_row in pieces)
    if (
        count > 1
        and all(len(of_row) < count or not of_row[-1].strip() for of_row in pieces)
        and count - 1 in _counts(size)
    ):
        pieces = [of_row[: count - 1] for of_row in pieces]
        count -= 1
    if count not in _counts(size):
        return None
    pieces = [[*of_row, *[""] * (count - len(of_row))] for of_row in pieces]
    if count == size:
        return _single_cells(pieces)
    width = size // count
    for stride, before in _LAYOUTS:
        first = before if has_edge else 0
        cells = [_cells(of_row, width, stride, [first, *[before] * (count - 1)]) for of_row in pieces]
        if all(row is not None for row in cells):
            return "".join(row for row in cells if row is not None)
    return None


def _counts(size: int) -> tuple[int, ...]:
    """Into how many pieces the bars may cut a row: cells, boxes, or none."""
    return size, size // BOXES[size][1], 1


def _single_cells(pieces: Sequence[Sequence[str]]) -> str | None:
    cells = [piece.strip() or "." for row in pieces for piece in row]
    return "".join(cells) if all(len(cell) == 1 for cell in cells) else None


def _cells(pieces: Sequence[str], width: int, stride: int, before: Sequence[int]) -> str | None:
    found: list[str] = []
    for piece, start in zip(pieces, before, strict=True):
        places = [start + stride * cell for cell in range(width)]
        if any(not character.isspace() and place not in places for place, character in enumerate(piece)):
            return None
        found += [
            piece[place] if place < len(piece) and not piece[place].isspace() else "." for place in places
        ]
    return "".join(found)


def separated_cells(line: str) -> str | None:
    """The cells of a row whose cells are separated by commas, semicolons or tabs, empty ones blank; None for others."""
    bare = line.strip(" []()\r\n")
    for separator in ",;\t":
        if separator not in bare:
            continue
        cells = [cell.strip(" '\"[]()") for cell in bare.split(separator)]
        if cells[-1] == "" and len(cells) - 1 in BOXES:
            cells.pop()
        if len(cells) in BOXES and all(len(cell) <= 1 for cell in cells) and any(cells):
            return "".join(cell or "." for cell in cells)
    return None


def dashed_cells(line: str, known: bool) -> str | None:
    """The cells of a row that writes blanks as dashes, with `.` in their place; None for rules and for other rows.

    A row of nothing but dashes is one where spaces or bars keep them apart, or in a grid that is `known` to have some.
    """
    if "-" not in line or not re.fullmatch(r"[1-9.0_*\-\s|│┃║!]*", line):
        return None
    words = [word for word in re.split(r"[\s|│┃║!]+", line) if word]
    joined = "".join(words)
    are_apart = len(words) == len(joined) and len(words) in BOXES
    if len(joined) in BOXES and (are_apart or any(c.isdigit() for c in joined) or known):
        return joined.replace("-", ".")
    return None


def puzzle_in(line: str, lengths: Collection[int]) -> str | None:
    """The puzzle of a line that numbers it (`12. 53..7…`) or sets it in quotes; None where there is none."""
    match = re.match(
        r"""\s*(?:(?:no\.?|nr\.?|\#)?\s*\d{1,4}\s*[.):]\s+)?["'`]?([1-9.0_*\-]+)["'`]?(?=[\s,;]|$)""",
        line,
        re.I,
    )
    return match[1].replace("-", ".") if match and len(match[1]) in lengths else None
