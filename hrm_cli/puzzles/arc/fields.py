"""Batches of ARC grids in 30×30 fields of tokens: places grids in fields, transforms, recolors and crops them.

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
    """g grids, each at the top left corner of its field.

    Sizes are stored so that no field has to be searched for them.
    """

    tokens: Tokens
    """`[g, F]`"""
    rows: NDArray[np.int64]
    """Rows of each grid, `[g]`; 0 if the field contains no grid."""
    columns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: slice | NDArray[np.integer]) -> Fields:
        return Fields(self.tokens[chosen], self.rows[chosen], self.columns[chosen])

    @classmethod
    def from_grids(cls, grids: Sequence[Grid | None]) -> Fields:
        """Places each grid in a field, with end marks below and to the right of it if there is room.

        None gives an empty field.
        """
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
        """Concatenates several batches of fields."""
        return cls(
            np.concatenate([part.tokens for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.columns for part in parts]),
        )

    @classmethod
    def interleave(cls, first: Fields, second: Fields) -> Fields:
        """Alternates the fields of `first` and `second`."""
        return cls(
            np.stack([first.tokens, second.tokens], axis=1).reshape(-1, CELLS),
            np.stack([first.rows, second.rows], axis=1).reshape(-1),
            np.stack([first.columns, second.columns], axis=1).reshape(-1),
        )

    @classmethod
    def crop(cls, tokens: NDArray[np.integer]) -> Fields:
        """Finds the grid in each field `[g, F]`: the largest rectangle of colors at the corner.

        If several rectangles have the same area, it is the one with the fewest rows. If the corner cell has no color,
        the grid is empty. The fields may contain any tokens.
        """
        # A token that does not fit in a byte is not a color, so it becomes padding.
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
    """The rows and columns by which input and output of pair `owners[i]` can be shifted together, `[n]` each."""
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
    """A random corner for each copy, uniform over the positions where both of its grids fit.

    Returns tops and lefts, `[n]` each.
    """
    down, right = free_places(inputs, outputs, owners, transforms)
    return rng.integers(0, down + 1), rng.integers(0, right + 1)
