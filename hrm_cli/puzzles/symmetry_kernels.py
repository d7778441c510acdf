"""Compiled application of symmetries to puzzles and answers. Every cell is read and written once.

Letters in shapes: n puzzles, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled


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
