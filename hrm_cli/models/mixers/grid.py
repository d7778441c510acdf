"""The `grid` mixer: a cell receives messages from the cells around it, from its row and column, and from all positions.

(1) Its eight neighbors and itself send messages, and each direction has its own weights. This suits rules such as
"stones fall". (2) The cell receives the mean and the maximum of its row and of its column. (3) It receives a weighted
sum over all cells, with a learned weight for each pair of positions. This suits rearrangements such as rotations. Grids
of more than `MOST_GRID_POSITIONS` cells do without (3), whose weights grow with the square of the size.

Letters in shapes: B batch, S = R·C cells, H hidden size, N heads, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import MOST_GRID_POSITIONS, ArchConfig
from hrm_cli.models.layers import Linear, SwiGLU
from hrm_cli.models.mixers.neighbors import NeighborsStructure
from hrm_cli.puzzles.relations import Neighborhood

_AROUND = 9
_QUIET = 0.1
"""Factor on the initial output projections, as in the `neighbors` mixer."""


class GridWeights(NamedTuple):
    """One mixer's weights in the forward dtype."""

    into: Tensor
    """`[3·H, H]`: what a cell sends to its neighbors, to its row and column, and to other positions; without the
    last, `[2·H, H]`."""
    around: Tensor
    """`[H, 9]`: the weights of the neighbors, by direction."""
    between: Tensor | None
    """`[N, S, S]`: the weights between positions, to and from."""
    out: Tensor
    """`[H, 4·H]` (or `[H, 3·H]`): what a cell makes of all it receives."""


class GridMixer(nn.Module):
    """Parameters of the mixer."""

    def __init__(self, hidden_size: int, num_heads: int, positions: int) -> None:
        super().__init__()
        self.num_heads, self.positions = num_heads, positions
        sources = 3 if positions <= MOST_GRID_POSITIONS else 2
        self.in_proj = Linear(hidden_size, sources * hidden_size)
        self.around = Linear(_AROUND, hidden_size)
        if sources == 3:
            self.between = Linear(positions, num_heads * positions)
        self.o_proj = Linear((sources + 1) * hidden_size, hidden_size)

    def finish_initialization(self, mlp: SwiGLU) -> None:
        """Scales the output projections of the mixer and of its block's SwiGLU."""
        with torch.no_grad():
            self.o_proj.weight.mul_(_QUIET)
            mlp.down_proj.weight.mul_(_QUIET)

    def cast(self, dtype: torch.dtype) -> GridWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        between = None
        if "between" in self._modules:
            between = self.between.cast(dtype).view(self.num_heads, self.positions, self.positions)
        return GridWeights(
            self.in_proj.cast(dtype), self.around.cast(dtype), between, self.o_proj.cast(dtype)
        )


class GridStructure(NeighborsStructure):
    """Implements `hrm_cli.models.mixers.structure.Structure` for a domain whose cells are a grid."""

    name = "grid"

    def parameters(self, arch: ArchConfig, *, attends: bool) -> GridMixer:  # type: ignore[override]
        """The parameters of a block's mixer; the same in both modules of HRM."""
        return GridMixer(arch.hidden_size, arch.num_heads, self.positions)

    def mix(self, x: Tensor, weights: GridWeights, tables: Neighborhood) -> Tensor:  # type: ignore[override]
        """What every cell makes of what it receives, `[B, S, H]` → `[B, S, H]`."""
        sent = F.silu(F.linear(x, weights.into))
        width = x.shape[2]
        received = [
            from_around(sent[..., :width], weights.around, tables),
            from_lines(sent[..., width : 2 * width], tables),
        ]
        if weights.between is not None:
            received.append(from_positions(sent[..., 2 * width :], weights.between))
        return F.linear(torch.cat(received, dim=-1), weights.out)


def from_around(sent: Tensor, around: Tensor, grid: Neighborhood) -> Tensor:
    """The weighted sum over the cells around each cell, `[B, S, H]`; outside the grid, nothing is sent."""
    batch, cells, width = sent.shape
    field = sent.reshape(batch, grid.rows, grid.columns, width).permute(0, 3, 1, 2)
    summed = F.conv2d(field, around.view(width, 1, 3, 3), padding=1, groups=width)
    return summed.permute(0, 2, 3, 1).reshape(batch, cells, width)


def from_lines(sent: Tensor, grid: Neighborhood) -> Tensor:
    """Means (first half of H) and maxima (second half) of each cell's row, then of its column, `[B, S, 2·H]`."""
    batch, cells, width = sent.shape
    field = sent.reshape(batch, grid.rows, grid.columns, width)
    half = width // 2
    means, maxima = field[..., :half], field[..., half:]
    rows = torch.cat((means.mean(2, keepdim=True), maxima.amax(2, keepdim=True)), dim=-1)
    columns = torch.cat((means.mean(1, keepdim=True), maxima.amax(1, keepdim=True)), dim=-1)
    both = torch.cat((rows.expand_as(field), columns.expand_as(field)), dim=-1)
    return both.reshape(batch, cells, 2 * width)


def from_positions(sent: Tensor, between: Tensor) -> Tensor:
    """The weighted sum over all positions, `[B, S, H]`; each head weighs its own part of H."""
    batch, cells, width = sent.shape
    heads = between.shape[0]
    parts = sent.view(batch, cells, heads, width // heads)
    return torch.einsum("nts,bsnh->btnh", between, parts).reshape(batch, cells, width)
