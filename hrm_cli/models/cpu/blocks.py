"""The blocks of `hrm_cli.models.blocks` for a CPU: same computation, fewer passes over memory, no compiler.

Differences, each with a measured benefit (benchmarks/results/cpu_speed.txt):
- the elementwise operations between two matmuls are one fused pass over memory, by kernels on torch's own threads;
- weights are prepacked by oneDNN once per step, for all forward matmuls (`hrm_cli.models.cpu.pieces`);
- attention weights are padded to whole vectors, because torch's matmuls are slow for odd lengths;
- for the backward pass, a block stores its outputs, not float32 copies of them, and SiLU(gate) · up is recomputed.

The mixers `units` and `edges` have kernels of their own (`hrm_cli.models.cpu.units`, `hrm_cli.models.cpu.edges`).

Letters in shapes: B batch, S positions (puzzle positions first), P positions padded, H hidden size, N heads, D head
size.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.config.arch import CPU_VECTOR
from hrm_cli.models.blocks import BlockWeights
from hrm_cli.models.cpu.kernels.availability import softmax_backward
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.cpu.pieces import (
    CPUSwiGLU,
    CPUWeight,
    add_and_norm,
    add_swiglu_and_norm,
    applied,
    linear,
    prepacked,
    swiglu_weights,
    with_normed_heads,
)
from hrm_cli.models.layers import Rotary

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure

_split_heads = Kernel("attention.split_heads")
_join_heads = Kernel("attention.join_heads")
_softmax = Kernel("attention.softmax")
_FUSED = {"units": "hrm_cli.models.cpu.units", "edges": "hrm_cli.models.cpu.edges"}
"""Modules with the fused kernels of structured mixers."""
_IN_PARTS = ("edges",)
"""Mixers whose batches are computed part by part without gradient, because their tensors exceed the cache: narrow, with
many positions."""
_PART_BYTES = 1 << 18
"""Bytes of a state that one part holds for each thread."""


class CPUBlockWeights(NamedTuple):
    """One block's weights in the forward dtype, in the form that the functions of this module take."""

    qkv: CPUWeight | None
    """`[3·N·D, H]`"""
    out: CPUWeight | None
    """`[H, N·D]`"""
    rotation: Rotary
    """cos and sin `[S, D/2]` of RoPE's rotations; the identity rotation if the model has no RoPE."""
    mixing: CPUSwiGLU | None
    mlp: CPUSwiGLU
    structure: Structure | None = None
    structured: Any = None
    """The weights of its mixer, in its own form."""
    tables: Any = None
    """The tables of the structure."""
    qk_scale: Tensor | None = None
    """With `arch.qk_norm`: the factor of each head's scores, `[N]`."""


def prepack_block(
    weights: BlockWeights,
    rotation: Rotary,
    structure: Structure | None = None,
    tables: Any = None,
    *,
    int8: bool = False,
) -> CPUBlockWeights:
    """The prepacked weights of a block. `rotation` is the result of `rotations`; structured mixers need `tables`.

    With `int8`, weight matmuls are in int8, for inference only.
    """
    qkv, out, qk_scale = weights.attention or (None, None, None)
    return CPUBlockWeights(
        None if qkv is None else prepacked(qkv, int8=int8),
        None if out is None else prepacked(out, int8=int8),
        rotation,
        None if weights.mixing is None else swiglu_weights(weights.mixing, int8=int8),
        swiglu_weights(weights.mlp, int8=int8),
        structure,
        _structured_for_cpu(structure, weights.structured, tables, int8=int8),
        tables,
        qk_scale,
    )


def _structured_for_cpu(structure: Structure | None, weights: Any, tables: Any, *, int8: bool) -> Any:
    """The weights of a structured mixer: in the form of its fused kernels if it has some, else unchanged."""
    if structure is None or structure.name not in _FUSED:
        return weights
    return import_module(_FUSED[structure.name]).weights_for_cpu(weights, tables, int8=int8)


def _structured_mix_and_norm(x: Tensor, structure: Structure, weights: CPUBlockWeights, eps: float) -> Tensor:
    if structure.name in _FUSED:
        mixed: Tensor = import_module(_FUSED[structure.name]).mix_and_norm(x, weights.structured, eps)
        return mixed
    return add_and_norm(x, structure.mix(x, weights.structured, weights.tables), eps)


def rotations(rotary: Rotary | None, positions: int, head_dim: int) -> Rotary:
    """The first halves `[S, D/2]` of RoPE's tables (the second repeat them). None gives the identity rotation."""
    half = head_dim // 2
    if rotary is None:
        return Rotary(torch.ones(positions, half), torch.zeros(positions, half))
    return Rotary(rotary.cos[:, :half].contiguous(), rotary.sin[:, :half].contiguous())


def cpu_block(x: Tensor, weights: CPUBlockWeights, num_heads: int, eps: float) -> Tensor:
    """One post-norm block on `[B, S, H]`, equivalent to `hrm_cli.models.blocks.block`."""
    return _block_at(x, x.shape[1], weights, num_heads, eps)


