"""The symmetry group of Sudoku: every relabeling of digits and rearrangement of cells that keeps the rules.

The cell symmetries permute bands (rows of boxes), stacks (columns of boxes), the rows of a band and the columns of a
stack, and transpose the grid if boxes are square. Transposing a 6×6 grid would turn its boxes of 2 rows × 3 columns
into boxes of 3 × 2, which is a different layout, so its group has no transposition.

Letters in shapes: n symmetries, N size, S = N² cells, V vocabulary, A arrangements of rows or of columns.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.domain import TokenSymmetries
from hrm_cli.puzzles.sudoku.layout import LARGEST_LISTED, layout

FIRST_DIGIT = 2
"""Token of the digit 1, after padding and blank."""


@lru_cache(maxsize=8)
def arrangements(size: int, by_columns: bool = False) -> NDArray[np.uint8]:
    """Old row (or column) for each new one, for every order that preserves bands (or stacks), `[A, N]`."""
    shape = layout(size)
    thick = shape.box_columns if by_columns else shape.box_rows
    bands = size // thick
    inner = list(permutations(range(thick)))
    orders = [
        [band * thick + line for band, lines in zip(order, chosen, strict=True) for line in lines]
        for order in permutations(range(bands))
        for chosen in product(inner, repeat=bands)
    ]
    return np.array(orders, dtype=np.uint8)


def sample_arrangements(
    size: int, rng: np.random.Generator, count: int, *, by_columns: bool = False
) -> NDArray[np.uint8]:
    """`count` arrangements of rows (or columns) drawn uniformly and independently, `[count, N]`."""
    if size <= LARGEST_LISTED:
        every = arrangements(size, by_columns)
        return every[rng.integers(0, len(every), count)]
    shape = layout(size)
    thick = shape.box_columns if by_columns else shape.box_rows
    bands = np.arange(size, dtype=np.uint8).reshape(size // thick, thick)
    inner = rng.permuted(np.broadcast_to(bands, (count, *bands.shape)), axis=2)
    order = rng.permuted(np.broadcast_to(np.arange(len(bands)), (count, len(bands))), axis=1)
    return np.take_along_axis(inner, order[:, :, None], axis=1).reshape(count, size)


def can_transpose(size: int) -> bool:
    """Whether transposition preserves the boxes."""
    shape = layout(size)
    return shape.box_rows == shape.box_columns


def sample(size: int, rng: np.random.Generator, count: int) -> TokenSymmetries:
    """Samples `count` symmetries uniformly and independently from the whole group of N×N Sudoku."""
    from_row = sample_arrangements(size, rng, count).astype(np.int32)
    from_column = sample_arrangements(size, rng, count, by_columns=True).astype(np.int32)
    if can_transpose(size):
        flip = rng.integers(0, 2, count, dtype=np.int32)[:, None]
        # The index of the old cell is row · N + column. With transposition, rows and columns swap roles.
        by_row = from_row * np.where(flip, 1, size).astype(np.int32)
        by_column = from_column * np.where(flip, size, 1).astype(np.int32)
    else:
        by_row, by_column = from_row * np.int32(size), from_column
    cells = (by_row[:, :, None] + by_column[:, None, :]).reshape(count, size * size)
    tokens = np.empty((count, size + FIRST_DIGIT), np.uint8)
    tokens[:, :FIRST_DIGIT] = np.arange(FIRST_DIGIT)
    digits = np.arange(FIRST_DIGIT, size + FIRST_DIGIT, dtype=np.uint8)
    rng.permuted(np.broadcast_to(digits, (count, size)), axis=1, out=tokens[:, FIRST_DIGIT:])
    return TokenSymmetries(cells, tokens)
