"""Building blocks of the kernels: bfloat16 conversion, elementary functions, and access to arguments.

The number functions compile to vector instructions: no branches, no calls, bits manipulated by integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, njit, types
from numba.extending import intrinsic, overload

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Sums may be reordered, but NaN must be preserved, because divergence is detected by it."""

# exp(r) on |r| ≤ ½·ln 2, with ln 2 split in two parts (Cephes, expf). The error is at most 2 ulp in float32.
_LOG2E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(c)
    for c in (
        1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
    )
)  # fmt: skip
# atan(t) on |t| ≤ tan(π/8) (Cephes, atanf), equally accurate.
_A0, _A1, _A2, _A3 = (
    np.float32(c) for c in (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
)
_TAN_PI_8, _PI_4, _PI_2 = np.float32(0.4142135623730950), np.float32(np.pi / 4), np.float32(np.pi / 2)
_SMALLEST = np.float32(1.1754943508222875e-38)
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)
_HALF, _ONE = np.float32(0.5), np.float32(1.0)


def _intrinsic(function: Callable[..., Any]) -> Any:
    """numba's `intrinsic`, retyped: numba itself supplies the first parameter of the function."""
    return intrinsic(function)


def to_fp32(x: Any) -> Any:
    """Converts a stored number (bfloat16 bits or float32) to float32."""


def round_to_bf16(x: Any, like: Any) -> Any:
    """Converts a float32 to the stored type of `like`, rounding to nearest even."""


@overload(to_fp32, strict=False, inline="always")
def _to_fp32(x: Any) -> Any:
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(round_to_bf16, strict=False, inline="always")
def _round_to_bf16(x: Any, like: Any) -> Any:
    if like == types.uint16:

        def to_bfloat16(x: Any, like: Any) -> Any:
            bits = np.float32(x).view(np.uint32)
            return np.uint16(
                (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            )

        return to_bfloat16
    return lambda x, like: np.float32(x)


@njit(inline="always")
def exp(x: Any) -> Any:
    """eˣ in float32, with x clamped to −87..88."""
    x = _LEAST if x < _LEAST else x
    x = _MOST if x > _MOST else x
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * r * r + r + _ONE) * power


@njit(inline="always")
def sigmoid(x: Any) -> Any:
    """1 ÷ (1 + e⁻ˣ) in float32."""
    return _ONE / (_ONE + exp(-x))


@njit(inline="always")
def atan2_right(y: Any, x: Any) -> Any:
    """atan2(y, x) in float32 for x ≥ 0; 0 if both are 0."""
    rise = abs(y)
    low, high = (x, rise) if rise > x else (rise, x)
    # Beyond tan(π/8): atan(t) = π/4 + atan((t − 1)/(t + 1)).
    beyond = low > _TAN_PI_8 * high
    above = low - high if beyond else low
    below = low + high if beyond else high
    t = above / max(below, _SMALLEST)
    z = t * t
    angle = t + t * z * (((_A0 * z + _A1) * z + _A2) * z + _A3)
    angle = angle + _PI_4 if beyond else angle
    angle = _PI_2 - angle if rise > x else angle
    return -angle if y < np.float32(0) else angle


@njit(inline="always")
def ordered(x: Any) -> Any:
    """Maps a float32 to an int32 with the same ordering (NaN at an end), so that max needs no branches."""
    bits = np.float32(x).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(inline="always")
def from_ordered(rank: Any) -> Any:
    """The inverse of `ordered`."""
    rank = np.int32(rank)
    return np.int32(rank ^ ((rank >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


@_intrinsic
def arguments(typingctx: Any, data: Any) -> Any:
    """The kernel's argument array of int64: tasks taken, tasks, rows, rows per task, then its own arguments."""

    def pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64).as_pointer())

    return types.CPointer(types.int64)(data), pointer


@_intrinsic
def _taken(typingctx: Any, counter: Any) -> Any:
    def add_one(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), add_one


@njit
def own_rows(given: Any) -> Any:
    """Yields the rows of the tasks that this thread takes, until no task is left.

    A thread may take several tasks, because the system may have granted fewer threads than requested.
    """
    tasks, rows, per_task = given[1], given[2], given[3]
    task = _taken(given)
    while task < tasks:
        for row in range(task * per_task, min((task + 1) * per_task, rows)):  # noqa: UP028
            yield row
        task = _taken(given)


@_intrinsic
def _as_pointer(typingctx: Any, address: Any, like: Any) -> Any:
    def pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return like(address, like), pointer


def _pointer_to(number: Any) -> Any:
    """An intrinsic that turns an address into a pointer to numbers of this numba type."""

    def convert(typingctx: Any, address: Any) -> Any:
        def pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(number)(address), pointer

    return _intrinsic(convert)


_as_float32, _as_int8, _as_int32 = map(_pointer_to, (types.float32, types.int8, types.int32))


def _size(data: Any) -> Any:
    """Bytes of a stored number, determined by the type of the kernel's only parameter."""


@overload(_size, strict=False, inline="always")
def _size_of(data: Any) -> Any:
    size = 2 if data == types.CPointer(types.uint16) else 4
    return lambda data: size


@njit(inline="always")
def stored(data: Any, address: Any, first: Any, count: Any) -> Any:
    """An array view of `count` stored numbers, starting at index `first` from an address."""
    return carray(_as_pointer(address + first * _size(data), data), count)


@njit(inline="always")
def floats(address: Any, first: Any, count: Any) -> Any:
    """An array view of `count` float32 numbers, starting at index `first` from an address."""
    return carray(_as_float32(address + first * 4), count)


@njit(inline="always")
def int8s(address: Any, first: Any, count: Any) -> Any:
    """An array view of `count` int8 numbers, starting at index `first` from an address."""
    return carray(_as_int8(address + first), count)


@njit(inline="always")
def int32s(address: Any, first: Any, count: Any) -> Any:
    """An array view of `count` int32 numbers, starting at index `first` from an address."""
    return carray(_as_int32(address + first * 4), count)


@njit(inline="always")
def largest(numbers: Any) -> Any:
    """The largest absolute value in float32; NaN if there is one."""
    most = np.int32(0)
    for i in range(len(numbers)):
        # Bits without the sign are ordered like absolute values, NaN last. A maximum of integers needs no branches.
        most = max(most, np.int32(np.float32(to_fp32(numbers[i])).view(np.int32) & np.int32(0x7FFFFFFF)))
    return np.int32(most).view(np.float32)


@njit(inline="always")
def nearest_int8(x: Any) -> Any:
    """The nearest int8 of a float32 between −127 and 127."""
    return np.int8(np.int32(np.floor(x + _HALF)))


@njit(inline="always")
def real(bits: Any) -> Any:
    """A float argument, passed as its float64 bits, as float32."""
    return np.float32(np.int64(bits).view(np.float64))
