"""Confidence intervals of accuracies measured on n puzzles."""

from __future__ import annotations

import math

_Z = 1.959964
"""Quantile of the normal distribution for a 95 % interval."""


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval (Wilson 1927) of a fraction `share` of `count` trials; (0, 1) if `count` is 0."""
    if count == 0:
        return 0.0, 1.0
    z2 = _Z * _Z / count
    center = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return max(0.0, center - half), min(1.0, center + half)
