"""Compiled loops over ARC fields: copies under symmetries, their hashes, and the crop of a prediction.

Letters in shapes: g fields, n copies or symmetries, F = 900 cells of a field.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled

SIDE = 30
"""Rows and columns of the field."""
PAD, END, FIRST_COLOR, LAST_COLOR = 0, 1, 2, 11
"""Tokens: padding, end marks below and to the right of a grid, colors 0 and 9."""

_SEED, _MULTIPLIER, _SHIFT = np.uint64(0x51ED270B4D8F3A1D), np.uint64(0x9E3779B97F4A7C15), np.uint64(29)


@compiled
def walk(transform: int, rows: int, columns: int) -> tuple[int, int, int, int, int]:
    """The copy's rows and columns, its corner's cell in the field, and the steps in the field per row and column."""
    last_row = (rows - 1) * SIDE
    if transform == 0:
        return rows, columns, 0, SIDE, 1
    if transform == 1:
        return columns, rows, columns - 1, -1, SIDE
    if transform == 2:
        return rows, columns, last_row + columns - 1, -SIDE, -1
    if transform == 3:
        return columns, rows, last_row, 1, -SIDE
    if transform == 4:
        return rows, columns, columns - 1, SIDE, -1
    if transform == 5:
        return rows, columns, last_row, -SIDE, 1
    if transform == 6:
        return columns, rows, 0, 1, SIDE
    return columns, rows, last_row + columns - 1, -1, -SIDE


@compiled
def paint(
    fields: NDArray[np.uint8],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    owners: NDArray[np.int64],
    transforms: NDArray[np.uint8],
    permutations: NDArray[np.uint8],
    tops: NDArray[np.int64],
    lefts: NDArray[np.int64],
    copies: NDArray[np.uint8],
) -> None:
    """Fills `copies` `[n, F]`: field `owners[i]` of `[g, F]` under symmetry i, with its corner at (tops, lefts)[i]."""
    for i in range(len(owners)):
        owner = owners[i]
        source, copy, permutation = fields[owner], copies[i], permutations[i]
        copy[:] = PAD
        height, width, start, down, right = walk(transforms[i], rows[owner], columns[owner])
        if height == 0 or width == 0:
            continue
        top, left = tops[i], lefts[i]
        for row in range(height):
            place = (top + row) * SIDE + left
            cell = start + row * down
            for column in range(width):
                copy[place + column] = permutation[source[cell] - FIRST_COLOR] + FIRST_COLOR
                cell += right
        if top + height < SIDE:
            place = (top + height) * SIDE + left
            copy[place : place + width] = END
        if left + width < SIDE:
            for row in range(top, top + height):
                copy[row * SIDE + left + width] = END


@compiled
def hash_grid(
    field: NDArray[np.uint8],
    rows: int,
    columns: int,
    transform: int,
    permutation: NDArray[np.uint8],
    seed: np.uint64,
) -> np.uint64:
    """A 64-bit hash of shape and colors of the transformed grid."""
    height, width, start, down, right = walk(transform, rows, columns)
    mixed = (seed ^ np.uint64(height * (SIDE + 1) + width)) * _MULTIPLIER
    for row in range(height):
        cell = start + row * down
        word = np.uint64(0)
        for _ in range(width):
            # The product overflows in wide rows. Because 11 is odd, no color's contribution is lost.
            word = word * np.uint64(11) + np.uint64(permutation[field[cell] - FIRST_COLOR] + 1)
            cell += right
        mixed = (mixed ^ word) * _MULTIPLIER
        mixed ^= mixed >> _SHIFT
    return mixed


@compiled
def hash_copies(
    fields: NDArray[np.uint8],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    roles: NDArray[np.uint64],
    transforms: NDArray[np.uint8],
    permutations: NDArray[np.uint8],
) -> NDArray[np.uint64]:
    """A hash of a whole task under each of n symmetries, `[n]`. Copies with the same pairs in any order hash equally.

    `fields` `[2p, F]` contains input and output of each of p pairs. `roles` `[p]` distinguishes demonstrations from
    test pairs.
    """
    hashes = np.zeros(len(transforms), np.uint64)
    for i in range(len(transforms)):
        total = np.uint64(0)
        for pair in range(len(roles)):
            mixed = _SEED ^ roles[pair]
            for grid in (2 * pair, 2 * pair + 1):
                mixed = hash_grid(
                    fields[grid], rows[grid], columns[grid], transforms[i], permutations[i], mixed
                )
            mixed *= _MULTIPLIER
            total += mixed ^ (mixed >> np.uint64(32))
        hashes[i] = total
    return hashes


@compiled
def crop_all(fields: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
    """Writes rows and columns `[g]` of the largest rectangle of colors at each field's corner.

    If several have the same area, it is the one with the fewest rows.
    """
    for i in range(len(fields)):
        field = fields[i]
        width, best = SIDE, 0
        rows[i] = columns[i] = 0
        for height in range(1, SIDE + 1):
            start = (height - 1) * SIDE
            for column in range(width):
                token = field[start + column]
                if token < FIRST_COLOR or token > LAST_COLOR:
                    width = column
                    break
            if width == 0:
                break
            if height * width > best:
                best = height * width
                rows[i], columns[i] = height, width
