"""64-bit fingerprints of token rows, for detecting duplicates without storing puzzles.

Equal rows always have equal fingerprints, so no duplicate is missed. Two different rows have equal fingerprints with a
probability of about 2⁻⁶⁴. Then one puzzle is left out by mistake.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Fingerprints = NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)


def fingerprints(rows: NDArray[np.uint8]) -> Fingerprints:
    """The fingerprint of each row of `rows` `[n, S]`, as `[n]`. It does not depend on the machine."""
    count, width = rows.shape
    padded = np.zeros((count, -(-width // 8) * 8), dtype=np.uint8)
    padded[:, :width] = rows
    words = padded.view("<u8").astype(np.uint64, copy=False)
    mixed = np.full(count, width, dtype=np.uint64)
    for column in range(words.shape[1]):
        mixed ^= words[:, column]
        mixed *= _MULTIPLIER
        mixed ^= mixed >> _SHIFT
    # Mix once more without input; otherwise differences in the last word would affect only some of the bits.
    mixed *= _MULTIPLIER
    mixed ^= mixed >> np.uint64(32)
    return mixed


def occurs_in(values: Fingerprints, known: Fingerprints) -> NDArray[np.bool_]:
    """Which of `values` are among `known`, which must be sorted."""
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return known[places] == values


def first_occurrences(values: Fingerprints) -> NDArray[np.bool_]:
    """Which values are the first occurrence of their value, `[n]`."""
    if len(values) < 2:
        return np.ones(len(values), dtype=bool)
    ordered = np.sort(values)
    # Duplicates are rare, and a plain sort is several times as fast as an argsort.
    if not (ordered[1:] == ordered[:-1]).any():
        return np.ones(len(values), dtype=bool)
    first = np.zeros(len(values), dtype=bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
