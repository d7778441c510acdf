"""Writes WebAssembly functions as bytes: locals, loops, loads and stores, arithmetic on four float32 numbers at a time.

An expression is the bytes that leave its value on the stack; a statement leaves nothing. `Function` numbers the locals.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

I32, F32, V128 = 0x7F, 0x7D, 0x7B
_KINDS = {"i": I32, "f": F32}


class Function:
    """A function under construction: parameters first, then locals."""

    def __init__(self, name: str, parameters: str) -> None:
        self.name = name
        self.kinds = [_KINDS[kind] for kind in parameters]
        self._own: list[int] = []
        self.body = b""

    @property
    def parameters(self) -> range:
        """Their numbers."""
        return range(len(self.kinds))

    def local(self, kind: int, count: int = 1) -> range:
        """New locals of one kind: I32, F32 or V128."""
        first = len(self.kinds) + len(self._own)
        self._own += [kind] * count
        return range(first, first + count)

    def counters(self, count: int) -> range:
        """New locals for addresses and counters."""
        return self.local(I32, count)

    def code(self) -> bytes:
        """The entry in the module's section of code."""
        return sized(vector([leb(1) + bytes([kind]) for kind in self._own]) + self.body + b"\x0b")


def module_of(functions: Sequence[Function]) -> bytes:
    """The binary module. It imports its memory as `env.memory` and exports every function by its name."""
    types = [b"\x60" + vector([bytes([kind]) for kind in one.kinds]) + b"\0" for one in functions]
    exports = [_name(one.name) + b"\0" + leb(number) for number, one in enumerate(functions)]
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            _section(1, vector(types)),
            _section(2, b"\x01" + _name("env") + _name("memory") + b"\x02\0\0"),
            _section(3, vector([leb(number) for number in range(len(functions))])),
            _section(7, vector(exports)),
            _section(10, vector([one.code() for one in functions])),
        )
    )


def leb(value: int) -> bytes:
    """An unsigned number in LEB128."""
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


def const(value: int) -> bytes:
    """A whole number from 0 to 8191."""
    # Signed: in a single byte, 64 and more would be negative; so would 8192 in two.
    return b"\x41" + (leb(value) if value < 64 else bytes([value & 0x7F | 0x80, value >> 7]))


def get(local: int) -> bytes:
    """The value of a local."""
    return b"\x20" + leb(local)


def put(local: int, value: bytes) -> bytes:
    """Assigns."""
    return value + b"\x21" + leb(local)


def plus(local: int, step: bytes) -> bytes:
    """Adds to a local."""
    return put(local, get(local) + step + b"\x6a")


def times(first: bytes, second: bytes) -> bytes:
    """The product of two whole numbers."""
    return first + second + b"\x6c"


def total(first: bytes, second: bytes) -> bytes:
    """The sum of two whole numbers."""
    return first + second + b"\x6a"


def loop(*body: bytes) -> bytes:
    """Repeats while a statement of `countdown` or `below` at its end says so."""
    return b"\x03\x40" + b"".join(body) + b"\x0b"


def countdown(local: int, step: int) -> bytes:
    """Subtracts, and continues the innermost loop unless the result is zero."""
    return get(local) + const(step) + b"\x6b\x22" + leb(local) + b"\x0d\0"


def below(local: int, limit: bytes) -> bytes:
    """Continues the innermost loop if a local is smaller."""
    return get(local) + limit + b"\x49\x0d\0"


def load(address: bytes, offset: int = 0) -> bytes:
    """Four numbers from memory."""
    return address + b"\xfd\0\x02" + leb(offset)


def load_splat(address: bytes) -> bytes:
    """One number from memory, four times."""
    return address + b"\xfd\x09\x02\0"


def store(address: bytes, value: bytes, offset: int = 0) -> bytes:
    """Four numbers to memory."""
    return address + value + b"\xfd\x0b\x02" + leb(offset)


def four(value: float) -> bytes:
    """A constant, four times."""
    return b"\xfd\x0c" + 4 * struct.pack("<f", value)


def whole_four(value: int) -> bytes:
    """A whole constant, four times."""
    return b"\xfd\x0c" + 4 * struct.pack("<i", value)


def splat(number: bytes) -> bytes:
    """A float32 number, four times."""
    return number + b"\xfd\x13"


def lane(local: int, number: int) -> bytes:
    """One of the four numbers of a local."""
    return get(local) + b"\xfd\x1f" + bytes([number])


def _operation(code: int) -> bytes:
    return b"\xfd" + leb(code)


ADD, SUB, MUL, DIV, MAX = (_operation(code) for code in (0xE4, 0xE5, 0xE6, 0xE7, 0xEB))
"""On four float32 numbers each; they follow their two operands."""
MIN, NEG, NEAREST, TRUNCATE = (_operation(code) for code in (0xEA, 0xE1, 0x6A, 0xF8))
SHIFT, WHOLE_ADD = _operation(0xAB), _operation(0xAE)
MADD = _operation(0x105)
"""a · b + c of the three before it, rounded once where the processor can: part of relaxed SIMD."""
NUMBER_ADD, NUMBER_MUL, NUMBER_DIV, NUMBER_MAX, NUMBER_ROOT = b"\x92", b"\x94", b"\x95", b"\x97", b"\x91"
"""On single float32 numbers."""


def number(value: float) -> bytes:
    """A float32 constant."""
    return b"\x43" + struct.pack("<f", value)


def number_of(count: bytes) -> bytes:
    """A whole number as float32."""
    return count + b"\xb3"


def folded(local: int, operation: bytes) -> bytes:
    """The four numbers of a local combined into one: NUMBER_ADD or NUMBER_MAX."""
    return lane(local, 0) + b"".join(lane(local, other) + operation for other in (1, 2, 3))


def exponential(function: Function, value: bytes, into: int) -> bytes:
    """Assigns e to the power of four numbers, with a relative error below 2e-7.

    Between about −87 and 88; below and above, the value there. x = n · log 2 + r, then a polynomial for e^r.
    """
    (power,) = function.local(V128)
    x, n = get(into), get(power)
    polynomial = four(_POLYNOMIAL[0])
    for factor in _POLYNOMIAL[1:]:
        polynomial += x + MUL + four(factor) + ADD
    scale = n + TRUNCATE + whole_four(127) + WHOLE_ADD + const(23) + SHIFT
    return b"".join(
        (
            put(into, value + four(-87.3) + MAX + four(88.3) + MIN),
            put(power, x + four(1.4426950408889634) + MUL + NEAREST),
            put(into, x + n + four(0.693359375) + MUL + SUB + n + four(-2.12194440e-4) + MUL + SUB),
            put(into, polynomial + x + MUL + x + MUL + x + ADD + four(1.0) + ADD + scale + MUL),
        )
    )


_POLYNOMIAL = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
"""Cephes' expf."""


def sized(content: bytes) -> bytes:
    """Preceded by its length."""
    return leb(len(content)) + content


def vector(items: Sequence[bytes]) -> bytes:
    """Preceded by their number."""
    return leb(len(items)) + b"".join(items)


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + sized(content)


def _name(text: str) -> bytes:
    return sized(text.encode())
