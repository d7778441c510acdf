"""Stored differences between the intended solution and others: sets of cells of which at least one must keep its clue.

A later check whether a clue is needed often finds the answer among them, without any search.

Letters in shapes: K kept differences, W 64-bit words of a set of cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled

_NONE, _ONE = np.uint64(0), np.uint64(1)


@compiled
def is_known_needed(
    cell: int, given: NDArray[np.uint64], differences: NDArray[np.uint64], kept: NDArray[np.int64]
) -> bool:
    """Whether one of the differences `[K, W]` has only one clue (`given` `[W]`), which is in `cell`."""
    word = cell >> 6
    own = _ONE << np.uint64(cell & 63)
    for k in range(min(kept[0], differences.shape[0])):
        if differences[k, word] & given[word] == own:
            alone = True
            for other in range(differences.shape[1]):
                if other != word and differences[k, other] & given[other] != _NONE:
                    alone = False
                    break
            if alone:
                return True
    return False


@compiled
def next_difference(differences: NDArray[np.uint64], kept: NDArray[np.int64]) -> int:
    """Empties the next of the differences, the oldest one, and returns its index."""
    slot = kept[0] % differences.shape[0]
    kept[0] += 1
    differences[slot, :] = _NONE
    return slot


@compiled
def add_cell(slot: int, cell: int, differences: NDArray[np.uint64]) -> None:
    """Adds a cell to a difference."""
    differences[slot, cell >> 6] |= _ONE << np.uint64(cell & 63)
