"""ARC grids in their 30×30 field of tokens, many at a time: drawn, moved, recolored, cropped.

Letters in shapes: g fields, n copies, F = 900 cells of a field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.arc.kernels import END, FIRST_COLOR, PAD, SIDE, crop_all, paint
from hrm_cli.puzzles.arc.symmetry import SWAPS_SIDES, ArcSymmetries
from hrm_cli.puzzles.domain import Grid, Tokens

CELLS = SIDE * SIDE


@dataclass(frozen=True)
class Fields:
    """g grids, each at the corner of its field, with the sizes that the field alone would have to be searched for."""

    tokens: Tokens
    """`[g, F]`"""
    rows: NDArray[np.int64]
    """`[g]`; 0 where there is no grid."""
    columns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> Fields:
        return Fields(self.tokens[chosen], self.rows[chosen], self.columns[chosen])

    @classmethod
    def draw(cls, grids: Sequence[Grid | None]) -> Fields:
        """Fields of grids, end marks below and right of each where there is room; empty for None."""
        tokens = np.full((len(grids), SIDE, SIDE), PAD, np.uint8)
        sizes = np.zeros((2, len(grids)), np.int64)
        for field, size, grid in zip(tokens, sizes.T, grids, strict=True):
            if grid is not None:
                rows, columns = size[:] = grid.shape
                field[:rows, :columns] = grid + FIRST_COLOR
                field[rows : rows + 1, :columns] = END
                field[:rows, columns : columns + 1] = END
        return cls(tokens.reshape(len(grids), CELLS), sizes[0], sizes[1])

    @classmethod
    def join(cls, parts: Sequence[Fields]) -> Fields:
        """The fields of several, one after the other."""
        return cls(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
        )

    @classmethod
    def interleave(cls, first: Fields, second: Fields) -> Fields:
        """One of `first`, one of `second`, and so on."""
        return cls(
            np.stack([first.tokens, second.tokens], axis=1).reshape(-1, CELLS),
            np.stack([first.rows, second.rows], axis=1).reshape(-1),
            np.stack([first.columns, second.columns], axis=1).reshape(-1),
        )

    @classmethod
    def crop(cls, tokens: NDArray[np.integer]) -> Fields:
        """Any tokens `[g, F]` with the size of what each shows: the largest-area rectangle of colors at the corner.

        Of rectangles of equal area the one with the fewest rows. No color in the corner: a grid of no cells.
        """
        # Whatever does not fit into a byte is no color either.
        plain = np.where((tokens >= 0) & (tokens < 256), tokens, PAD).astype(np.uint8).reshape(-1, CELLS)
        rows, columns = np.zeros(len(plain), np.int64), np.zeros(len(plain), np.int64)
        crop_all(plain, rows, columns)
        return cls(plain, rows, columns)

    def grid(self, number: int) -> Grid:
        """The colors of one field's grid `[rows, columns]`."""
        rows, columns = self.rows[number], self.columns[number]
        return self.tokens[number].reshape(SIDE, SIDE)[:rows, :columns] - np.uint8(FIRST_COLOR)

    def copies(
        self,
        owners: NDArray[np.int64],
        symmetries: ArcSymmetries,
        tops: NDArray[np.int64] | None = None,
        lefts: NDArray[np.int64] | None = None,
    ) -> Tokens:
        """Fields `[n, F]`: grid `owners[i]` under symmetry i, its corner at row `tops[i]` and column `lefts[i]`."""
        copies = np.empty((len(owners), CELLS), np.uint8)
        corner = np.zeros(len(owners), np.int64)
        paint(
            self.tokens, self.rows, self.columns, owners, symmetries.transforms, symmetries.permutations,
            corner if tops is None else tops, corner if lefts is None else lefts, copies,
        )  # fmt: skip
        return copies


def free_places(
    inputs: Fields, outputs: Fields, owners: NDArray[np.int64], transforms: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many rows and columns a copy of pair `owners[i]` can be moved by, input and output alike, `[n]` each."""
    rows = np.maximum(inputs.rows, outputs.rows)[owners]
    columns = np.maximum(inputs.columns, outputs.columns)[owners]
    swapped = SWAPS_SIDES[transforms]
    return SIDE - np.where(swapped, columns, rows), SIDE - np.where(swapped, rows, columns)


def random_places(
    inputs: Fields,
    outputs: Fields,
    owners: NDArray[np.int64],
    transforms: NDArray[np.uint8],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A corner for each copy, drawn uniformly from where both of its grids fit: tops and lefts, `[n]` each."""
    down, right = free_places(inputs, outputs, owners, transforms)
    return rng.integers(0, down + 1), rng.integers(0, right + 1)
