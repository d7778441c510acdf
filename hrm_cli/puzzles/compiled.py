"""The numba decorator of the puzzle kernels, and the kernel that every domain uses: symmetries applied in one pass.

Letters in shapes: n puzzles, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import keep_on_disk

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function` with numba in nopython mode. The kernel releases the GIL while it runs."""
    import numba

    return keep_on_disk(numba.njit(nogil=True)(function))


@compiled
def apply_both(
    cells: NDArray[np.int32],
    tokens: NDArray[np.uint8],
    inputs: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    moved_inputs: NDArray[np.uint8],
    moved_labels: NDArray[np.uint8],
) -> int:
    """Applies symmetry i to row i of `inputs` and `labels` `[n, S]`; writes to `moved_inputs` and `moved_labels`.

    `cells` `[n, S]` and `tokens` `[n, V]` are those of `TokenSymmetries`. Returns 0. A token outside the vocabulary
    stops the loop and is returned instead.
    """
    vocabulary = tokens.shape[1]
    for i in range(cells.shape[0]):
        for s in range(cells.shape[1]):
            cell = cells[i, s]
            one, other = inputs[i, cell], labels[i, cell]
            if one >= vocabulary or other >= vocabulary:
                return int(max(one, other))
            moved_inputs[i, s] = tokens[i, one]
            moved_labels[i, s] = tokens[i, other]
    return 0
