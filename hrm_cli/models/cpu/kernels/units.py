"""Kernels for the messages of the `units` mixer: averages along units and over symbols, and their backward passes.

Letters: B puzzles, S cells, D symbols, T = S·D positions, U units, M message width, H hidden size, N heads with
A = M/N numbers per symbol, P padded cells. `shares` is `[U, S]` float32: the weight of a cell in a unit's average,
0 if the cell is not in the unit. Numbers are stored in the kernel's dtype and computed in float32.
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

_ZERO, _ONE = np.float32(0), np.float32(1)


def average(data: Any) -> None:
    """SiLU of the messages, averaged over units `[U, B, D, M]` and over symbols `[B, S, M]`; also splits heads.

    The projection is `[B, T, 2·M]`, or `[B, T, 5·M]` with attention. Then q is `[B, N, S, D·A]` and scaled; k and v
    are `[B, N, P, D·A]` and padded with zeros. A row is one puzzle.
    """
    given = arguments(data)
    cells, symbols, units, width, heads, padded = given[4], given[5], given[6], given[7], given[8], given[9]
    puzzles, scale, projection = given[2], real(given[10]), given[12]
    table = floats(given[11], 0, units * cells)
    length = (5 if heads else 2) * width
    each = symbols * width
    sums = np.empty(units * each, np.float32)
    activated = np.empty(each, np.float32)
    of_cell = np.empty(width, np.float32)
    size = width // heads if heads else 0
    for puzzle in own_rows(given):
        for i in range(units * each):
            sums[i] = _ZERO
        for cell in range(cells):
            start = (puzzle * cells + cell) * symbols * length
            for i in range(width):
                of_cell[i] = _ZERO
            for symbol in range(symbols):
                to_units = stored(data, projection, start + symbol * length, width)
                to_cell = stored(data, projection, start + symbol * length + width, width)
                own = activated[symbol * width : (symbol + 1) * width]
                for i in range(width):
                    x = to_fp32(to_units[i])
                    own[i] = x * sigmoid(x)
                for i in range(width):
                    x = to_fp32(to_cell[i])
                    of_cell[i] += x * sigmoid(x)
            for unit in range(units):
                share = table[unit * cells + cell]
                if share != _ZERO:
                    total = sums[unit * each : (unit + 1) * each]
                    for i in range(each):
                        total[i] += share * activated[i]
            out = stored(data, given[14], (puzzle * cells + cell) * width, width)
            for i in range(width):
                out[i] = round_to_bf16(of_cell[i] / np.float32(symbols), out[i])
            if heads:
                for part in range(3):
                    to = given[15 + part]
                    rows = cells if part == 0 else padded
                    by = scale if part == 0 else _ONE
                    for head in range(heads):
                        place = ((puzzle * heads + head) * rows + cell) * symbols * size
                        for symbol in range(symbols):
                            first = start + symbol * length + (2 + part) * width + head * size
                            source = stored(data, projection, first, size)
                            target = stored(data, to, place + symbol * size, size)
                            for i in range(size):
                                target[i] = round_to_bf16(to_fp32(source[i]) * by, source[i])
        for unit in range(units):
            out = stored(data, given[13], (unit * puzzles + puzzle) * each, each)
            total = sums[unit * each : (unit + 1) * each]
            for i in range(each):
                out[i] = round_to_bf16(total[i], out[i])
        spare = (padded - cells) * symbols * size
        for head in range(heads):
            place = ((puzzle * heads + head) * padded + cells) * symbols * size
            spare_key = stored(data, given[16], place, spare)
            spare_value = stored(data, given[17], place, spare)
            for i in range(spare):
                spare_key[i] = round_to_bf16(_ZERO, spare_key[i])
                spare_value[i] = round_to_bf16(_ZERO, spare_value[i])


def average_backward(data: Any) -> None:
    """The gradient of the projection, from the projection and the gradients of the outputs of `average`.

    A row is one cell of a puzzle.
    """
    given = arguments(data)
    cells, symbols, units, width, heads, padded = given[4], given[5], given[6], given[7], given[8], given[9]
    puzzles, scale, projection, out = given[2] // cells, real(given[10]), given[12], given[18]
    table = floats(given[11], 0, units * cells)
    length = (5 if heads else 2) * width
    each = symbols * width
    sums = np.empty(each, np.float32)
    size = width // heads if heads else 0
    for row in own_rows(given):
        puzzle, cell = row // cells, row % cells
        for i in range(each):
            sums[i] = _ZERO
        for unit in range(units):
            share = table[unit * cells + cell]
            if share != _ZERO:
                of_unit = stored(data, given[13], (unit * puzzles + puzzle) * each, each)
                for i in range(each):
                    sums[i] += share * to_fp32(of_unit[i])
        of_cell = stored(data, given[14], row * width, width)
        for symbol in range(symbols):
            start = (row * symbols + symbol) * length
            own = sums[symbol * width : (symbol + 1) * width]
            to_units = stored(data, projection, start, width)
            to_cell = stored(data, projection, start + width, width)
            for_units = stored(data, out, start, width)
            for_cell = stored(data, out, start + width, width)
            for i in range(width):
                x = to_fp32(to_units[i])
                s = sigmoid(x)
                for_units[i] = round_to_bf16(own[i] * s * (_ONE + x - x * s), to_units[i])
            for i in range(width):
                x = to_fp32(to_cell[i])
                s = sigmoid(x)
                for_cell[i] = round_to_bf16(
                    to_fp32(of_cell[i]) / np.float32(symbols) * s * (_ONE + x - x * s), to_cell[i]
                )
        if heads:
            for part in range(3):
                rows = cells if part == 0 else padded
                by = scale if part == 0 else _ONE
                for head in range(heads):
                    place = ((puzzle * heads + head) * rows + cell) * symbols * size
                    for symbol in range(symbols):
                        first = (row * symbols + symbol) * length + (2 + part) * width + head * size
                        source = stored(data, given[15 + part], place + symbol * size, size)
                        target = stored(data, out, first, size)
                        for i in range(size):
                            target[i] = round_to_bf16(to_fp32(source[i]) * by, source[i])


def add_messages_and_norm(data: Any) -> None:
    """The RMS norm of x `[B, T, H]` plus the messages from units, from the cell and, with attention, from other cells.

    Messages from units are `[U, B, D, H]`, from the cell `[B, S, H]`, from other cells `[B, T, H]`. Also stores the
    factors of the norm. A row is one cell of a puzzle.
    """
    given = arguments(data)
    cells, symbols, units, size, attends, eps = (
        given[4],
        given[5],
        given[6],
        given[7],
        given[8],
        real(given[9]),
    )
    puzzles = given[2] // cells
    table = floats(given[10], 0, units * cells)
    each = symbols * size
    sums = np.empty(each, np.float32)
    for row in own_rows(given):
        puzzle, cell = row // cells, row % cells
        x = stored(data, given[11], row * each, each)
        of_cell = stored(data, given[13], row * size, size)
        for symbol in range(symbols):
            own = sums[symbol * size : (symbol + 1) * size]
            own_x = x[symbol * size : (symbol + 1) * size]
            for i in range(size):
                own[i] = to_fp32(own_x[i]) + to_fp32(of_cell[i])
        if attends:
            of_others = stored(data, given[14], row * each, each)
            for i in range(each):
                sums[i] += to_fp32(of_others[i])
        for unit in range(units):
            if table[unit * cells + cell] != _ZERO:
                of_unit = stored(data, given[12], (unit * puzzles + puzzle) * each, each)
                for i in range(each):
                    sums[i] += to_fp32(of_unit[i])
        factors = floats(given[16], row * symbols, symbols)
        for symbol in range(symbols):
            own = sums[symbol * size : (symbol + 1) * size]
            squares = _ZERO
            for i in range(size):
                squares += own[i] * own[i]
            factor = _ONE / np.sqrt(squares / np.float32(size) + eps)
            factors[symbol] = factor
            normed = stored(data, given[15], (row * symbols + symbol) * size, size)
            for i in range(size):
                normed[i] = round_to_bf16(own[i] * factor, normed[i])


def add_messages_backward(data: Any) -> None:
    """The backward pass of `add_messages_and_norm`: the gradients of x and of the messages. A row is one puzzle."""
    given = arguments(data)
    cells, symbols, units, size = given[4], given[5], given[6], given[7]
    puzzles = given[2]
    table = floats(given[8], 0, units * cells)
    each = symbols * size
    sums = np.empty(units * each, np.float32)
    of_cell = np.empty(size, np.float32)
    own = np.empty(each, np.float32)
    for puzzle in own_rows(given):
        for i in range(units * each):
            sums[i] = _ZERO
        for cell in range(cells):
            row = puzzle * cells + cell
            factors = floats(given[11], row * symbols, symbols)
            for i in range(size):
                of_cell[i] = _ZERO
            for symbol in range(symbols):
                start = (row * symbols + symbol) * size
                gradient = stored(data, given[9], start, size)
                normed = stored(data, given[10], start, size)
                out = stored(data, given[12], start, size)
                mine = own[symbol * size : (symbol + 1) * size]
                along = _ZERO
                for i in range(size):
                    along += to_fp32(gradient[i]) * to_fp32(normed[i])
                along /= np.float32(size)
                factor = factors[symbol]
                for i in range(size):
                    g = (to_fp32(gradient[i]) - to_fp32(normed[i]) * along) * factor
                    mine[i] = g
                    of_cell[i] += g
                    out[i] = round_to_bf16(g, normed[i])
            for_cell = stored(data, given[14], row * size, size)
            for i in range(size):
                for_cell[i] = round_to_bf16(of_cell[i], for_cell[i])
            for unit in range(units):
                if table[unit * cells + cell] != _ZERO:
                    total = sums[unit * each : (unit + 1) * each]
                    for i in range(each):
                        total[i] += own[i]
        for unit in range(units):
            for_unit = stored(data, given[13], (unit * puzzles + puzzle) * each, each)
            total = sums[unit * each : (unit + 1) * each]
            for i in range(each):
                for_unit[i] = round_to_bf16(total[i], for_unit[i])
