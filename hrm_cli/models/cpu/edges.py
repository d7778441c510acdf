"""The `edges` mixer for a CPU: one kernel between its matmuls, and one behind them.

The first applies SiLU and gathers what arrives across the edges, and the sums and maxima of cells. It stores only the
projection for its backward pass. The second kernel adds everything and applies the RMS norm; it is that of
the `units` mixer, with sides in place of symbols.

Letters in shapes: those of `hrm_cli.models.mixers.edges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.cpu.pieces import CPUWeight, applied, linear, prepacked
from hrm_cli.models.cpu.units import AddMessagesAndNorm, MixerSizes
from hrm_cli.puzzles.relations import Neighborhood

if TYPE_CHECKING:
    from hrm_cli.models.mixers.neighbors import NeighborsWeights

_SIDES = 4
_gather = Kernel("edges.gather")
_arrivals_backward = Kernel("edges.arrivals_backward")
_gather_backward = Kernel("edges.gather_backward")


class CPUEdges(NamedTuple):
    """One mixer's weights in the forward dtype, in the form that the functions of this module take."""

    into: CPUWeight
    out_of_edges: CPUWeight
    """`[H, H]`: what a side makes of what arrives across its edge."""
    out_of_cells: CPUWeight
    """`[H, 4·H]`: what it makes of the sums and maxima of its cell."""
    grid: Neighborhood
    sizes: MixerSizes


def weights_for_cpu(weights: NeighborsWeights, grid: Neighborhood, *, int8: bool = False) -> CPUEdges:
    """Prepacks the weights of a mixer. `int8` is for inference only."""
    cells, hidden = grid.rows * grid.columns, weights.out.shape[0]
    return CPUEdges(
        prepacked(weights.into, int8=int8),
        prepacked(weights.out[:, :hidden].contiguous(), int8=int8),
        prepacked(weights.out[:, hidden:].contiguous(), int8=int8),
        grid,
        MixerSizes(torch.empty(0, cells), (), _SIDES, 0, cells),
    )


def mix_and_norm(x: Tensor, weights: CPUEdges, eps: float) -> Tensor:
    """The RMS norm of x plus the messages that every side receives, `[B, T, H]`."""
    across, of_cells = applied(_Gather, linear(x, weights.into), weights.grid)
    from_units = x.new_empty(0, len(x), _SIDES, x.shape[-1])  # none
    from_cells, from_edges = linear(of_cells, weights.out_of_cells), linear(across, weights.out_of_edges)
    normed: Tensor = applied(AddMessagesAndNorm, weights.sizes, eps, x, from_units, from_cells, from_edges)
    return normed


class _Gather(torch.autograd.Function):
    """The projection `[B, T, 3·H]` → what arrives across edges `[B, T, H]`, sums and maxima of cells `[B, S, 4·H]`."""

    @staticmethod
    def forward(ctx: Any, projection: Tensor, grid: Neighborhood) -> tuple[Tensor, Tensor]:
        batch, positions, width = projection.shape[0], projection.shape[1], projection.shape[2] // 3
        arrived = projection.new_empty(batch, positions, width)
        of_cells = projection.new_empty(batch, positions // _SIDES, 4 * width)
        ctx.grid = grid
        ctx.save_for_backward(projection)
        rows, row_bytes = batch * positions // _SIDES, 20 * width * projection.element_size()
        _gather(
            rows, row_bytes, projection.dtype, grid.rows, grid.columns, width, projection, arrived, of_cells
        )
        return arrived, of_cells

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (projection,), grid = ctx.saved_tensors, ctx.grid
        width, out = projection.shape[2] // 3, torch.empty_like(projection)
        rows, row_bytes = projection.shape[0] * projection.shape[1] // _SIDES, 30 * width * out.element_size()
        for_arrived, for_cells = (one.contiguous() for one in gradients)
        # Two kernels, because a message arrives at another cell, and its gradient depends on all that arrives there.
        complete = torch.empty_like(for_arrived)
        shape = (rows, row_bytes, out.dtype, grid.rows, grid.columns, width, projection)
        _arrivals_backward(*shape, for_arrived, for_cells, complete)
        _gather_backward(*shape, complete, for_cells, out)
        return out, None
