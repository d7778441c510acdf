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


@njit(inline="always")
def _maximum(sides: Any, out: Any) -> None:
    """The maximum of four sides, which are stored one after the other."""
    width = len(out)
    up, right, down, left = _four(sides, width)
    for i in range(width):
        vertical = up[i] if up[i] > down[i] else down[i]
        horizontal = right[i] if right[i] > left[i] else left[i]
        out[i] = round_to_bf16(vertical if vertical > horizontal else horizontal, out[i])


@njit(inline="always")
def _sum(sides: Any, out: Any) -> None:
    """The sum of four sides, which are stored one after the other and overwritten."""
    width = len(out)
    up, right, down, left = _four(sides, width)
    # One loop for each pair of opposite sides: within a loop, the compiler may reorder sums.
    for i in range(width):
        up[i] += down[i]
    for i in range(width):
        right[i] += left[i]
    for i in range(width):
        out[i] = round_to_bf16(up[i] + right[i], out[i])


@njit(inline="always")
def _four(sides: Any, width: Any) -> Any:
    return sides[:width], sides[width : 2 * width], sides[2 * width : 3 * width], sides[3 * width :]


@njit(inline="always")
def _most_and_count(sides: Any, most: Any, count: Any) -> None:
    """The maximum of four sides, and how many of them have it."""
    width = len(most)
    for i in range(width):
        most[i], count[i] = sides[i], _ZERO
    for side in range(1, 4):
        own = sides[side * width : (side + 1) * width]
        for i in range(width):
            most[i] = own[i] if own[i] > most[i] else most[i]
    for side in range(4):
        own = sides[side * width : (side + 1) * width]
        for i in range(width):
            count[i] += _ONE if own[i] == most[i] else _ZERO


@njit(inline="always")
def _arriving(data: Any, projection: Any, position: Any, out: Any) -> None:
    """What the side at `position` sends across its edge; zero if it lies outside the grid, as −1."""
    width = len(out)
    if position < 0:
        for i in range(width):
            out[i] = _ZERO
    else:
        message = stored(data, projection, position * 3 * width, width)
        for i in range(width):
            out[i] = _silu(to_fp32(message[i]))


def gather(data: Any) -> None:
    """SiLU of the messages `[B, T, 3·H]`; what arrives across edges `[B, T, H]`, four messages of cells `[B, S, 4·H]`.

    These are the sum and the maximum of what the sides of a cell send to it, and of what arrives at them.
    """
    given = arguments(data)
    lines, columns, width = given[4], given[5], given[6]
    projection, arrived, of_cell = given[7], given[8], given[9]
    # Computed before they are added, so that all sides are rounded alike and rotations change nothing.
    values = np.empty(4 * width, np.float32)
    for row in own_rows(given):
        out = stored(data, of_cell, row * 4 * width, 4 * width)
        for kind in range(2):
            for side in range(4):
                message = stored(data, projection, ((4 * row + side) * 3 + 1 + kind) * width, width)
                own = values[side * width : (side + 1) * width]
                for i in range(width):
                    own[i] = _silu(to_fp32(message[i]))
            if kind == 0:
                _sum(values, out[:width])
            else:
                _maximum(values, out[width : 2 * width])
        for side in range(4):
            result = stored(data, arrived, (4 * row + side) * width, width)
            position = _touching(row, side, lines, columns)
            own = values[side * width : (side + 1) * width]
            _arriving(data, projection, position, own)
            for i in range(width):
                result[i] = round_to_bf16(own[i], result[i])
        _maximum(values, out[3 * width :])
        _sum(values, out[2 * width : 3 * width])


def arrivals_backward(data: Any) -> None:
    """The whole gradient of what arrives `[B, T, H]`: its own, and its part of those of the sums and maxima.

    Sides with equal maxima share the gradient, so that it is equivariant as well.
    """
    given = arguments(data)
    lines, columns, width = given[4], given[5], given[6]
    projection, for_arrived, for_cell, complete = given[7], given[8], given[9], given[10]
    most, count = np.empty(width, np.float32), np.empty(width, np.float32)
    # Kept, because a second computation may round differently, and then no side would equal the maximum.
    values = np.empty(4 * width, np.float32)
    for row in own_rows(given):
        of_cell = stored(data, for_cell, (4 * row + 2) * width, 2 * width)
        for side in range(4):
            position = _touching(row, side, lines, columns)
            own = values[side * width : (side + 1) * width]
            _arriving(data, projection, position, own)
        _most_and_count(values, most, count)
        for side in range(4):
            first = (4 * row + side) * width
            given_gradient = stored(data, for_arrived, first, width)
            out = stored(data, complete, first, width)
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                share = to_fp32(of_cell[width + i]) / count[i] if own[i] == most[i] else _ZERO
                total = to_fp32(given_gradient[i]) + to_fp32(of_cell[i]) + share
                out[i] = round_to_bf16(total, out[i])


def gather_backward(data: Any) -> None:
    """The gradient of the messages, from the messages, the result of `arrivals_backward` and the gradients of cells.

    Sides with equal maxima share the gradient, so that it is equivariant as well.
    """
    given = arguments(data)
    lines, columns, width = given[4], given[5], given[6]
    projection, for_arrived, for_cell, out = given[7], given[8], given[9], given[10]
    most, count = np.empty(width, np.float32), np.empty(width, np.float32)
    # Kept, because a second computation may round differently, and then no side would equal the maximum.
    values = np.empty(4 * width, np.float32)
    for row in own_rows(given):
        both = stored(data, for_cell, row * 4 * width, 2 * width)
        for side in range(4):
            message = stored(data, projection, ((4 * row + side) * 3 + 2) * width, width)
            own = values[side * width : (side + 1) * width]
            for i in range(width):
                own[i] = _silu(to_fp32(message[i]))
        _most_and_count(values, most, count)
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
                arrived = stored(data, for_arrived, position * width, width)
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
