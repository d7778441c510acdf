"""Kernels over the rows of a block: add + RMS norm, fused SiLU-mul, and both backward passes.

Every kernel takes tasks of several rows each from the tensors whose addresses it receives. Numbers are stored in the
kernel's dtype and computed in float32.
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
    """normed = (x + y)·f with f = 1/√(mean((x + y)²) + eps), over rows of `size` numbers; also stores f."""
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
    """The gradient of the RMS norm's input, f·(g − x̂·mean(g·x̂)), from f, the output x̂ and its gradient g."""
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
    """gated = silu(gate)·up, where gate and up are the halves of a row of 2·`size` numbers."""
    given = arguments(data)
    size = given[4]
    for row in own_rows(given):
        gate = stored(data, given[5], 2 * row * size, size)
        up = stored(data, given[5], (2 * row + 1) * size, size)
        gated = stored(data, given[6], row * size, size)
        for i in range(size):
            g = to_fp32(gate[i])
            gated[i] = round_to_bf16(g * sigmoid(g) * to_fp32(up[i]), gate[i])


def silu_mul_backward(data: Any) -> None:
    """The gradients of gate and up, from the gradient of `gated`. Overwrites that gradient with `gated`, recomputed."""
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
