"""The `units` mixer of `hrm_cli.models.units` for a CPU: the same mathematics in fewer passes over memory.

One kernel applies SiLU to the messages of positions, averages them along units and over symbols, and splits
attention's heads; another adds the messages of units, cells and other cells, and norms the sum. Between them only
the projection of a position is stored.

Letters in shapes as there, and P cells padded; units come before puzzles, so that the units of a class are contiguous.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu.kernels.availability import softmax_backward
from hrm_cli.models.cpu.kernels.launching import Kernel
from hrm_cli.models.cpu.pieces import (
    CPUSwiGLU,
    CPUWeight,
    applied,
    linear,
    prepacked,
    swiglu,
    swiglu_weights,
)
from hrm_cli.models.sizes import CPU_VECTOR
from hrm_cli.models.units import RelationTables, UnitsWeights

_average = Kernel("units.average")
_average_backward = Kernel("units.average_backward")
_hear_and_norm = Kernel("units.hear_and_norm")
_hear_backward = Kernel("units.hear_backward")
_softmax = Kernel("attention.softmax")


class Along(NamedTuple):
    """What positions are sent along, for the kernels."""

    shares: Tensor
    """`[U, S]` float32: what a cell counts in a unit's average."""
    sizes: tuple[int, ...]
    """Units of each class."""
    symbols: int
    heads: int
    """Of the attention between cells; 0: none."""
    padded: int
    """P"""

    def counts(self) -> tuple[int, int, int]:
        """Cells, symbols, units."""
        units, cells = self.shares.shape
        return cells, self.symbols, units


class CPUUnits(NamedTuple):
    """One mixer's weights in the forward dtype, as the functions here want them."""

    into: CPUWeight
    units: tuple[CPUSwiGLU, ...]
    cell: CPUSwiGLU
    out: CPUWeight | None
    bias: Tensor | None
    """`[N, S, P]`: attention's bias for every two cells."""
    along: Along


def units_weights(weights: UnitsWeights, tables: RelationTables) -> CPUUnits:
    """The weights of a mixer, laid out."""
    cells = tables.membership.shape[1]
    bias, heads, padded = None, 0, cells
    if weights.bias is not None:
        heads = len(weights.bias)
        padded += -cells % CPU_VECTOR if weights.bias.dtype == torch.bfloat16 else 0
        # Once per step, not at every use: gradients are summed here.
        bias = F.pad((weights.bias @ tables.pairs).view(heads, cells, cells), (0, padded - cells))
    shares = tables.membership.float()
    shares = shares / shares.sum(1, keepdim=True)
    return CPUUnits(
        prepacked(weights.into),
        tuple(swiglu_weights(one) for one in weights.units),
        swiglu_weights(weights.cell),
        None if weights.out is None else prepacked(weights.out),
        bias,
        Along(shares, tables.sizes, tables.num_symbols, heads, padded),
    )


def mix_and_norm(x: Tensor, weights: CPUUnits, eps: float) -> Tensor:
    """The RMS norm of x plus what every position hears, `[B, T, H]`."""
    along = weights.along
    of_units, of_cells, q, k, v = applied(_Averages, linear(x, weights.into), along)
    said = [swiglu(part, mlp) for part, mlp in zip(of_units.split(along.sizes), weights.units, strict=True)]
    heard = [torch.cat(said), swiglu(of_cells, weights.cell)]
    if weights.out is not None and weights.bias is not None:
        mixed = applied(_Attention, q, k, v, weights.bias)
        cells, symbols, _ = along.counts()
        mixed = mixed.view(len(x), along.heads, cells, symbols, -1).permute(0, 2, 3, 1, 4)
        heard.append(linear(mixed.reshape(len(x), cells * symbols, -1), weights.out))
    normed: Tensor = applied(_HearAndNorm, along, eps, x, *heard)
    return normed


class _Averages(torch.autograd.Function):
    """The projection `[B, T, 2·M or 5·M]` → averages along units `[U, B, D, M]` and over symbols `[B, S, M]`, q, k, v.

    q `[B·N, S, D·A]` is scaled by 1/√(D·A), k and v are `[B·N, P, D·A]`; without attention they are empty.
    """

    @staticmethod
    def forward(ctx: Any, projection: Tensor, along: Along) -> tuple[Tensor, ...]:
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


class _HearAndNorm(torch.autograd.Function):
    """The RMS norm of x and all that is heard; backward goes by its output, which the next layer keeps in any case."""

    @staticmethod
    def forward(
        ctx: Any,
        along: Along,
        eps: float,
        x: Tensor,
        of_units: Tensor,
        of_cells: Tensor,
        of_others: Tensor | None = None,
    ) -> Tensor:
        batch, (cells, symbols, units), size = len(x), along.counts(), x.shape[-1]
        normed, factor = torch.empty_like(x), torch.empty(*x.shape[:-1], 1)
        rows = batch * cells
        _hear_and_norm(
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
        _hear_backward(
            batch, 3 * normed.nbytes // batch, normed.dtype, cells, symbols, units, size,
            ctx.along.shares, gradient, normed, factor, out, for_units, for_cells,
        )  # fmt: skip
        common = (None, None, out, for_units, for_cells)
        return (*common, out) if ctx.attends else common
