"""Assembles the one WebAssembly function of the page: a matrix multiplication with SIMD, in about 600 bytes.

    multiply(a, b, c, m, n, k, lda, ldc): c[i][j] = Σ a[i][p] · b[p][j], all float32

`a` `[m, k]` and `c` `[m, n]` are stored row by row, `lda` and `ldc` bytes apart; a, b and c are addresses. `b` is
packed: for each group of 8 columns, k rows of 8 numbers. m is a multiple of 4, n of 8. Each pass of the inner loop
multiplies 4 numbers of a with 8 of b. `engine.js` has the same function in plain JavaScript.
"""

from __future__ import annotations

from collections.abc import Sequence

ROWS, COLUMNS = 4, 8
"""The block of c that the inner loop computes."""
_I32, _V128 = 0x7F, 0x7B
_A, _B, _C, _M, _N, _K, _LDA, _LDC = range(8)
_NAMES = ("multiply", "memory", "env")


def module() -> bytes:
    """The binary module. It imports its memory as `env.memory` and exports `multiply`."""
    function, memory, environment = (_name(name) for name in _NAMES)
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            _section(1, b"\x01\x60" + _vector([bytes([_I32])] * 8) + b"\0"),
            _section(2, b"\x01" + environment + memory + b"\x02\0\0"),
            _section(3, b"\x01\0"),
            _section(7, b"\x01" + function + b"\0\0"),
            _section(10, b"\x01" + _sized(_code())),
        )
    )


def _code() -> bytes:
    """The locals and the body of `multiply`."""
    row, column, left, pb, pc = range(8, 13)
    pa = range(13, 13 + ROWS)
    acc = range(13 + ROWS, 13 + ROWS + 2 * ROWS)
    b0, b1, splat = range(acc[-1] + 1, acc[-1] + 4)
    locals_ = _vector([_leb(5 + ROWS) + bytes([_I32]), _leb(2 * ROWS + 3) + bytes([_V128])])
    inner = [_load(pb, 0), _set(b0), _load(pb, 16), _set(b1)]
    for i in range(ROWS):
        inner += [_get(pa[i]), b"\xfd\x09\x02\0", _set(splat)]
        for half, b in enumerate((b0, b1)):
            total = acc[2 * i + half]
            inner += [_get(splat), _get(b), b"\xfd\xe6\x01", _get(total), b"\xfd\xe4\x01", _set(total)]
        inner.append(_advance(pa[i], _const(4)))
    inner += [_advance(pb, _const(4 * COLUMNS)), _countdown(left, 1)]
    rows = [_get(_A), _get(row), _get(_LDA), b"\x6c\x6a", _set(pa[0])]
    for i in range(1, ROWS):
        rows += [_get(pa[i - 1]), _get(_LDA), b"\x6a", _set(pa[i])]
    rows += [_get(_B), _set(pb), _get(_K), _set(left)]
    rows += [b"\xfd\x0c" + bytes(16) + _set(total) for total in acc]
    rows += [_loop(inner)]
    rows += [_get(_C), _get(row), _get(_LDC), b"\x6c\x6a", _get(column), b"\x6a", _set(pc)]
    for i in range(ROWS):
        rows += [
            _get(pc),
            _get(acc[2 * i]),
            b"\xfd\x0b\x04\0",
            _get(pc),
            _get(acc[2 * i + 1]),
            b"\xfd\x0b\x04\x10",
        ]
        rows.append(_advance(pc, _get(_LDC)))
    rows += [_advance(row, _const(ROWS)), _get(row), _get(_M), b"\x49\x0d\0"]
    columns = [_const(0), _set(row), _loop(rows)]
    columns += [_advance(_B, _get(_K) + _const(4 * COLUMNS) + b"\x6c"), _advance(column, _const(4 * COLUMNS))]
    columns += [_countdown(_N, COLUMNS)]
    return locals_ + _loop(columns) + b"\x0b"


def _leb(value: int) -> bytes:
    """An unsigned number in LEB128."""
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


def _const(value: int) -> bytes:
    # Signed: below 64 one byte is enough.
    return b"\x41" + (bytes([value]) if value < 64 else _leb(value))


def _sized(content: bytes) -> bytes:
    return _leb(len(content)) + content


def _vector(items: Sequence[bytes]) -> bytes:
    return _leb(len(items)) + b"".join(items)


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _sized(content)


def _name(text: str) -> bytes:
    return _sized(text.encode())


def _get(local: int) -> bytes:
    return b"\x20" + _leb(local)


def _set(local: int) -> bytes:
    return b"\x21" + _leb(local)


def _load(pointer: int, offset: int) -> bytes:
    return _get(pointer) + b"\xfd\0\x04" + _leb(offset)


def _advance(local: int, step: bytes) -> bytes:
    return _get(local) + step + b"\x6a" + _set(local)


def _countdown(local: int, step: int) -> bytes:
    """Subtracts, and continues the innermost loop unless the result is zero."""
    return _get(local) + _const(step) + b"\x6b\x22" + _leb(local) + b"\x0d\0"


def _loop(body: Sequence[bytes]) -> bytes:
    return b"\x03\x40" + b"".join(body) + b"\x0b"
