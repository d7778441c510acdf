"""AdamATan2's update in one pass over parameters, gradients and both moments, and the sum of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from hrm_cli.models.cpu.kernels.launch import NUMBERS_PER_ROW as ROW
from hrm_cli.models.cpu.kernels.numbers import (
    arguments,
    atan2_right,
    floats,
    own_rows,
    real,
    stored,
    to_fp32,
)


def adam_atan2(data: Any) -> None:
    """p ← p·keep; m ← m + (g − m)·(1−β1); v ← v·β2 + g²·(1−β2); p ← p − rate·atan2(m, √v·correction).

    A row is a chunk of `NUMBERS_PER_ROW` of the `count` numbers. All numbers are float32.
    """
    given = arguments(data)
    count = given[4]
    keep, new_first, beta2, new_second = real(given[5]), real(given[6]), real(given[7]), real(given[8])
    correction, rate = real(given[9]), real(given[10])
    for row in own_rows(given):
        start, size = row * ROW, min(ROW, count - row * ROW)
        p, g = stored(data, given[11], start, size), stored(data, given[12], start, size)
        m, v = stored(data, given[13], start, size), stored(data, given[14], start, size)
        for i in range(size):
            gradient = g[i]
            first = m[i] + (gradient - m[i]) * new_first
            second = v[i] * beta2 + gradient * gradient * new_second
            m[i] = first
            v[i] = second
            p[i] = p[i] * keep - rate * atan2_right(first, np.sqrt(second) * correction)


def add_gradient(data: Any) -> None:
    """total ← total + gradient, where the total is float32. A row is a chunk, as in `adam_atan2`."""
    given = arguments(data)
    count = given[4]
    for row in own_rows(given):
        start, size = row * ROW, min(ROW, count - row * ROW)
        gradient, total = stored(data, given[5], start, size), floats(given[6], start, size)
        for i in range(size):
            total[i] += to_fp32(gradient[i])
