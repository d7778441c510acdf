"""The `neighbors` mixer: one state per cell of a grid, and messages between neighboring cells.

In each block, a cell receives the sum and the maximum of what its four neighbors send. Cells outside the grid do not
exist and send nothing. No weight depends on a direction or on the size. So the outputs are exactly equivariant to
rotations and reflections, and one set of weights works for every rectangle. A message travels one cell per block, so
answers that depend on distant cells need many blocks, that is, many cycles and steps. The core adds the input again
at every cycle.

Letters in shapes: B batch, S = R·C cells, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.layers import Linear, SwiGLU
from hrm_cli.puzzles.domain import Domain, neighborhood_of
from hrm_cli.puzzles.relations import Neighborhood

_QUIET = 0.1
"""Factor on the initial output projections of a block. In a new model the input passes many blocks almost unchanged,
and the gradient reaches all of them. In trials, models without it learned nothing of mazes for hundreds of steps."""


class NeighborsWeights(NamedTuple):
    """One mixer's weights in the forward dtype. Here, M and N are 2, for the sum and for the maximum."""

    into: Tensor
    """`[M·H, H]`: the M messages that a position sends."""
    out: Tensor
    """`[H, N·H]`: what a position makes of the N messages that it receives."""


class Neighbors(nn.Module):
    """Parameters of the mixer, for these numbers of messages."""

    def __init__(self, hidden_size: int, sent: int = 2, received: int = 2) -> None:
        super().__init__()
        self.in_proj = Linear(hidden_size, sent * hidden_size)
        self.o_proj = Linear(received * hidden_size, hidden_size)

    def finish_initialization(self, mlp: SwiGLU) -> None:
        """Scales the output projections of the mixer and of its block's SwiGLU."""
        with torch.no_grad():
            self.o_proj.weight.mul_(_QUIET)
            mlp.down_proj.weight.mul_(_QUIET)

    def cast(self, dtype: torch.dtype) -> NeighborsWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        return NeighborsWeights(self.in_proj.cast(dtype), self.o_proj.cast(dtype))


class NeighborsStructure:
    """Implements `hrm_cli.models.mixers.structure.Structure` for a domain whose cells are a grid."""

    name = "neighbors"
    buffers: tuple[str, ...] = ()

    def __init__(self, domain: Domain) -> None:
        self.grid = neighborhood_of(domain, self.name)
        self.positions = domain.seq_len
        self.num_inputs = self.num_outputs = domain.vocab_size

    def tables(self) -> dict[str, Tensor]:
        """None: neighbors are found by shifting the grid."""
        return {}

    def parameters(self, arch: ArchConfig, *, attends: bool) -> Neighbors:
        """The parameters of a block's mixer; the same in both modules of HRM."""
        return Neighbors(arch.hidden_size)

    def embed(self, inputs: Tensor, table: Tensor) -> Tensor:
        """Embeds tokens `[B, S]` with the table `[V, H]`, times √H: `[B, S, H]`."""
        return F.embedding(inputs, table) * math.sqrt(table.shape[1])

    def logits(self, z: Tensor, head: Tensor) -> Tensor:
        """Logits `[B, S, V]` of a state `[B, S, H]`."""
        return F.linear(z, head)

    def prepared(self, tables: Mapping[str, Tensor], dtype: torch.dtype) -> Neighborhood:
        """Rows and columns."""
        return self.grid

    def mix(self, x: Tensor, weights: NeighborsWeights, tables: Neighborhood) -> Tensor:
        """What every cell makes of its neighbors, `[B, S, H]` → `[B, S, H]`."""
        return F.linear(gathered(F.silu(F.linear(x, weights.into)), tables), weights.out)


def gathered(sent: Tensor, grid: Neighborhood) -> Tensor:
    """The sum and the maximum of what the neighbors of every cell send, `[B, S, 2·H]` → `[B, S, 2·H]`.

    A neighbor that does not exist counts as zero in both. SiLU is never far below zero, so that a maximum of zero means
    little more than "nothing was sent".
    """
    batch, _, width = sent.shape
    padded = F.pad(sent.view(batch, grid.rows, grid.columns, width), (0, 0, 1, 1, 1, 1))
    up, down = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    half = width // 2
    # Pairs first, so that rotations and reflections do not change the order of the sum, nor its rounding.
    total = (up[..., :half] + down[..., :half]) + (left[..., :half] + right[..., :half])
    vertical = torch.maximum(up[..., half:], down[..., half:])
    horizontal = torch.maximum(left[..., half:], right[..., half:])
    return torch.cat((total, torch.maximum(vertical, horizontal)), dim=-1).view(batch, -1, width)
