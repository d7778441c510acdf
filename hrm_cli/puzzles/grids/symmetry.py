"""Batched rotation, reflection, translation and relabeling of own puzzles.

A grid stays at the top left corner of its canvas when it is transformed. A translation is a cyclic shift inside the
grid: what leaves it on one side enters on the other. It shifts input and output of a pair by the same
amount, so both must have the same size.

Letters in shapes: n fields, S cells of a canvas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    source, ends = _turned_sources(fields, domain, transforms)
    moved = np.take_along_axis(fields, np.maximum(source, 0), axis=1)
    return np.where(source >= 0, moved, np.where(ends, END, PAD)).astype(fields.dtype)


def _turned_sources(
    fields: NDArray[np.integer], domain: GridsDomain, transforms: NDArray[np.integer]
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """The cell that each cell of the turned grids comes from, −1 outside them, and which get end marks, `[n, S]`."""
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
    source = np.where(inside, source_row * columns + source_column, -1).reshape(count, -1)
    below = (row == new_height) & (column < new_width)
    right = (column == new_width) & (row < new_height)
    ends = (below | right) & domain.marked
    return source, ends.reshape(count, -1)


def shift_fields(
    fields: NDArray[np.integer], domain: GridsDomain, fractions: NDArray[np.floating]
) -> NDArray[np.integer]:
    """Cyclic shifts of the grids in fields `[n, S]`, down and to the right.

    `fractions` `[n, 2]`, from 0 to less than 1, are the shifts as fractions of the rows and columns of each grid.
    """
    rows, columns = domain.rows, domain.columns
    is_symbol = (fields >= domain.first).reshape(len(fields), rows, columns)
    height, width = (size[:, None, None] for size in corner_sizes(is_symbol))
    down, right = (
        (fractions[:, axis, None, None] * size).astype(np.int64) for axis, size in enumerate((height, width))
    )
    row, column = np.arange(rows)[None, :, None], np.arange(columns)[None, None, :]
    inside = (row < height) & (column < width)
    source = (row - down) % np.maximum(height, 1) * columns + (column - right) % np.maximum(width, 1)
    source = np.where(inside, source, row * columns + column).reshape(len(fields), -1)
    return np.take_along_axis(fields, source, axis=1)


def shifts_to_compare(grid: NDArray[np.integer]) -> list[NDArray[np.integer]]:
    """Cyclic shifts of a grid `[rows, columns]`: the same set for every shift of it, and for every relabeling.

    These shifts bring a cell of a rarest symbol to the corner. Usually they are few.
    """
    return [np.roll(grid, (-row, -column), (0, 1)) for row, column in offsets_to_compare(grid)]


def offsets_to_compare(grid: NDArray[np.integer]) -> list[tuple[int, int]]:
    """Row and column of each cell that `shifts_to_compare` brings to the corner."""
    _, inverse, counts = np.unique(grid, return_inverse=True, return_counts=True)
    is_rare = (counts == counts.min())[inverse].reshape(grid.shape)
    return [(row, column) for row, column in np.argwhere(is_rare).tolist()]


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
        if "translations" in self.domain.symmetries:
            fractions = rng.random((len(inputs), 2))
            grids = [shift_fields(grid, self.domain, fractions) for grid in grids]
        if "symbols" in self.domain.symmetries:
            grids = relabel_fields(grids, self.domain, rng)
        return grids[0].astype(np.int32), grids[1].astype(np.int32)


@dataclass(frozen=True)
class GridSymmetries:
    """n symmetries of own puzzles, out of those that the user claims, for copies of a puzzle at inference."""

    domain: GridsDomain
    transforms: NDArray[np.int64]
    """`[n]`"""
    tokens: NDArray[np.integer]
    """New token of each old token, `[n, V]`."""
    is_inverse: bool = False
    """Whether they map answers back, and not puzzles to copies."""

    @classmethod
    def sample(cls, domain: GridsDomain, rng: np.random.Generator, count: int) -> GridSymmetries:
        """`count` symmetries drawn uniformly from the claimed group."""
        transforms = rng.choice(np.array(transforms_of(domain.symmetries), np.int64), count)
        return cls(domain, transforms, domain.sample_symmetries(rng, count).tokens)

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: NDArray[np.integer]) -> GridSymmetries:
        return replace(self, transforms=self.transforms[index], tokens=self.tokens[index])

    def apply(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """The copies of puzzles `[n, S]`; of the inverse, answers mapped back, without what lies outside their grid."""
        fields = self._fields(tokens)
        # Relabeling moves no cell and keeps padding and end marks, so the order of the two does not matter.
        moves = (self.transforms > 0) | self.domain.marked
        if moves.any():
            fields[moves] = turn_fields(fields[moves], self.domain, self.transforms[moves])
        return np.take_along_axis(self.tokens, fields.astype(np.intp), axis=1).astype(fields.dtype)

    def sources(self, tokens: NDArray[Any]) -> NDArray[np.integer]:
        """The cell that each cell of `apply(tokens)` comes from, `[n, S]`; −1 for cells that come from none."""
        return _turned_sources(self._fields(tokens), self.domain, self.transforms)[0]

    def _fields(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """A copy of fields `[n, S]`; of the inverse, without what lies outside the output's size."""
        fields = np.array(np.broadcast_to(tokens, (len(self), self.domain.seq_len)))
        if self.is_inverse and not self.domain.marked:
            self._outside_output(fields, swaps=(self.transforms & _SWAPS) > 0)
        return fields

    def _outside_output(self, fields: NDArray[np.integer], swaps: NDArray[np.bool_]) -> None:
        """Clears the cells of answers outside the output's size, where the model was never taught anything."""
        own, shape = self.domain, (len(fields), self.domain.rows, self.domain.columns)
        row, column = np.arange(own.rows)[None, :, None], np.arange(own.columns)[None, None, :]
        height = np.where(swaps, own.output_columns, own.output_rows)[:, None, None]
        width = np.where(swaps, own.output_rows, own.output_columns)[:, None, None]
        fields[((row >= height) | (column >= width)).reshape(shape[0], -1)] = PAD

    def inverse(self) -> GridSymmetries:
        """The inverse symmetries, for answers."""
        # Of the eight transforms only the two quarter turns are not their own inverse.
        quarter = {
            _SWAPS | _FLIPS_COLUMNS: _SWAPS | _FLIPS_ROWS,
            _SWAPS | _FLIPS_ROWS: _SWAPS | _FLIPS_COLUMNS,
        }
        back = np.array(
            [quarter.get(transform, transform) for transform in self.transforms.tolist()], np.int64
        )
        tokens = np.argsort(self.tokens, axis=1).astype(self.tokens.dtype)
        return GridSymmetries(self.domain, back, tokens, not self.is_inverse)

    def identity(self) -> GridSymmetries:
        """The identity of the same group."""
        tokens = np.arange(self.tokens.shape[1], dtype=self.tokens.dtype)
        return GridSymmetries(self.domain, np.zeros(1, np.int64), tokens[None])

    def joined(self, others: Sequence[GridSymmetries]) -> GridSymmetries:
        """These symmetries, followed by others."""
        every = (self, *others)
        return replace(
            self,
            transforms=np.concatenate([one.transforms for one in every]),
            tokens=np.concatenate([one.tokens for one in every]),
        )

    def names(self) -> list[bytes]:
        """A key for each symmetry; equal keys mean equal symmetries."""
        return [
            bytes([transform]) + tokens.tobytes()
            for transform, tokens in zip(self.transforms.tolist(), self.tokens, strict=True)
        ]
