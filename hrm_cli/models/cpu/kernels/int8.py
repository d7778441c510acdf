"""Kernels between int8 matmuls: rows of numbers become int8 with one scale per row, and int32 sums become numbers.

A row x of n numbers is stored as round(x ÷ s) with s = max |x| ÷ 127. The product with a weight row stored the same way
is an exact int32 sum, times both scales. Numbers are computed in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hrm_cli.models.cpu.kernels.numbers import (
    arguments,
    floats,
    int8s,
    int32s,
    largest,
    nearest_int8,
    own_rows,
    real,
    round_to_bf16,
    stored,
    to_fp32,
)

_ONE, _LARGEST = np.float32(1), np.float32(127)
_LOG2E, _MOST_BITS = np.float32(1.44269504088896341), np.float32(126)
# 2^f for 0 ≤ f ≤ 1, exact at both ends; the largest relative error is 1.1e-4.
_P1, _P2, _P3 = np.float32(0.69542435), np.float32(0.22630768), np.float32(0.07826797)


@njit(inline="always")
def _sigmoid(x: Any) -> Any:
    """1 ÷ (1 + e⁻ˣ) with a relative error of at most 1.1e-4, small against the rounding to int8."""
    bits = -x * _LOG2E
    bits = -_MOST_BITS if bits < -_MOST_BITS else bits
    bits = _MOST_BITS if bits > _MOST_BITS else bits
    whole = np.floor(bits)
    f = bits - whole
    power = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return _ONE / (_ONE + (((_P3 * f + _P2) * f + _P1) * f + _ONE) * power)


def quantize(data: Any) -> None:
    """Rows of `size` numbers as int8, with their scales."""
    given = arguments(data)
    size = given[4]
    for row in own_rows(given):
        x = stored(data, given[5], row * size, size)
        out = int8s(given[6], row * size, size)
        most = largest(x)
        floats(given[7], row, 1)[0] = most / _LARGEST
        factor = _LARGEST / most if most > np.float32(0) else _ONE
        for i in range(size):
            out[i] = nearest_int8(to_fp32(x[i]) * factor)


def silu_mul(data: Any) -> None:
    """silu(gate)·up as int8 with one scale per row, where gate and up are the halves of 2·`size` int32 sums.

    `scales` are those of the rows that were multiplied, `columns` those of the weight's rows.
    """
    given = arguments(data)
    size = given[4]
    gated = np.empty(size, np.float32)
    columns = floats(given[7], 0, 2 * size)
    for row in own_rows(given):
        gate = int32s(given[5], 2 * row * size, size)
        up = int32s(given[5], (2 * row + 1) * size, size)
        scale = floats(given[6], row, 1)[0]
        for i in range(size):
            g = np.float32(gate[i]) * (scale * columns[i])
            gated[i] = g * _sigmoid(g) * (np.float32(up[i]) * (scale * columns[size + i]))
        most = largest(gated)
        floats(given[9], row, 1)[0] = most / _LARGEST
        factor = _LARGEST / most if most > np.float32(0) else _ONE
        out = int8s(given[8], row * size, size)
        for i in range(size):
            out[i] = nearest_int8(gated[i] * factor)


def rescale(data: Any) -> None:
    """Rows of `size` int32 sums times the scales of their row and column, in the kernel's dtype."""
    given = arguments(data)
    size = given[4]
    columns = floats(given[7], 0, size)
    for row in own_rows(given):
        sums = int32s(given[5], row * size, size)
        scale = floats(given[6], row, 1)[0]
        out = stored(data, given[8], row * size, size)
        for i in range(size):
            out[i] = round_to_bf16(np.float32(sums[i]) * (scale * columns[i]), out[i])


def add_and_norm(data: Any) -> None:
    """The RMS norm of x plus int32 sums times the scales of their row and column, over rows of `size` numbers."""
    given = arguments(data)
    size, eps = given[4], real(given[5])
    columns = floats(given[9], 0, size)
    total = np.empty(size, np.float32)
    for row in own_rows(given):
        x = stored(data, given[6], row * size, size)
        sums = int32s(given[7], row * size, size)
        scale = floats(given[8], row, 1)[0]
        normed = stored(data, given[10], row * size, size)
        squares = np.float32(0)
        for i in range(size):
            both = to_fp32(x[i]) + np.float32(sums[i]) * (scale * columns[i])
            total[i] = both
            squares += both * both
        factor = _ONE / np.sqrt(squares / np.float32(size) + eps)
        for i in range(size):
            normed[i] = round_to_bf16(total[i] * factor, x[i])
