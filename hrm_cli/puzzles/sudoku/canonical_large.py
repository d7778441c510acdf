"""Canonical forms of Sudoku puzzles above 9×9, whose arrangements are too many to try one by one.

Every row, column and digit gets a label that does not depend on how the puzzle is arranged: at first all labels are
equal, then each is repeatedly hashed with the labels of what it shares clues with. Almost always, all labels soon
differ, and sorting by them gives the canonical form. Otherwise, one of the rows, columns or digits with equal labels is
marked, and each choice is followed to the end. The smallest form found is the canonical one.

Letters in shapes: n puzzles, N size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.sudoku.layout import layout
from hrm_cli.puzzles.sudoku.symmetry import can_transpose

Cells = NDArray[np.uint8]
Labels = NDArray[np.uint64]

CHUNK = 256
"""Puzzles whose labels are computed at a time."""
MOST_CHOICES = 1_000
"""Maximum number of choices followed for one puzzle. If there are more, its labels alone are the key."""

_ROW, _COLUMN, _DIGIT, _BAND, _MARK = (np.uint64(k * 0x9E3779B97F4A7C15 % 2**64) for k in range(1, 6))


class Marks(NamedTuple):
    """Labels of the rows, columns and digits of each puzzle, `[n, N]` each."""

    rows: Labels
    columns: Labels
    digits: Labels


def canonical_keys(cells: Cells, size: int) -> list[bytes]:
    """A key for each puzzle `[n, N²]` (0 for blank). Symmetric puzzles have equal keys.

    Puzzles that are not symmetric have different keys, with one exception: puzzles with so many symmetries of their own
    that more than `MOST_CHOICES` choices would have to be followed may have equal keys. No puzzle with exactly one
    solution is known for which this happens.
    """
    grids = np.ascontiguousarray(cells, np.uint8).reshape(-1, size, size)
    keys = _keys(grids, size)
    if can_transpose(size):
        turned = _keys(np.ascontiguousarray(grids.transpose(0, 2, 1)), size)
        keys = [min(pair) for pair in zip(keys, turned, strict=True)]
    return keys


def _keys(grids: Cells, size: int) -> list[bytes]:
    keys = []
    for start in range(0, len(grids), CHUNK):
        some = grids[start : start + CHUNK]
        marks = _refined(some, Marks(*(np.zeros((len(some), size), np.uint64) for _ in range(3))), size)
        for i, grid in enumerate(some):
            keys.append(_key(grid, Marks(*(labels[i] for labels in marks)), size))
    return keys


def _key(grid: Cells, marks: Marks, size: int) -> bytes:
    """The smallest form of one grid `[N, N]` among all choices; `marks` hold labels of shape `[N]`."""
    best: bytes | None = None
    waiting = [marks]
    for _ in range(MOST_CHOICES):
        if not waiting:
            break
        marks = waiting.pop()
        equal = _equal_labels(grid, marks, size)
        if equal is None:
            form = _form(grid, marks, size)
            best = form if best is None else min(best, form)
            continue
        which, places = equal
        for place in places:
            chosen = [labels[None].copy() for labels in marks]
            chosen[which][0, place] = _mixed(chosen[which][0, place] ^ _MARK)
            waiting.append(Marks(*(labels[0] for labels in _refined(grid[None], Marks(*chosen), size))))
    if waiting or best is None:
        return b"labels" + b"".join(np.sort(labels).tobytes() for labels in marks_of(grid, size))
    return best


def marks_of(grid: Cells, size: int) -> Marks:
    """The labels of one grid `[N, N]` before any choice, `[N]` each."""
    start = Marks(*(np.zeros((1, size), np.uint64) for _ in range(3)))
    return Marks(*(labels[0] for labels in _refined(grid[None], start, size)))


def _equal_labels(grid: Cells, marks: Marks, size: int) -> tuple[int, NDArray[np.int64]] | None:
    """The smallest group of equal labels that must be told apart, as (0 rows, 1 columns or 2 digits; indices).

    Digits, rows and columns without a clue are left out. Those with equal labels can be swapped without any effect,
    once all others are told apart.
    """
    rows, columns = np.nonzero(grid)
    used = [np.isin(np.arange(size), places) for places in (rows, columns, grid[rows, columns] - 1)]
    found: tuple[int, int, int, NDArray[np.int64]] | None = None
    for which, labels in enumerate(marks):
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            if len(places) == 1 or not used[which][places].any():
                continue
            candidate = (len(places), which, int(label), places)
            if found is None or candidate[:3] < found[:3]:
                found = candidate
    return None if found is None else (found[1], found[3])


def _form(grid: Cells, marks: Marks, size: int) -> bytes:
    """The grid with bands, rows, stacks, columns and digits in the order of their labels."""
    shape = layout(size)
    rows = _order(marks.rows, shape.box_rows)
    columns = _order(marks.columns, shape.box_columns)
    renamed = np.zeros(size + 1, np.uint8)
    renamed[1 + np.argsort(marks.digits, kind="stable")] = np.arange(1, size + 1)
    return renamed[grid[rows][:, columns]].tobytes()


def _order(labels: Labels, thick: int) -> NDArray[np.int64]:
    """The indices in the order of their labels, with bands kept together."""
    bands = np.arange(len(labels)) // thick
    lowest = np.sort(labels.reshape(-1, thick), axis=1)[:, 0]
    return np.lexsort((labels, bands, lowest[bands]))


def _refined(grids: Cells, marks: Marks, size: int) -> Marks:
    """Hashes labels with those of what they share clues with, until no further labels of a puzzle become different.

    Each puzzle has its own number of rounds, so its labels do not depend on the other puzzles.
    """
    done = [labels.copy() for labels in marks]
    active, counts = np.arange(len(grids)), _distinct(marks)
    while len(active):
        marks = _one_round(grids[active], marks, size)
        for labels, new in zip(done, marks, strict=True):
            labels[active] = new
        before, counts = counts, _distinct(marks)
        has_changed = counts > before
        active, counts = active[has_changed], counts[has_changed]
        marks = Marks(*(labels[has_changed] for labels in marks))
    return Marks(*done)


def _distinct(marks: Marks) -> NDArray[np.int64]:
    """The number of different labels of each puzzle, rows, columns and digits together, `[n]`."""
    return np.sum([(np.diff(np.sort(labels, axis=1), axis=1) > 0).sum(1) + 1 for labels in marks], axis=0)


def _one_round(grids: Cells, marks: Marks, size: int) -> Marks:
    shape, n = layout(size), len(grids)
    rows, columns, digits = marks
    clues = grids > 0
    digit = np.where(clues, grids - 1, 0).astype(np.int64)
    names = np.take_along_axis(digits, digit.reshape(n, -1), axis=1).reshape(n, size, size)
    in_row, in_column = _mixed(rows + _ROW)[:, :, None], _mixed(columns + _COLUMN)[:, None, :]
    in_digit = _mixed(names + _DIGIT)
    nothing = np.uint64(0)
    by_row = np.where(clues, _mixed(in_column + in_digit), nothing).sum(2)
    by_column = np.where(clues, _mixed(in_row + in_digit), nothing).sum(1)
    by_digit = np.zeros(n * size, np.uint64)
    places = np.arange(n)[:, None, None] * size + digit
    np.add.at(by_digit, places[clues], _mixed(in_row + in_column)[clues])
    return Marks(
        _mixed(_mixed(rows + by_row) + _of_band(rows, by_row, shape.box_rows)),
        _mixed(_mixed(columns + by_column) + _of_band(columns, by_column, shape.box_columns)),
        _mixed(digits + by_digit.reshape(n, size)),
    )


def _of_band(labels: Labels, sums: Labels, thick: int) -> Labels:
    """The sum of each band's (or stack's) hashes, for each of its rows (or columns), `[n, N]`."""
    bands = _mixed(labels + sums + _BAND).reshape(len(labels), -1, thick).sum(2)
    return np.repeat(bands, thick, axis=1)


def _mixed(numbers: Labels) -> Labels:
    """A hash of each number (the finalizer of SplitMix64); sums and products wrap around."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
