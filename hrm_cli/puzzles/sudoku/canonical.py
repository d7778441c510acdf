"""Canonical forms: two Sudoku puzzles are equivalent under symmetry exactly if their canonical forms are equal.

The canonical form is the lexicographically smallest equivalent puzzle. Puzzles are compared first by their clue
pattern (row by row, 1 for a clue, 0 for a blank), then by their digits, renumbered in order of first occurrence. For
a given arrangement of the columns, sorting the rows within bands and then the bands gives the smallest clue pattern.
So only the arrangements of columns are enumerated; digits decide among those with the smallest pattern.

Letters in shapes: n puzzles, N size, S = N² cells, A arrangements of columns.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.sudoku.layout import layout
from hrm_cli.puzzles.sudoku.symmetry import arrangements, can_transpose


class Columns(NamedTuple):
    """The arrangements of columns, and their effect on the clue pattern of a row."""

    orders: NDArray[np.uint8]
    """Old column for each new column, `[A, N]`."""
    patterns: NDArray[np.int16]
    """New row pattern for each old pattern; the first column is the highest bit, `[A, 2^N]`."""


class Scratch(NamedTuple):
    """Working arrays for the search of one canonical form."""

    rows: NDArray[np.int16]
    """Clue patterns of the rows under one arrangement, `[N]`."""
    sorted_rows: NDArray[np.int16]
    """The same patterns in the smallest order, `[N]`."""
    best_rows: NDArray[np.int16]
    """The smallest patterns found so far, `[N]`."""
    survivors: NDArray[np.int32]
    """Arrangements that give the smallest patterns, as (transposed or not, index of the order), `[2 A, 2]`."""
    form: NDArray[np.uint8]
    """The form being built, `[S]`."""
    labels: NDArray[np.uint8]
    """New digit for each old digit, by row of the form; entry 0 counts the digits seen, `[N + 1, N + 1]`."""
    chosen: NDArray[np.int16]
    """Old row for each row of the form, `[N]`."""
    less: NDArray[np.bool_]
    """Whether the rows of the form before each row are already smaller than the best form, `[N + 1]`."""


def canonical_cells(cells: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The canonical form of each puzzle `[n, S]` (0 for blank, else the digit) under the whole symmetry group.

    For sizes up to 9×9; above, arrangements are too many to try (`canonical_large`).
    """
    forms = np.empty((len(cells), size * size), np.uint8)
    columns = _columns(size)
    scratch = Scratch(
        np.empty(size, np.int16),
        np.empty(size, np.int16),
        np.empty(size, np.int16),
        np.empty((2 * len(columns.orders), 2), np.int32),
        np.empty(size * size, np.uint8),
        np.empty((size + 1, size + 1), np.uint8),
        np.empty(size, np.int16),
        np.empty(size + 1, np.bool_),
    )
    orientations = 2 if can_transpose(size) else 1
    grids = np.ascontiguousarray(cells, np.uint8).reshape(-1, 1, size, size)
    both = np.concatenate([grids, grids.transpose(0, 1, 3, 2)], axis=1)[:, :orientations]
    find_all(np.ascontiguousarray(both), layout(size).box_rows, columns, scratch, forms)
    return forms


@lru_cache(maxsize=4)
def _columns(size: int) -> Columns:
    orders = arrangements(size, by_columns=True)
    bits = np.arange(2**size)[:, None] >> np.arange(size)[::-1] & 1
    weights = 1 << np.arange(size)[::-1]
    patterns = np.stack([bits[:, order] @ weights for order in orders])
    return Columns(orders, patterns.astype(np.int16))


@compiled
def sort_rows(rows: NDArray[np.int16], thick: int, out: NDArray[np.int16]) -> None:
    """Sorts row patterns into the smallest order that keeps bands of `thick` rows together."""
    size = rows.shape[0]
    out[:] = rows
    for start in range(0, size, thick):
        for i in range(start + 1, start + thick):
            for j in range(i, start, -1):
                if out[j] < out[j - 1]:
                    out[j], out[j - 1] = out[j - 1], out[j]
    for band in range(thick, size, thick):
        for start in range(band, 0, -thick):
            if compare(out[start : start + thick], out[start - thick : start]) >= 0:
                break
            for k in range(start, start + thick):
                out[k], out[k - thick] = out[k - thick], out[k]


@compiled
def compare(left: NDArray[np.int16], right: NDArray[np.int16]) -> int:
    """Compares two arrays lexicographically. Returns -1, 0 or 1."""
    for k in range(left.shape[0]):
        if left[k] != right[k]:
            return -1 if left[k] < right[k] else 1
    return 0


