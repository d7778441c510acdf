"""The `units` mixer for a CPU: two kernels between its matmuls.

One kernel applies SiLU to the projected messages, averages them over units and over symbols, and splits the attention
heads. Another adds the messages from units, cells and other cells, and applies the RMS norm. The first stores only the
projection for its backward pass.

Letters in shapes: those of `hrm_cli.models.mixers.units`, P padded cells, A head size. Units are the first axis, before
puzzles, so that the units of a class are contiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.config.arch import CPU_VECTOR
from hrm_cli.models.cpu.kernels.availability import softmax_backward
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.cpu.pieces import CPUSwiGLU, CPUWeight, applied, linear, prepacked, swiglu, swiglu_weights

if TYPE_CHECKING:
    from hrm_cli.models.mixers.units import RelationTables, UnitsWeights

_softmax = Kernel("attention.softmax")
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


def weights_for_cpu(weights: UnitsWeights, tables: RelationTables, *, int8: bool = False) -> CPUUnits:
    """Prepacks the weights of a mixer and expands its attention bias. `int8` is for inference only."""
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
        prepacked(weights.into, int8=int8),
        tuple(swiglu_weights(one, int8=int8) for one in weights.units),
        swiglu_weights(weights.cell, int8=int8),
        None if weights.out is None else prepacked(weights.out, int8=int8),
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
    normed: Tensor = applied(AddMessagesAndNorm, along, eps, x, *messages)
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


class AddMessagesAndNorm(torch.autograd.Function):
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
        """Without `of_others`, there is no attention between cells."""
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
        """Gradients of x and of the messages."""
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
