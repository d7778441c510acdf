"""Relations of a puzzle: which cells form units, and which tokens are interchangeable symbols.

A mixer can use the relations that a domain declares (`arch.mixer: units`). They state which cells form a unit. A mixer
does not use the rule for its cells; the model learns it. A domain whose cells are a grid declares that instead or as
well (`arch.mixer: neighbors` and `edges`).

Letters in shapes: S cells, D symbols, U units, N cells of a unit, C classes of units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Relations:
    """Units of cells and interchangeable symbols.

    A symmetry may permute units within a class, but not across classes.
    """

    seq_len: int
    vocab_size: int
    first_symbol: int
    """Token of the first symbol; the others follow it."""
    num_symbols: int
    """D: number of symbols that may be permuted freely, such as the digits of Sudoku."""
    classes: tuple[tuple[str, NDArray[np.int64]], ...]
    """Name and units `[U, N]` of each class: Sudoku has `line` (rows and columns) and `box`."""
    each_symbol_once: bool = False
    """Whether the rule of every unit is that each symbol appears once, for `train.constraint_loss`."""

    @property
    def num_units(self) -> int:
        """Number of units in all classes."""
        return sum(len(units) for _, units in self.classes)

    def membership(self) -> NDArray[np.float32]:
        """Membership matrix `[U, S]`: 1 if the cell belongs to the unit. Rows are ordered by class."""
        matrix = np.zeros((self.num_units, self.seq_len), np.float32)
        row = 0
        for _, units in self.classes:
            for unit in units:
                matrix[row, unit] = 1
                row += 1
        return matrix

    def kinds_of_pairs(self) -> NDArray[np.int64]:
        """The relation of each pair of cells, `[S, S]`: an integer encoding how many units of each class they share.

        0 means no shared unit. The encoding is the same for every size of a domain, so weights can be tied to it.
        """
        kinds = np.zeros((self.seq_len, self.seq_len), np.int64)
        for (_, units), base in zip(self.classes, self.bases(), strict=True):
            shared = np.zeros_like(kinds)
            for unit in units:
                shared[np.ix_(unit, unit)] += 1
            kinds += base * shared
        return kinds

    def bases(self) -> list[int]:
        """The value of one shared unit of each class in the encoding of `kinds_of_pairs`."""
        bases, base = [], 1
        for most in self._most_units():
            bases.append(base)
            base *= most + 1
        return bases

    @property
    def num_kinds_of_pairs(self) -> int:
        """Number of different values in `kinds_of_pairs`."""
        return int(np.prod([most + 1 for most in self._most_units()]))

    def _most_units(self) -> list[int]:
        # The most units of each class that one cell belongs to.
        return [int(np.bincount(units.ravel(), minlength=self.seq_len).max()) for _, units in self.classes]


@dataclass(frozen=True)
class Neighborhood:
    """Cells of a grid, stored row by row; each has up to four neighbors."""

    rows: int
    columns: int
