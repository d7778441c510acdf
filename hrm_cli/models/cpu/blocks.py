"""The blocks of `hrm_cli.models.blocks` for a CPU: same computation, fewer passes over memory, no compiler.

Differences, each with a measured benefit (benchmarks/results/cpu_speed.txt):
- the elementwise operations between two matmuls are one fused pass over memory, by kernels on torch's own threads;
- weights are prepacked by oneDNN once per step, for all forward matmuls (`hrm_cli.models.cpu.pieces`);
- attention weights are padded to whole vectors, because torch's matmuls are slow for odd lengths;
- for the backward pass, a block stores its outputs, not float32 copies of them, and SiLU(gate) · up is recomputed.

For the `units` mixer, one kernel applies SiLU to the projected messages, averages them over units and over symbols, and
splits the attention heads. Another adds the messages from units, cells and other cells, and applies the RMS norm. The
first stores only the projection for its backward pass.

Letters in shapes: B batch, S positions (puzzle positions first), P positions or cells padded, H hidden size, N heads,
D head size; those of `hrm_cli.models.mixers.units` in its functions. There, units are the first axis, before puzzles,
so that the units of a class are contiguous.
"""

from __future__ import annotations

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
    applied,
    linear,
    prepacked,
    swiglu,
    swiglu_weights,
    with_normed_heads,
)
from hrm_cli.models.layers import Rotary

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure
    from hrm_cli.models.mixers.units import RelationTables, UnitsWeights


_split_heads = Kernel("attention.split_heads")
_join_heads = Kernel("attention.join_heads")
_softmax = Kernel("attention.softmax")


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
    weights: BlockWeights, rotation: Rotary, structure: Structure | None = None, tables: Any = None
) -> CPUBlockWeights:
    """The prepacked weights of a block. `rotation` is the result of `rotations`; structured mixers need `tables`."""
    qkv, out, qk_scale = weights.attention or (None, None, None)
    return CPUBlockWeights(
        None if qkv is None else prepacked(qkv),
        None if out is None else prepacked(out),
        rotation,
        None if weights.mixing is None else swiglu_weights(weights.mixing),
        swiglu_weights(weights.mlp),
        structure,
        _structured_for_cpu(structure, weights.structured, tables),
        tables,
        qk_scale,
    )


def _structured_for_cpu(structure: Structure | None, weights: Any, tables: Any) -> Any:
    """The weights of a structured mixer: in the form of the fused kernels for `units`, unchanged for the others."""
    if structure is None or structure.name != "units":
        return weights
    return units_weights(weights, tables)


def _structured_mix_and_norm(x: Tensor, structure: Structure, weights: CPUBlockWeights, eps: float) -> Tensor:
    if structure.name == "units":
        return mix_and_norm(x, weights.structured, eps)
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
        turned = add_and_norm(turned, swiglu(turned, weights.mixing), eps)
        wanted = turned[:, :, :count].transpose(1, 2).contiguous()
    return add_and_norm(wanted, swiglu(wanted, weights.mlp), eps)


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


_average = Kernel("units.average")
_average_backward = Kernel("units.average_backward")
_add_messages_and_norm = Kernel("units.add_messages_and_norm")
_add_messages_backward = Kernel("units.add_messages_backward")


class MixerSizes(NamedTuple):
    """The domain's relations and the sizes that the kernels need."""

    shares: Tensor
    """`[U, S]` float32: the weight of a cell in a unit's average."""
    sizes: tuple[int, ...]
    """Number of units in each class."""
    symbols: int
    heads: int
    """Number of heads of the attention between cells; 0 without attention."""
    padded: int
    """P, the padded number of cells."""

    def counts(self) -> tuple[int, int, int]:
        """The numbers of cells, symbols and units."""
        units, cells = self.shares.shape
        return cells, self.symbols, units


class CPUUnits(NamedTuple):
    """One mixer's weights in the forward dtype, in the form that the functions of this module take."""

    into: CPUWeight
    units: tuple[CPUSwiGLU, ...]
    cell: CPUSwiGLU
    out: CPUWeight | None
    bias: Tensor | None
    """`[N, S, P]`: attention bias for every pair of cells."""
    along: MixerSizes


def units_weights(weights: UnitsWeights, tables: RelationTables) -> CPUUnits:
    """Prepacks the weights of a mixer and expands its attention bias."""
    cells = tables.membership.shape[1]
    bias, heads, padded = None, 0, cells
    if weights.bias is not None:
        heads = len(weights.bias)
        padded += -cells % CPU_VECTOR if weights.bias.dtype == torch.bfloat16 else 0
        # Expanded once per step, not at every use, so that gradients are summed before the small matmul's backward.
        bias = F.pad((weights.bias @ tables.pairs).view(heads, cells, cells), (0, padded - cells))
    shares = tables.membership.float()
    shares = shares / shares.sum(1, keepdim=True)
    return CPUUnits(
        prepacked(weights.into),
        tuple(swiglu_weights(one) for one in weights.units),
        swiglu_weights(weights.cell),
        None if weights.out is None else prepacked(weights.out),
        bias,
        MixerSizes(shares, tables.sizes, tables.num_symbols, heads, padded),
    )


