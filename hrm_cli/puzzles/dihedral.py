"""Rotations and reflections of rectangular grids (the dihedral group).

Letters in shapes: D symmetries (8 for a square, 4 for other rectangles), S = rows × columns cells.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SYMMETRIES = 8
"""Number of symmetries of a square. The reference implementation uses the same numbering; see `transform`."""


def transform(grid: NDArray[np.generic], number: int) -> NDArray[np.generic]:
    """The copy of a grid `[rows, columns]` under a symmetry of the square.

    0 is the identity; 1 to 3 rotate counter-clockwise by 90°, 180° and 270°; 4 flips left-right, 5 flips up-down,
    6 transposes, 7 mirrors in the other diagonal. Raises ValueError for another number.
    """
    if not 0 <= number < SYMMETRIES:
        raise ValueError(f"symmetry {number}; there are those from 0 to {SYMMETRIES - 1}")
    if number < 4:
        return np.rot90(grid, number)
    if number == 4:
        return np.fliplr(grid)
    if number == 5:
        return np.flipud(grid)
    return grid.T if number == 6 else np.fliplr(np.rot90(grid))


@lru_cache(maxsize=16)
def cell_permutations(rows: int, columns: int) -> NDArray[np.int32]:
    """Source cell of each cell under every symmetry that keeps the shape, the identity first, `[D, S]`."""
    cells = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    orientations = [transform(cells, number) for number in range(SYMMETRIES)]
    return np.stack([one.reshape(-1) for one in orientations if one.shape == cells.shape])