def cpu_block_at_first(x: Tensor, weights: CPUBlockWeights, num_heads: int, eps: float) -> Tensor:
    """The output of `cpu_block` at the first position only, `[B, 1, H]`, which is all that the Q head reads."""
    return _block_at(x, 1, weights, num_heads, eps)


def _block_at(x: Tensor, count: int, weights: CPUBlockWeights, num_heads: int, eps: float) -> Tensor:
    """The block's output at the first `count` positions, `[B, count, H]`."""
    if weights.structure is not None and weights.structure.name in _IN_PARTS and not torch.is_grad_enabled():
        rows = max(1, _PART_BYTES * torch.get_num_threads() // max(1, x[0].nbytes))
        if rows < len(x):
            return torch.cat([_block_at(part, count, weights, num_heads, eps) for part in x.split(rows)])
    x = x.contiguous()
    wanted = x[:, :count].contiguous()
    if weights.qkv is not None and weights.out is not None:
        qkv = linear(x, weights.qkv)
        if weights.qk_scale is not None:
            qkv = with_normed_heads(qkv, weights.qk_scale)
        mixed = _attention(qkv, num_heads, weights.rotation, count)
        wanted = add_and_norm(wanted, linear(mixed, weights.out), eps)
    if weights.structure is not None:
        wanted = _structured_mix_and_norm(wanted, weights.structure, weights, eps)
    if weights.mixing is not None:
        turned = x.transpose(1, 2).contiguous()
        turned = add_swiglu_and_norm(turned, weights.mixing, eps)
        wanted = turned[:, :, :count].transpose(1, 2).contiguous()
    return add_swiglu_and_norm(wanted, weights.mlp, eps)


def _attention(qkv: Tensor, num_heads: int, rotation: Rotary, queries: int) -> Tensor:
    """Attention with queries at the first `queries` positions; `[B, S, 3·N·D]` → `[B, queries, N·D]`."""
    batch, positions, _ = qkv.shape
    q, k, v = applied(_Heads, qkv.view(batch, positions, 3, num_heads, -1), rotation)
    q = q[:, :queries]
    if qkv.dtype == torch.bfloat16:
        mixed = applied(_ExplicitAttention, q, k, v, positions)
    else:
        q, k, v = (heads.unflatten(0, (batch, num_heads)) for heads in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    return mixed.view(batch, num_heads, queries, -1).transpose(1, 2).reshape(batch, queries, -1)


class _Heads(torch.autograd.Function):
    """`[B, S, 3, N, D]` → q, k and v `[B·N, S, D]`, with q and k rotated in float32 and q scaled by 1/√D.

    In bfloat16, k and v are padded with zeros to whole vectors, `[B·N, P, D]`.
    """

    @staticmethod
    def forward(ctx: Any, heads: Tensor, rotation: Rotary) -> tuple[Tensor, Tensor, Tensor]:
        batch, positions, _, num_heads, size = heads.shape
        padded = positions + (-positions % CPU_VECTOR if heads.dtype == torch.bfloat16 else 0)
        ctx.rotation, ctx.padded, ctx.shape = rotation, padded, heads.shape
        q = heads.new_empty(batch * num_heads, positions, size)
        k, v = heads.new_empty(2, batch * num_heads, padded, size)
        _run_heads_kernel(_split_heads, heads, (q, k, v), rotation, padded)
        return q, k, v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        heads = gradients[0].new_empty(ctx.shape)
        _run_heads_kernel(
            _join_heads, heads, tuple(one.contiguous() for one in gradients), ctx.rotation, ctx.padded
        )
        return heads, None


def _run_heads_kernel(
    kernel: Kernel, heads: Tensor, parts: tuple[Tensor, ...], rotation: Rotary, padded: int
) -> None:
    batch, positions, _, num_heads, size = heads.shape
    # Each kernel's rows follow the order in which it writes: by head when splitting, by position when joining.
    rows = batch * (num_heads if kernel is _split_heads else positions)
    numbers = 2 * heads.numel() // rows
    kernel(
        rows, numbers * heads.element_size(), heads.dtype,
        positions, padded, num_heads, size, size**-0.5, rotation.cos, rotation.sin, heads, *parts,
    )  # fmt: skip


class _ExplicitAttention(torch.autograd.Function):
    """softmax(q kᵀ) v for q `[B·N, s, D]` and k, v `[B·N, P, D]`. Positions after the first `positions` are padding."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, positions: int) -> Tensor:
        weights = torch.bmm(q, k.mT)
        size = weights.shape[-1]
        rows = weights.numel() // size
        _softmax(rows, 2 * size * weights.element_size(), weights.dtype, size, positions, weights)
        ctx.save_for_backward(q, k, v, weights)
        return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        (gradient,) = gradients
        scores = softmax_backward(torch.bmm(gradient, v.mT), weights)
        return torch.bmm(scores, k), torch.bmm(scores.mT, q), torch.bmm(weights.mT, gradient), None
