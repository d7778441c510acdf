"""Triton kernels. Import only where Triton is installed (`hrm_cli.models.cuda.kernels`).

Letters in shapes: B batch, S positions, N heads, D head size, M rows, K their width, I inner width of the SwiGLU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _attention(  # type: ignore[no-untyped-def]
    qkv, cos, sin, out, positions, heads, scale,
    HEAD: tl.constexpr, ROWS: tl.constexpr, ROTATES: tl.constexpr,
):  # fmt: skip
    # One program computes all positions of one head of one puzzle, so the scores fit in registers.
    HALF: tl.constexpr = HEAD // 2
    program = tl.program_id(0)
    puzzle, head = program // heads, program % heads
    row = tl.arange(0, ROWS)
    column = tl.arange(0, HALF)
    wide = tl.arange(0, HEAD)
    inside = (row < positions)[:, None]
    width = heads * HEAD
    start = qkv + puzzle.to(tl.int64) * positions * 3 * width + head * HEAD
    first = start + row[:, None] * (3 * width) + column[None, :]
    q1 = tl.load(first, mask=inside, other=0.0)
    q2 = tl.load(first + HALF, mask=inside, other=0.0)
    k1 = tl.load(first + width, mask=inside, other=0.0)
    k2 = tl.load(first + width + HALF, mask=inside, other=0.0)
    v = tl.load(start + 2 * width + row[:, None] * (3 * width) + wide[None, :], mask=inside, other=0.0)
    if ROTATES:
        at = row[:, None] * HEAD + column[None, :]
        c1, s1 = tl.load(cos + at, mask=inside, other=0.0), tl.load(sin + at, mask=inside, other=0.0)
        c2 = tl.load(cos + at + HALF, mask=inside, other=0.0)
        s2 = tl.load(sin + at + HALF, mask=inside, other=0.0)
        a, b = q1.to(tl.float32), q2.to(tl.float32)
        q1, q2 = (a * c1 - b * s1).to(v.dtype), (b * c2 + a * s2).to(v.dtype)
        a, b = k1.to(tl.float32), k2.to(tl.float32)
        k1, k2 = (a * c1 - b * s1).to(v.dtype), (b * c2 + a * s2).to(v.dtype)
    scores = tl.dot(q1, tl.trans(k1))
    scores = tl.dot(q2, tl.trans(k2), scores) * scale
    scores = tl.where((row < positions)[None, :], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    total = tl.sum(weights, 1)
    mixed = tl.dot(weights.to(v.dtype), v) / total[:, None]
    target = out + puzzle.to(tl.int64) * positions * width + head * HEAD
    tl.store(target + row[:, None] * width + wide[None, :], mixed.to(v.dtype), mask=inside)


def attention(qkv: Tensor, cos: Tensor | None, sin: Tensor | None, heads: int) -> Tensor:
    """Attention on qkv `[B, S, 3·N·D]`, with queries and keys rotated by tables `[S, D]`. Returns `[B, S, N·D]`."""
    batch, positions, triple = qkv.shape
    width = triple // 3
    out = torch.empty(batch, positions, width, dtype=qkv.dtype, device=qkv.device)
    rows = max(16, triton.next_power_of_2(positions))
    size = width // heads
    _attention[(batch * heads,)](
        qkv, cos, sin, out, positions, heads, size**-0.5,
        HEAD=size, ROWS=rows, ROTATES=cos is not None, num_warps=8 if rows > 64 else 4,
    )  # fmt: skip
    return out


def _swiglu_settings() -> list[Any]:
    return [
        triton.Config({"BM": m, "BN": n, "BK": 64}, num_warps=warps, num_stages=stages)
        for m, n, warps, stages in ((128, 128, 8, 3), (128, 64, 4, 4), (128, 128, 8, 4))
    ]


@triton.autotune(configs=_swiglu_settings(), key=["inner", "width"])
@triton.jit
def _gated(  # type: ignore[no-untyped-def]
    x, weight, out, rows,
    inner: tl.constexpr, width: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    # Computes silu(x·gateᵀ) · (x·upᵀ) with both matmuls in one program, so neither result is stored.
    program = tl.program_id(0)
    columns = tl.cdiv(inner, BN)
    down = tl.cdiv(rows, BM)
    # Groups of eight tile rows reuse the weights while they are in the cache.
    group = program // (8 * columns)
    tall = min(down - group * 8, 8)
    tile_m = group * 8 + (program % (8 * columns)) % tall
    tile_n = (program % (8 * columns)) // tall
    m = tile_m * BM + tl.arange(0, BM)
    n = tile_n * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    inside = (m < rows)[:, None]
    left = x + m.to(tl.int64)[:, None] * width + k[None, :]
    gate_at = weight + n[None, :] * width + k[:, None]
    up_at = gate_at + inner * width
    gate = tl.zeros((BM, BN), dtype=tl.float32)
    up = tl.zeros((BM, BN), dtype=tl.float32)
    for _ in range(0, width, BK):
        part = tl.load(left, mask=inside, other=0.0)
        gate = tl.dot(part, tl.load(gate_at), gate)
        up = tl.dot(part, tl.load(up_at), up)
        left += BK
        gate_at += BK
        up_at += BK
    result = gate / (1 + tl.exp(-gate)) * up
    tl.store(out + m.to(tl.int64)[:, None] * inner + n[None, :], result.to(out.dtype.element_ty), mask=inside)


def gated(x: Tensor, gate_up: Tensor) -> Tensor:
    """silu(gate) · up for rows `[…, K]` and a weight `[2I, K]` with the gate first. Returns `[…, I]`.

    K must be a multiple of 64 and I a multiple of 128.
    """
    width, inner = x.shape[-1], gate_up.shape[0] // 2
    rows = x.numel() // width
    out = torch.empty(*x.shape[:-1], inner, dtype=x.dtype, device=x.device)

    def grid(chosen: Any) -> tuple[int]:
        return (triton.cdiv(rows, chosen["BM"]) * triton.cdiv(inner, chosen["BN"]),)

    if isinstance(_gated.fn, triton.JITFunction):
        _gated[grid](x, gate_up, out, rows, inner, width)
    else:  # Triton's interpreter, in tests: nothing to tune
        tiles = {"BM": 32, "BN": 64, "BK": 64}
        _gated.fn[grid(tiles)](x, gate_up, out, rows, inner, width, **tiles)
    return out
