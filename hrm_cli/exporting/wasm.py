"""The WebAssembly of the page: the arithmetic of a step with SIMD, in about 1,600 bytes.

All numbers are float32. Addresses and strides are in bytes, counts in numbers; widths are multiples of 4.
`kernels.js` has the same functions in plain JavaScript.

    multiply(a, b, c, m, n, k, lda, ldc)                     c[i][j] = Σ a[i][p] · b[p][j]
    gate(p, rows, half, stride)                              p[i][j] = silu(p[i][j]) · p[i][half + j]
    silu(p, rows, width, stride)                             p[i][j] = silu(p[i][j])
    accumulate(to, from, rows, width, tos, froms, factor)    to[i][j] += factor · from[i][j]
    norm(to, from, rows, width, tos, froms, eps)             to[i] = to[i] + from[i], divided by its root mean square
    softmax(p, bias, rows, width, stride, biases)            p[i] = softmax(p[i] + bias[i])
"""

from __future__ import annotations

from hrm_cli.exporting.wasm_code import (
    ADD,
    DIV,
    F32,
    MADD,
    MAX,
    MUL,
    NEG,
    NUMBER_ADD,
    NUMBER_DIV,
    NUMBER_MAX,
    NUMBER_ROOT,
    SUB,
    V128,
    Function,
    below,
    const,
    countdown,
    exponential,
    folded,
    four,
    get,
    load,
    load_splat,
    loop,
    module_of,
    number,
    number_of,
    plus,
    put,
    splat,
    store,
    times,
    total,
)

ROWS, COLUMNS = 4, 8
"""The block of c that the inner loop of `multiply` computes."""
_NUMBER, _FOUR = const(4), const(16)
"""Bytes of one number, and of four."""


def module(*, relaxed: bool = False) -> bytes:
    """The binary module; `relaxed`: with fused multiply-add, which not every browser has."""
    return module_of([_multiply(relaxed=relaxed), _gate(), _silu(), _accumulate(), _norm(), _softmax()])


def _multiply(*, relaxed: bool) -> Function:
    """`a` `[m, k]` and `c` `[m, n]` are stored row by row, `lda` and `ldc` apart.

    `b` is packed: for each group of 8 columns, k rows of 8 numbers. m is a multiple of 4, n of 8.
    """
    f = Function("multiply", "iiiiiiii")
    a, b, c, m, n, k, lda, ldc = f.parameters
    row, column, left, pb, pc = f.counters(5)
    pa, sums = f.counters(ROWS), f.local(V128, 2 * ROWS)
    b0, b1, left_four = f.local(V128, 3)
    inner = [put(b0, load(get(pb))), put(b1, load(get(pb), 16))]
    for i in range(ROWS):
        inner.append(put(left_four, load_splat(get(pa[i]))))
        for half, right in enumerate((b0, b1)):
            sum_ = sums[2 * i + half]
            product = get(left_four) + get(right)
            inner.append(
                put(sum_, product + get(sum_) + MADD if relaxed else product + MUL + get(sum_) + ADD)
            )
        inner.append(plus(pa[i], _NUMBER))
    inner += [plus(pb, const(4 * COLUMNS)), countdown(left, 1)]
    rows = [put(pa[0], total(get(a), times(get(row), get(lda))))]
    rows += [put(pa[i], total(get(pa[i - 1]), get(lda))) for i in range(1, ROWS)]
    rows += [put(pb, get(b)), put(left, get(k)), *(put(one, four(0)) for one in sums), loop(*inner)]
    rows.append(put(pc, total(total(get(c), times(get(row), get(ldc))), get(column))))
    for i in range(ROWS):
        rows += [
            store(get(pc), get(sums[2 * i])),
            store(get(pc), get(sums[2 * i + 1]), 16),
            plus(pc, get(ldc)),
        ]
    rows += [plus(row, const(ROWS)), below(row, get(m))]
    columns = [put(row, const(0)), loop(*rows), plus(b, times(get(k), const(4 * COLUMNS)))]
    f.body = loop(*columns, plus(column, const(4 * COLUMNS)), countdown(n, COLUMNS))
    return f


def _silu_of(f: Function, x: int) -> bytes:
    """Assigns silu(x) = x ÷ (1 + e^−x) to x."""
    (power,) = f.local(V128)
    return exponential(f, get(x) + NEG, power) + put(x, get(x) + get(power) + four(1) + ADD + DIV)


