"""The formulas of the analysis. They take arrays and know nothing of models or puzzles.

Letters in shapes: n samples, H width, k components, Q queries, K keys, N heads, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def participation_ratio(states: Floats) -> float:
    """(Σλ)² ÷ Σλ² over the eigenvalues λ of the covariance of `states` `[n, H]`: the number of directions in use.

    1 if all states lie on a line, H if they spread equally in all directions, 0 if they are all equal.
    """
    centered = np.asarray(states, np.float64)
    centered = centered - centered.mean(axis=0)
    # The trace of a matrix is the sum of its eigenvalues; that of its square is the sum of their squares.
    smaller = centered.T @ centered if centered.shape[1] <= len(centered) else centered @ centered.T
    squares = float((smaller**2).sum())
    return float(np.trace(smaller)) ** 2 / squares if squares > 0 else 0.0


@dataclass(frozen=True)
class Components:
    """Principal components of some points."""

    places: Floats
    """The points in these components, `[n, k]`."""
    shares: list[float]
    """Fraction of the variance in each component."""


def principal_components(points: Floats, count: int = 2) -> Components:
    """The first `count` principal components of `points` `[n, H]`. The sign of each: its largest entry is positive."""
    centered = np.asarray(points, np.float64)
    centered = centered - centered.mean(axis=0)
    left, scales, right = np.linalg.svd(centered, full_matrices=False)
    places = left[:, :count] * scales[:count]
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])[:count]
    total = float((scales**2).sum())
    shares = [float(scale**2) / total if total > 0 else 0.0 for scale in scales[:count]]
    missing = count - places.shape[1]
    return Components(np.pad(places * signs, ((0, 0), (0, missing))), shares + [0.0] * missing)


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in one interval."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence; the middle of the interval if it is empty."""
    accuracy: float
    """Fraction of correct answers; 0 if it is empty."""


@dataclass(frozen=True)
class Calibration:
    """How well confidence predicts correctness."""

    bins: list[Bin]
    error: float
    """Expected calibration error: |accuracy − confidence|, averaged over the answers by bin."""
    count: int
    """Number of answers."""
    accuracy: float
    confidence: float
    """Mean confidence."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "bins": [vars(one) for one in self.bins]}


def calibration(confidence: Floats, correct: NDArray[np.bool_], num_bins: int = 10) -> Calibration:
    """Reliability in `num_bins` bins of equal width, from confidences in 0..1 and correctness, `[n]` each."""
    values = np.clip(np.asarray(confidence, np.float64), 0, 1)
    places = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    bins, error = [], 0.0
    for place in range(num_bins):
        chosen = places == place
        count = int(chosen.sum())
        low, high = place / num_bins, (place + 1) / num_bins
        mean = float(values[chosen].mean()) if count else (low + high) / 2
        accuracy = float(correct[chosen].mean()) if count else 0.0
        bins.append(Bin(low, high, count, mean, accuracy))
        error += count * abs(accuracy - mean)
    total = len(values)
    if not total:
        return Calibration(bins, 0.0, 0, 0.0, 0.0)
    return Calibration(bins, error / total, total, float(correct.mean()), float(values.mean()))


def separation(confidence: Floats, correct: NDArray[np.bool_]) -> float | None:
    """The probability that a correct answer is more confident than a wrong one (area under the ROC curve).

    0.5 means that confidence says nothing. None without correct or without wrong answers.
    """
    rights, wrongs = int(correct.sum()), int((~correct).sum())
    if not rights or not wrongs:
        return None
    _, places, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    ranks = float(middle_ranks[places][correct].sum())
    return (ranks - rights * (rights + 1) / 2) / (rights * wrongs)


def group_edges(values: NDArray[np.integer], most: int = 8) -> list[tuple[int, int]]:
    """At most `most` intervals `(first, last)` of whole numbers that cover `values`, each with about equally many."""
    found, times = np.unique(values, return_counts=True)
    if len(found) <= most:
        return [(int(value), int(value)) for value in found]
    edges, start, gathered, left, groups = [], 0, 0, int(times.sum()), most
    for place, count in enumerate(times.tolist()):
        gathered += count
        if gathered >= left / groups or place == len(found) - 1:
            edges.append((int(found[start]), int(found[place])))
            start, left, groups, gathered = place + 1, left - gathered, max(groups - 1, 1), 0
    return edges


def shares_by_kind(weights: Floats, kinds: NDArray[np.integer], num_kinds: int) -> Floats:
    """The share of attention on each kind of pair: `weights` `[…, Q, K]`, `kinds` `[Q, K]` → `[…, num_kinds]`.

    The mean over queries of the sum of weights on keys of that kind. With rows that sum to 1, the shares sum to 1.
    """
    sums = [
        np.where(kinds == kind, weights, 0).sum(axis=-1, dtype=np.float64).mean(axis=-1)
        for kind in range(num_kinds)
    ]
    return np.stack(sums, axis=-1)


def uniform_shares(kinds: NDArray[np.integer], num_kinds: int) -> Floats:
    """The shares that uniform attention would give: the fraction of pairs of each kind, `[num_kinds]`."""
    return np.bincount(kinds.ravel(), minlength=num_kinds)[:num_kinds] / kinds.size


def last_change(answers: NDArray[np.integer]) -> NDArray[np.int64]:
    """The step (from 1) at which each row's answer changed for the last time, from answers `[T, n, S]`: `[n]`.

    1 if the first answer stayed.
    """
    if len(answers) < 2:
        return np.ones(answers.shape[1], np.int64)
    changed = (answers[1:] != answers[:-1]).any(axis=2)
    steps = np.arange(2, len(answers) + 1)[:, None]
    return np.maximum(np.where(changed, steps, 1).max(axis=0), 1).astype(np.int64)


def entropy(weights: Floats) -> Floats:
    """Entropy of attention in bits, averaged over queries: `[…, Q, K]` → `[…]`. log2 K if it is uniform."""
    safe = np.clip(np.asarray(weights, np.float64), 1e-30, None)
    found: Floats = -(weights * np.log2(safe)).sum(axis=-1).mean(axis=-1)
    return found


def decline(values: Sequence[float]) -> float | None:
    """The factor by which a positive series shrinks per step, as the geometric mean; None if it is undefined."""
    if len(values) < 2 or min(values[0], values[-1]) <= 0:
        return None
    return math.exp((math.log(values[-1]) - math.log(values[0])) / (len(values) - 1))
