"""Attention kernels: splitting into rotated heads, its backward pass, and softmax.

Letters: B batch, S positions, P padded positions, N heads, D head size. Numbers are stored in the kernel's dtype and
computed in float32. The rotation tables are `[S, D/2]` float32; if D is odd, the last number is not rotated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hrm_cli.models.cpu.kernels.numbers import (
    arguments,
    exp,
    floats,
    from_ordered,
    ordered,
    own_rows,
    real,
    round_to_bf16,
    stored,
    to_fp32,
)


def split_heads(data: Any) -> None:
    """`[B, S, 3, N, D]` → q `[B, N, S, D]` scaled and rotated; k rotated and v, both `[B, N, P, D]` padded with zeros.

    A row is one head of one puzzle.
    """
    given = arguments(data)
    positions, padded, heads, size, scale = given[4], given[5], given[6], given[7], real(given[8])
    cosines, sines, projection, q, k, v = given[9], given[10], given[11], given[12], given[13], given[14]
    half, zero = size // 2, np.float32(0)
    for row in own_rows(given):
        puzzle, head = row // heads, row % heads
        for part in range(2):
            by = scale if part == 0 else np.float32(1)
            to, place = (q, row * positions) if part == 0 else (k, row * padded)
            for position in range(positions):
                cos = floats(cosines, position * half, half)
                sin = floats(sines, position * half, half)
                start = (((puzzle * positions + position) * 3 + part) * heads + head) * size
                first = stored(data, projection, start, half)
                second = stored(data, projection, start + half, half)
                to_first = stored(data, to, (place + position) * size, half)
                to_second = stored(data, to, (place + position) * size + half, half)
                for i in range(half):
                    x, y, c, s = to_fp32(first[i]), to_fp32(second[i]), cos[i] * by, sin[i] * by
                    to_first[i] = round_to_bf16(x * c - y * s, first[i])
                    to_second[i] = round_to_bf16(y * c + x * s, first[i])
                if size % 2:
                    last = stored(data, projection, start + size - 1, 1)
                    stored(data, to, (place + position + 1) * size - 1, 1)[0] = round_to_bf16(
                        to_fp32(last[0]) * by, last[0]
                    )
        for position in range(positions):
            start = (((puzzle * positions + position) * 3 + 2) * heads + head) * size
            value = stored(data, projection, start, size)
            to_value = stored(data, v, (row * padded + position) * size, size)
            for i in range(size):
                to_value[i] = value[i]
        spare = (padded - positions) * size
        spare_key = stored(data, k, (row * padded + positions) * size, spare)
        spare_value = stored(data, v, (row * padded + positions) * size, spare)
        for i in range(spare):
            spare_key[i] = round_to_bf16(zero, spare_key[i])
            spare_value[i] = round_to_bf16(zero, spare_key[i])


def join_heads(data: Any) -> None:
    """The backward pass of `split_heads`: gradients of q, k and v → gradient of `[B, S, 3, N, D]`, without padding.

    A row is one position of one puzzle.
    """
    given = arguments(data)
    positions, padded, heads, size, scale = given[4], given[5], given[6], given[7], real(given[8])
    cosines, sines, projection, q, k, v = given[9], given[10], given[11], given[12], given[13], given[14]
    half = size // 2
    for row in own_rows(given):
        puzzle, position = row // positions, row % positions
        cos, sin = floats(cosines, position * half, half), floats(sines, position * half, half)
        for part in range(2):
            by = scale if part == 0 else np.float32(1)
            source, length = (q, positions) if part == 0 else (k, padded)
            for head in range(heads):
                place = ((puzzle * heads + head) * length + position) * size
                from_first = stored(data, source, place, half)
                from_second = stored(data, source, place + half, half)
                start = ((row * 3 + part) * heads + head) * size
                first = stored(data, projection, start, half)
                second = stored(data, projection, start + half, half)
                for i in range(half):
                    x, y, c, s = to_fp32(from_first[i]), to_fp32(from_second[i]), cos[i] * by, sin[i] * by
                    first[i] = round_to_bf16(x * c + y * s, from_first[i])
                    second[i] = round_to_bf16(y * c - x * s, from_first[i])
                if size % 2:
                    last = stored(data, source, place + size - 1, 1)
                    stored(data, projection, start + size - 1, 1)[0] = round_to_bf16(
                        to_fp32(last[0]) * by, last[0]
                    )
        for head in range(heads):
            value = stored(data, projection, ((row * 3 + 2) * heads + head) * size, size)
            from_value = stored(data, v, ((puzzle * heads + head) * padded + position) * size, size)
            for i in range(size):
                value[i] = from_value[i]


def softmax(data: Any) -> None:
    """Softmax in place over the first `count` of the `size` numbers of each row; the others are set to zero."""
    given = arguments(data)
    size, count = given[4], given[5]
    scratch = np.empty(size, np.float32)
    for row in own_rows(given):
        scores = stored(data, given[6], row * size, size)
        highest = ordered(to_fp32(scores[0]))
        for i in range(count):
            highest = max(highest, ordered(to_fp32(scores[i])))
        shift = from_ordered(highest)
        for i in range(size):
            scratch[i] = exp(to_fp32(scores[i]) - shift) if i < count else np.float32(0)
        total = np.float32(0)
        for i in range(size):
            total += scratch[i]
        share = np.float32(1) / total
        for i in range(size):
            scores[i] = round_to_bf16(scratch[i] * share, scores[0])
