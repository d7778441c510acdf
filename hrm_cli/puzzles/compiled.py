"""Compiled functions that every domain uses: symmetries applied in one pass, and random numbers.

The random number generator is SplitMix64. Every puzzle has its own generator state, so it depends only on its own seed.

Letters in shapes: n puzzles, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled


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


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@compiled
def draw(state: NDArray[np.uint64], below: int) -> int:
    """A random integer in [0, below). Advances the state `[1]` of a SplitMix64 generator."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    z ^= z >> _S31
    return int(np.int64(((z >> _S32) * np.uint64(below)) >> _S32))


@compiled
def shuffle(order: NDArray[np.int16], count: int, state: NDArray[np.uint64]) -> None:
    """Shuffles the first `count` entries in place."""
    for i in range(count - 1, 0, -1):
        j = draw(state, i + 1)
        order[i], order[j] = order[j], order[i]