def _gate() -> Function:
    f = Function("gate", "iiii")
    p, rows, half, stride = f.parameters
    at, left = f.counters(2)
    (x,) = f.local(V128)
    across = loop(
        put(x, load(get(at))),
        _silu_of(f, x),
        store(get(at), get(x) + load(total(get(at), times(get(half), _NUMBER))) + MUL),
        plus(at, _FOUR),
        countdown(left, 4),
    )
    f.body = loop(put(at, get(p)), put(left, get(half)), across, plus(p, get(stride)), countdown(rows, 1))
    return f


def _silu() -> Function:
    f = Function("silu", "iiii")
    p, rows, width, stride = f.parameters
    at, left = f.counters(2)
    (x,) = f.local(V128)
    across = loop(
        put(x, load(get(at))), _silu_of(f, x), store(get(at), get(x)), plus(at, _FOUR), countdown(left, 4)
    )
    f.body = loop(put(at, get(p)), put(left, get(width)), across, plus(p, get(stride)), countdown(rows, 1))
    return f


def _accumulate() -> Function:
    f = Function("accumulate", "iiiiiif")
    to, from_, rows, width, to_stride, from_stride, factor = f.parameters
    a, b, left = f.counters(3)
    (factors,) = f.local(V128)
    across = loop(
        store(get(a), load(get(a)) + load(get(b)) + get(factors) + MUL + ADD),
        plus(a, _FOUR),
        plus(b, _FOUR),
        countdown(left, 4),
    )
    each = (put(a, get(to)), put(b, get(from_)), put(left, get(width)), across)
    after = (plus(to, get(to_stride)), plus(from_, get(from_stride)), countdown(rows, 1))
    f.body = put(factors, splat(get(factor))) + loop(*each, *after)
    return f


def _norm() -> Function:
    f = Function("norm", "iiiiiif")
    to, from_, rows, width, to_stride, from_stride, eps = f.parameters
    a, b, left = f.counters(3)
    x, squares = f.local(V128, 2)
    adds = loop(
        put(x, load(get(a)) + load(get(b)) + ADD),
        store(get(a), get(x)),
        put(squares, get(squares) + get(x) + get(x) + MUL + ADD),
        plus(a, _FOUR),
        plus(b, _FOUR),
        countdown(left, 4),
    )
    mean = folded(squares, NUMBER_ADD) + number_of(get(width)) + NUMBER_DIV
    scale = put(x, splat(number(1) + mean + get(eps) + NUMBER_ADD + NUMBER_ROOT + NUMBER_DIV))
    scales = loop(store(get(a), load(get(a)) + get(x) + MUL), plus(a, _FOUR), countdown(left, 4))
    start = put(a, get(to)) + put(left, get(width))
    after = (plus(to, get(to_stride)), plus(from_, get(from_stride)), countdown(rows, 1))
    f.body = loop(start, put(b, get(from_)), put(squares, four(0)), adds, scale, start, scales, *after)
    return f


def _softmax() -> Function:
    f = Function("softmax", "iiiiii")
    p, bias, rows, width, stride, bias_stride = f.parameters
    a, b, left = f.counters(3)
    x, most, sums = f.local(V128, 3)
    (whole,) = f.local(F32)
    adds = loop(
        put(x, load(get(a)) + load(get(b)) + ADD),
        store(get(a), get(x)),
        put(most, get(most) + get(x) + MAX),
        plus(a, _FOUR),
        plus(b, _FOUR),
        countdown(left, 4),
    )
    powers = loop(
        exponential(f, load(get(a)) + get(most) + SUB, x),
        store(get(a), get(x)),
        put(sums, get(sums) + get(x) + ADD),
        plus(a, _FOUR),
        countdown(left, 4),
    )
    shares = loop(store(get(a), load(get(a)) + get(sums) + DIV), plus(a, _FOUR), countdown(left, 4))
    start = put(a, get(p)) + put(left, get(width))
    f.body = loop(
        start,
        put(b, get(bias)),
        put(most, four(-1e30)),
        adds,
        put(whole, folded(most, NUMBER_MAX)),
        put(most, splat(get(whole))),
        put(sums, four(0)),
        start,
        powers,
        put(whole, folded(sums, NUMBER_ADD)),
        put(sums, splat(get(whole))),
        start,
        shares,
        plus(p, get(stride)),
        plus(bias, get(bias_stride)),
        countdown(rows, 1),
    )
    return f