def mix_and_norm(x: Tensor, weights: CPUUnits, eps: float) -> Tensor:
    """The RMS norm of x plus the messages that every position receives, `[B, T, H]`."""
    along = weights.along
    of_units, of_cells, q, k, v = applied(_Averages, linear(x, weights.into), along)
    from_units = [
        swiglu(part, mlp) for part, mlp in zip(of_units.split(along.sizes), weights.units, strict=True)
    ]
    messages = [torch.cat(from_units), swiglu(of_cells, weights.cell)]
    if weights.out is not None and weights.bias is not None:
        mixed = applied(_Attention, q, k, v, weights.bias)
        cells, symbols, _ = along.counts()
        mixed = mixed.view(len(x), along.heads, cells, symbols, -1).permute(0, 2, 3, 1, 4)
        messages.append(linear(mixed.reshape(len(x), cells * symbols, -1), weights.out))
    normed: Tensor = applied(_AddMessagesAndNorm, along, eps, x, *messages)
    return normed


class _Averages(torch.autograd.Function):
    """The projection `[B, T, 2·M or 5·M]` → averages over units `[U, B, D, M]` and over symbols `[B, S, M]`; q, k, v.

    q `[B·N, S, D·A]` is scaled by 1/√(D·A); k and v are `[B·N, P, D·A]`. Without attention, all three are empty.
    """

    @staticmethod
    def forward(ctx: Any, projection: Tensor, along: MixerSizes) -> tuple[Tensor, ...]:
        batch, (cells, symbols, units) = len(projection), along.counts()
        width = projection.shape[-1] // (5 if along.heads else 2)
        size = symbols * width // along.heads if along.heads else 0
        heads = batch * along.heads
        out = (
            projection.new_empty(units, batch, symbols, width),
            projection.new_empty(batch, cells, width),
            projection.new_empty(heads, cells, size),
            projection.new_empty(heads, along.padded, size),
            projection.new_empty(heads, along.padded, size),
        )
        ctx.along, ctx.width, ctx.size = along, width, size
        ctx.save_for_backward(projection)
        _average(
            batch, 2 * projection.nbytes // batch, projection.dtype,
            cells, symbols, units, width, along.heads, along.padded, max(size, 1) ** -0.5,
            along.shares, projection, *out,
        )  # fmt: skip
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (projection,), along = ctx.saved_tensors, ctx.along
        cells, symbols, units = along.counts()
        rows, out = len(projection) * cells, torch.empty_like(projection)
        _average_backward(
            rows, 3 * projection.nbytes // rows, projection.dtype,
            cells, symbols, units, ctx.width, along.heads, along.padded, max(ctx.size, 1) ** -0.5,
            along.shares, projection, *(one.contiguous() for one in gradients), out,
        )  # fmt: skip
        return out, None


class _Attention(torch.autograd.Function):
    """softmax(q kᵀ + bias) v for q `[B·N, S, D·A]`, k and v `[B·N, P, D·A]` and the bias `[N, S, P]`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        weights = torch.bmm(q, k.mT)
        heads, cells, padded = bias.shape
        weights.view(-1, heads, cells, padded).add_(bias)
        rows = weights.numel() // padded
        _softmax(rows, 2 * padded * weights.element_size(), weights.dtype, padded, cells, weights)
        ctx.save_for_backward(q, k, v, weights)
        ctx.heads = heads
        return torch.bmm(weights, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v, weights = ctx.saved_tensors
        (gradient,) = gradients
        scores = softmax_backward(torch.bmm(gradient, v.mT), weights)
        for_bias = scores.view(-1, ctx.heads, *scores.shape[1:]).sum(0)
        return torch.bmm(scores, k), torch.bmm(scores.mT, q), torch.bmm(weights.mT, gradient), for_bias


class _AddMessagesAndNorm(torch.autograd.Function):
    """The RMS norm of x plus all messages. The backward pass uses its output, which the next layer stores anyway."""

    @staticmethod
    def forward(
        ctx: Any,
        along: MixerSizes,
        eps: float,
        x: Tensor,
        of_units: Tensor,
        of_cells: Tensor,
        of_others: Tensor | None = None,
    ) -> Tensor:
        batch, (cells, symbols, units), size = len(x), along.counts(), x.shape[-1]
        normed, factor = torch.empty_like(x), torch.empty(*x.shape[:-1], 1)
        rows = batch * cells
        _add_messages_and_norm(
            rows, 4 * symbols * size * x.element_size(), x.dtype,
            cells, symbols, units, size, int(of_others is not None), eps,
            along.shares, x, of_units, of_cells, x.new_empty(0) if of_others is None else of_others,
            normed, factor,
        )  # fmt: skip
        ctx.along, ctx.attends = along, of_others is not None
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normed, factor = ctx.saved_tensors
        batch, (cells, symbols, units), size = len(normed), ctx.along.counts(), normed.shape[-1]
        gradient, out = gradients[0].contiguous(), torch.empty_like(normed)
        for_units = normed.new_empty(units, batch, symbols, size)
        for_cells = normed.new_empty(batch, cells, size)
        _add_messages_backward(
            batch, 3 * normed.nbytes // batch, normed.dtype, cells, symbols, units, size,
            ctx.along.shares, gradient, normed, factor, out, for_units, for_cells,
        )  # fmt: skip
        common = (None, None, out, for_units, for_cells)
        return (*common, out) if ctx.attends else common
