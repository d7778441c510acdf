"""Batched rotation, reflection and relabeling of own puzzles.

A grid stays at the top left corner of its canvas when it is transformed.

Letters in shapes: n fields, S cells of a canvas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.domain import PAD, parse_domain
from hrm_cli.puzzles.grids.domain import END, GridsDomain, corner_sizes

_SWAPS, _FLIPS_ROWS, _FLIPS_COLUMNS = 1, 2, 4
"""Bits of a transform, applied in this order: transpose, flip up-down, flip left-right."""

TRANSFORMS = {
    frozenset[str](): (0,),
    frozenset({"rotations"}): (
        0,
        _SWAPS | _FLIPS_COLUMNS,
        _FLIPS_ROWS | _FLIPS_COLUMNS,
        _SWAPS | _FLIPS_ROWS,
    ),
    frozenset({"reflections"}): (0, _FLIPS_ROWS, _FLIPS_COLUMNS, _FLIPS_ROWS | _FLIPS_COLUMNS),
    frozenset({"rotations", "reflections"}): tuple(range(8)),
}
"""The group of transforms for each set of symmetries."""


def transforms_of(symmetries: Sequence[str]) -> tuple[int, ...]:
    """The transforms that belong to the given symmetries, the identity first."""
    return TRANSFORMS[frozenset(symmetries) & {"rotations", "reflections"}]


def turned(grid: NDArray[np.integer], transform: int) -> NDArray[np.integer]:
    """Applies a transform to one grid `[rows, columns]`."""
    moved = grid.T if transform & _SWAPS else grid
    moved = moved[::-1] if transform & _FLIPS_ROWS else moved
    return moved[:, ::-1] if transform & _FLIPS_COLUMNS else moved


def turn_fields(
    fields: NDArray[np.integer], domain: GridsDomain, transforms: NDArray[np.integer]
) -> NDArray[np.integer]:
    """Applies `transforms` `[n]` to the grids in fields `[n, S]`. Grids stay at the corner and keep their end marks."""
    count, rows, columns = len(fields), domain.rows, domain.columns
    is_symbol = (fields >= domain.first).reshape(count, rows, columns)
    height, width = (size[:, None, None] for size in corner_sizes(is_symbol))
    chosen = np.asarray(transforms)[:, None, None]
    swaps, flips_rows, flips_columns = ((chosen & bit) > 0 for bit in (_SWAPS, _FLIPS_ROWS, _FLIPS_COLUMNS))
    new_height, new_width = np.where(swaps, width, height), np.where(swaps, height, width)
    row, column = np.arange(rows)[None, :, None], np.arange(columns)[None, None, :]
    inside = (row < new_height) & (column < new_width)
    before_row = np.where(flips_rows, new_height - 1 - row, row)
    before_column = np.where(flips_columns, new_width - 1 - column, column)
    source_row = np.where(swaps, before_column, before_row)
    source_column = np.where(swaps, before_row, before_column)
    source = np.where(inside, source_row * columns + source_column, 0).reshape(count, -1)
    moved = np.take_along_axis(fields, source, axis=1)
    below = (row == new_height) & (column < new_width)
    right = (column == new_width) & (row < new_height)
    ends = (below | right) & domain.marked
    outside = np.where(ends, END, PAD).reshape(count, -1)
    return np.where(inside.reshape(count, -1), moved, outside).astype(fields.dtype)


def relabel_fields(
    fields: Sequence[NDArray[np.integer]], domain: GridsDomain, rng: np.random.Generator
) -> list[NDArray[np.integer]]:
    """Permutes the symbols of fields `[n, S]`. Row i of every array gets the same permutation."""
    tokens = domain.sample_symmetries(rng, len(fields[0])).tokens
    rows = np.arange(len(tokens))[:, None]
    return [tokens[rows, field].astype(field.dtype) for field in fields]


@dataclass(frozen=True)
class GridCopies:
    """Augmented copies made while training: a random claimed symmetry for every row, B rows in a batch."""

    domain: GridsDomain

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> GridCopies | None:
        """The copies for a dataset whose domain these facts state; None unless it holds own puzzles."""
        domain = parse_domain(facts)
        return cls(domain) if isinstance(domain, GridsDomain) else None

    def apply(
        self, inputs: NDArray[np.int32], labels: NDArray[np.int32], rng: np.random.Generator
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Augments inputs and labels `[B, S]`. Input and label of a row get the same symmetry."""
        transforms = transforms_of(self.domain.symmetries)
        grids: list[NDArray[np.integer]] = [inputs, labels]
        if len(transforms) > 1:
            sampled = rng.choice(np.array(transforms), len(inputs))
            grids = [turn_fields(grid, self.domain, sampled) for grid in grids]
        if "symbols" in self.domain.symmetries:
            grids = relabel_fields(grids, self.domain, rng)
        return grids[0].astype(np.int32), grids[1].astype(np.int32)
