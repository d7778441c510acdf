"""Passes over the rows of a block: sums and their RMS norm, fused SiLU-mul, and both backward passes.

Every kernel takes tasks: so many rows each, of the tensors whose addresses it is given. Numbers are stored in the
kernel's own type, computed in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hrm_cli.models.cpu.kernels.numbers import (
    arguments,
    floats,
    own_rows,
    real,
    round_to_bf16,
    sigmoid,
    stored,
    to_fp32,
)

_ONE = np.float32(1)


def add_and_norm(data: Any) -> None:
    """normed = (x + y)·f, f = 1/√(mean((x + y)²) + eps), over rows of `size` numbers; keeps f."""
    given = arguments(data)
    size, eps = given[4], real(given[5])
    for row in own_rows(given):
        x = stored(data, given[6], row * size, size)
        y = stored(data, given[7], row * size, size)
        normed = stored(data, given[8], row * size, size)
        squares = np.float32(0)
        for i in range(size):
            both = to_fp32(x[i]) + to_fp32(y[i])
            squares += both * both
        factor = _ONE / np.sqrt(squares / np.float32(size) + eps)
        floats(given[9], row, 1)[0] = factor
        for i in range(size):
            normed[i] = round_to_bf16((to_fp32(x[i]) + to_fp32(y[i])) * factor, x[i])


def norm_backward(data: Any) -> None:
    """What a gradient of the norm is for the sum that was normed: f·(g − x̂·mean(g·x̂)), from f and x̂."""
    given = arguments(data)
    size = given[4]
    for row in own_rows(given):
        gradient = stored(data, given[5], row * size, size)
        normed = stored(data, given[6], row * size, size)
        factor = floats(given[7], row, 1)[0]
        out = stored(data, given[8], row * size, size)
        along = np.float32(0)
        for i in range(size):
            along += to_fp32(gradient[i]) * to_fp32(normed[i])
        along /= np.float32(size)
        for i in range(size):
            out[i] = round_to_bf16((to_fp32(gradient[i]) - to_fp32(normed[i]) * along) * factor, normed[i])


def silu_mul(data: Any) -> None:
    """opened = silu(gate)·up, gate and up the halves of a row of 2·`size` numbers."""
    given = arguments(data)
    size = given[4]
    for row in own_rows(given):
        gate = stored(data, given[5], 2 * row * size, size)
        up = stored(data, given[5], (2 * row + 1) * size, size)
        opened = stored(data, given[6], row * size, size)
        for i in range(size):
            g = to_fp32(gate[i])
            opened[i] = round_to_bf16(g * sigmoid(g) * to_fp32(up[i]), gate[i])


def silu_mul_backward(data: Any) -> None:
    """From the gradient of `opened` those of gate and up; where the gradient was, `opened` is put again."""
    given = arguments(data)
    size = given[4]
    for row in own_rows(given):
        gate = stored(data, given[5], 2 * row * size, size)
        up = stored(data, given[5], (2 * row + 1) * size, size)
        gradient = stored(data, given[6], row * size, size)
        for_gate = stored(data, given[7], 2 * row * size, size)
        for_up = stored(data, given[7], (2 * row + 1) * size, size)
        for i in range(size):
            g, u, d = to_fp32(gate[i]), to_fp32(up[i]), to_fp32(gradient[i])
            share = sigmoid(g)
            silu = g * share
            for_gate[i] = round_to_bf16(d * u * share * (_ONE + g - silu), gate[i])
            for_up[i] = round_to_bf16(d * silu, gate[i])
            gradient[i] = round_to_bf16(silu * u, gate[i])