@compiled
def find_survivors(both: NDArray[np.uint8], thick: int, columns: Columns, scratch: Scratch) -> int:
    """Writes the arrangements with the smallest clue pattern to `scratch`. Returns their number."""
    size = both.shape[1]
    survivors = 0
    old = np.zeros(size, np.int16)
    for orientation in range(both.shape[0]):
        for row in range(size):
            old[row] = 0
            for column in range(size):
                old[row] = old[row] * 2 + (both[orientation, row, column] != 0)
        for a in range(columns.orders.shape[0]):
            for row in range(size):
                scratch.rows[row] = columns.patterns[a, old[row]]
            sort_rows(scratch.rows, thick, scratch.sorted_rows)
            order = -1 if survivors == 0 else compare(scratch.sorted_rows, scratch.best_rows)
            if order < 0:
                survivors = 0
                scratch.best_rows[:] = scratch.sorted_rows
            if order <= 0:
                scratch.survivors[survivors, 0] = orientation
                scratch.survivors[survivors, 1] = a
                survivors += 1
    return survivors


@compiled
def write_row(
    at: int, cells: NDArray[np.uint8], order: NDArray[np.uint8], best: NDArray[np.uint8], scratch: Scratch
) -> bool:
    """Renumbers `cells` as row `at` of the form. Returns False if the form becomes greater than the best."""
    size = order.shape[0]
    labels = scratch.labels[at + 1]
    labels[:] = scratch.labels[at]
    less = scratch.less[at]
    for k in range(size):
        digit = cells[order[k]]
        label = np.uint8(0)
        if digit:
            if labels[digit] == 0:
                labels[0] += 1
                labels[digit] = labels[0]
            label = labels[digit]
        place = at * size + k
        if not less and label != best[place]:
            if label > best[place]:
                return False
            less = True
        scratch.form[place] = label
    scratch.less[at + 1] = less
    return True


@compiled
def fits(at: int, row: int, thick: int, scratch: Scratch) -> bool:
    """Whether old row `row` may become row `at` of the form, given the rows chosen so far."""
    if scratch.rows[row] != scratch.best_rows[at]:
        return False
    start = at - at % thick
    for k in range(at):
        if scratch.chosen[k] == row or (k < start and scratch.chosen[k] // thick == row // thick):
            return False
    if at > start and scratch.chosen[start] // thick != row // thick:
        return False
    # Rows without clues are equal, so only the first unused one of a band is tried.
    if scratch.rows[row] == 0:
        for twin in range(row - row % thick, row):
            if scratch.rows[twin] == 0:
                taken = False
                for k in range(start, at):
                    taken = taken or scratch.chosen[k] == twin
                if not taken:
                    return False
    return True


@compiled
def least_digits(
    grid: NDArray[np.uint8], thick: int, order: NDArray[np.uint8], best: NDArray[np.uint8], scratch: Scratch
) -> None:
    """Tries every order of rows with the smallest patterns. Updates `best` if one has smaller digits."""
    size = grid.shape[0]
    at = 0
    scratch.chosen[0] = -1
    scratch.labels[0] = 0
    scratch.less[0] = False
    while at >= 0:
        row = scratch.chosen[at] + 1
        while row < size and not (
            fits(at, row, thick, scratch) and write_row(at, grid[row], order, best, scratch)
        ):
            row += 1
        if row == size:
            at -= 1
            continue
        scratch.chosen[at] = row
        if at < size - 1:
            at += 1
            scratch.chosen[at] = -1
        elif scratch.less[size]:
            best[:] = scratch.form
            # The form was copied to `best`, so all its prefixes are equal to those of the best form.
            scratch.less[:] = False


@compiled
def find_all(
    both: NDArray[np.uint8], thick: int, columns: Columns, scratch: Scratch, forms: NDArray[np.uint8]
) -> None:
    """Writes the canonical form of every puzzle `[n, orientations, N, N]` to `forms`."""
    for i in range(both.shape[0]):
        survivors = find_survivors(both[i], thick, columns, scratch)
        forms[i, :] = 255
        size = both.shape[2]
        for k in range(survivors):
            grid = both[i, scratch.survivors[k, 0]]
            a = scratch.survivors[k, 1]
            for row in range(size):
                pattern = 0
                for column in range(size):
                    pattern = pattern * 2 + (grid[row, column] != 0)
                scratch.rows[row] = columns.patterns[a, pattern]
            least_digits(grid, thick, columns.orders[a], forms[i], scratch)
