"""Relations of a puzzle: which cells belong together, and which tokens are symbols.

A domain that declares its relations can be worked on by mixers that know them (`arch.mixer: units`). The rule of a
unit is not stated here; it is learned.

Letters in shapes: S cells, D symbols, U units, N cells of a unit, C classes of units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Relations:
    """Units of cells, in classes that a symmetry may exchange within but not between, and interchangeable symbols."""

    seq_len: int
    vocab_size: int
    first_symbol: int
    """Token of the first symbol; the others follow it."""
    num_symbols: int
    """D: symbols that may be renamed at will, such as the digits of Sudoku."""
    classes: tuple[tuple[str, NDArray[np.int64]], ...]
    """Name and units `[U, N]` of each class: Sudoku has `line` (rows and columns) and `box`."""

    @property
    def num_units(self) -> int:
        """Units of all classes together."""
        return sum(len(units) for _, units in self.classes)

    def membership(self) -> NDArray[np.float32]:
        """1 where a cell belongs to a unit, `[U, S]`, the classes one after the other."""
        matrix = np.zeros((self.num_units, self.seq_len), np.float32)
        row = 0
        for _, units in self.classes:
            for unit in units:
                matrix[row, unit] = 1
                row += 1
        return matrix

    def kinds_of_pairs(self) -> NDArray[np.int64]:
        """How two cells are related, `[S, S]`: a number that encodes, class by class, how many units they share.

        0 where they share none. The numbers mean the same for every size of a domain, and so can have weights.
        """
        kinds = np.zeros((self.seq_len, self.seq_len), np.int64)
        for (_, units), base in zip(self.classes, self.bases(), strict=True):
            shared = np.zeros_like(kinds)
            for unit in units:
                shared[np.ix_(unit, unit)] += 1
            kinds += base * shared
        return kinds

    def bases(self) -> list[int]:
        """What a shared unit of each class counts in `kinds_of_pairs`."""
        bases, base = [], 1
        for most in self._most_units():
            bases.append(base)
            base *= most + 1
        return bases

    @property
    def num_kinds_of_pairs(self) -> int:
        """Numbers that `kinds_of_pairs` may hold."""
        return int(np.prod([most + 1 for most in self._most_units()]))

    def _most_units(self) -> list[int]:
        # Units of each class that one cell belongs to.
        return [int(np.bincount(units.ravel(), minlength=self.seq_len).max()) for _, units in self.classes]
