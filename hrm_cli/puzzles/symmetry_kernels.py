"""Symmetries applied to puzzles and their answers, compiled: a cell is read and written once.

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
    """Row i of `inputs` and `labels` `[n, S]` under symmetry i, into `moved_…`; 0, or a token outside the vocabulary.

    `cells` `[n, S]` and `tokens` `[n, V]` are those of `TokenSymmetries`. A token outside the vocabulary ends it.
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
