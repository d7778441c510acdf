"""How far an accuracy measured on n puzzles may be from the true one."""

from __future__ import annotations

import math

_Z = 1.959964
"""Of the normal distribution, for 95 %."""


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share `share` of `count` trials (Wilson 1927); (0, 1) without any trial."""
    if count == 0:
        return 0.0, 1.0
    z2 = _Z * _Z / count
    center = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return max(0.0, center - half), min(1.0, center + half)
