"""Kernels for the messages of the `edges` mixer: SiLU and gathering, and its backward pass.

Letters: B puzzles, S cells in `lines` × `columns`, T = 4·S positions (a cell's sides: up, right, down, left), H width.
Numbers are stored in the kernel's dtype and computed in float32. In all kernels, a row is one cell of a puzzle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hrm_cli.models.cpu.kernels.numbers import (
    arguments,
    own_rows,
    round_to_bf16,
    sigmoid,
    stored,
    to_fp32,
)

_ZERO, _ONE = np.float32(0), np.float32(1)


@njit(inline="always")
def _silu(x: Any) -> Any:
    return x * sigmoid(x)


@njit(inline="always")
def _touching(row: Any, side: Any, lines: Any, columns: Any) -> Any:
    """The position that touches this side of the cell `row`, or −1 at the border of the grid."""
    line, column = row // columns % lines, row % columns
    if side == 0:
        return 4 * (row - columns) + 2 if line > 0 else -1
    if side == 1:
        return 4 * (row + 1) + 3 if column < columns - 1 else -1
    if side == 2:
        return 4 * (row + columns) if line < lines - 1 else -1
    return 4 * (row - 1) + 1 if column > 0 else -1


def gather(data: Any) -> None:
    """SiLU of the messages `[B, T, 3·H]`; what comes across every edge `[B, T, H]`; sums and maxima `[B, S, 2·H]`."""
    given = arguments(data)
    lines, columns, width = given[4], given[5], given[6]
    projection, across, of_cell = given[7], given[8], given[9]
    both = 2 * width
    # Computed before they are added, so that all sides are rounded alike and rotations change nothing.
    values = np.empty(4 * both, np.float32)
    for row in own_rows(given):
        for side in range(4):
            out = stored(data, across, (4 * row + side) * width, width)
            position = _touching(row, side, lines, columns)
            if position < 0:
                for i in range(width):
                    out[i] = round_to_bf16(_ZERO, out[i])
            else:
                message = stored(data, projection, position * 3 * width, width)
                for i in range(width):
                    out[i] = round_to_bf16(_silu(to_fp32(message[i])), message[i])
        for side in range(4):
            messages = stored(data, projection, ((4 * row + side) * 3 + 1) * width, both)
            own = values[side * both : (side + 1) * both]
            for i in range(both):
                own[i] = _silu(to_fp32(messages[i]))
        up, right, down, left = (
            values[:both], values[both : 2 * both], values[2 * both : 3 * both], values[3 * both :]
        )  # fmt: skip
        out = stored(data, of_cell, row * both, both)
        # One loop for each pair of opposite sides: within a loop, the compiler may reorder sums.
        for i in range(width):
            up[i] += down[i]
        for i in range(width):
            right[i] += left[i]
        for i in range(width):
            out[i] = round_to_bf16(up[i] + right[i], out[i])
        for i in range(width, both):
            vertical = up[i] if up[i] > down[i] else down[i]
            horizontal = right[i] if right[i] > left[i] else left[i]
            out[i] = round_to_bf16(vertical if vertical > horizontal else horizontal, out[i])


def gather_backward(data: Any) -> None:
    """The gradient of the messages, from the messages and the gradients of the outputs of `gather`.

    Sides with equal maxima share the gradient, so that it is equivariant as well.
    """
    given = arguments(data)
    lines, columns, width = given[4], given[5], given[6]
    projection, for_across, for_cell, out = given[7], given[8], given[9], given[10]
    most, count = np.empty(width, np.float32), np.empty(width, np.float32)
    # Kept, because a second computation may round differently, and then no side would equal the maximum.
    values = np.empty(4 * width, np.float32)
    for row in own_rows(given):
        both = stored(data, for_cell, row * 2 * width, 2 * width)
        for side in range(4):
            message = stored(data, projection, ((4 * row + side) * 3 + 2) * width, width)
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                own[i] = _silu(to_fp32(message[i]))
        for i in range(width):
            most[i], count[i] = values[i], _ZERO
        for side in range(1, 4):
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                most[i] = own[i] if own[i] > most[i] else most[i]
        for side in range(4):
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                count[i] += _ONE if own[i] == most[i] else _ZERO
        for side in range(4):
            first = (4 * row + side) * 3 * width
            message = stored(data, projection, first, 3 * width)
            gradient = stored(data, out, first, 3 * width)
            # What this side sends arrives at the side that it touches.
            position = _touching(row, side, lines, columns)
            if position < 0:
                for i in range(width):
                    gradient[i] = round_to_bf16(_ZERO, message[i])
            else:
                arrived = stored(data, for_across, position * width, width)
                for i in range(width):
                    x = to_fp32(message[i])
                    s = sigmoid(x)
                    gradient[i] = round_to_bf16(to_fp32(arrived[i]) * s * (_ONE + x - x * s), message[i])
            for i in range(width, 2 * width):
                x = to_fp32(message[i])
                s = sigmoid(x)
                gradient[i] = round_to_bf16(to_fp32(both[i - width]) * s * (_ONE + x - x * s), message[i])
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                x = to_fp32(message[2 * width + i])
                s = sigmoid(x)
                share = to_fp32(both[width + i]) / count[i] if own[i] == most[i] else _ZERO
                gradient[2 * width + i] = round_to_bf16(share * s * (_ONE + x - x * s), message[i])
