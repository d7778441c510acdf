"""The `edges` mixer: four states per cell of a grid, one for each side, and messages across edges and around cells.

A position means "the side of cell s that faces direction d". In each block it receives what the touching side of the
neighboring cell sends, and four messages that all sides of its cell receive: the sum and the maximum of what these four
sides send, and the sum and the maximum of what arrives at them from outside. So a state can say something about one
neighbor, such as "the shortest path comes from there", and a message can travel one cell per block. With one state
per cell, as in the `neighbors` mixer, a cell sends the same message to all neighbors. No weight depends on a direction
or on the size. So the outputs are exactly equivariant to rotations and reflections, and one set of weights works for
every rectangle.

Letters in shapes: B batch, S = R·C cells, T = 4·S positions (cell by cell, in the order up, right, down, left), H
hidden size, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.mixers.neighbors import Neighbors, NeighborsStructure, NeighborsWeights
from hrm_cli.puzzles.domain import Domain
from hrm_cli.puzzles.relations import Neighborhood

_SIDES = 4
_SENT = 3
"""Messages that a side sends: across the edge, into the cell's sum, and into the cell's maximum."""
_RECEIVED = 5
"""Messages that it receives: across the edge; sums and maxima of the cell's own messages, and of those from outside."""


class EdgesStructure(NeighborsStructure):
    """Implements `hrm_cli.models.mixers.structure.Structure` for a domain whose cells are a grid."""

    name = "edges"

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain)
        self.positions = _SIDES * domain.seq_len

    def parameters(self, arch: ArchConfig, *, attends: bool) -> Neighbors:
        """The parameters of a block's mixer; the same in both modules of HRM."""
        return Neighbors(arch.hidden_size, _SENT, _RECEIVED)

    def embed(self, inputs: Tensor, table: Tensor) -> Tensor:
        """Embeds tokens `[B, S]` at the four sides of a cell with the table `[V, H]`, times √H: `[B, T, H]`."""
        return super().embed(inputs, table).repeat_interleave(_SIDES, dim=1)

    def logits(self, z: Tensor, head: Tensor) -> Tensor:
        """Logits `[B, S, V]` of a state `[B, T, H]`, from the mean of a cell's sides."""
        return F.linear(z.unflatten(1, (-1, _SIDES)).mean(2), head)

    def mix(self, x: Tensor, weights: NeighborsWeights, tables: Neighborhood) -> Tensor:
        """What every side makes of what it receives, `[B, T, H]` → `[B, T, H]`."""
        hidden = x.shape[2]
        arrived, of_cells = gathered(F.silu(F.linear(x, weights.into)), tables)
        from_edges = F.linear(arrived, weights.out[:, :hidden]).unflatten(1, (-1, _SIDES))
        from_cells = F.linear(of_cells, weights.out[:, hidden:])
        return (from_edges + from_cells.unsqueeze(2)).flatten(1, 2)


def gathered(sent: Tensor, grid: Neighborhood) -> tuple[Tensor, Tensor]:
    """The messages `[B, T, 3·H]` → what arrives across the edges `[B, T, H]`, and what a cell receives `[B, S, 4·H]`.

    The latter is the sum and the maximum of its own sides' messages, and the sum and the maximum of those that arrived.
    Nothing arrives from outside the grid, which counts as zero.
    """
    batch, positions, width = sent.shape
    sides = sent.view(batch, grid.rows, grid.columns, _SIDES, width)
    across, total, most = sides.split(width // _SENT, dim=-1)
    up, right, down, left = across.unbind(3)
    from_above = F.pad(down[:, :-1], (0, 0, 0, 0, 1, 0))
    from_below = F.pad(up[:, 1:], (0, 0, 0, 0, 0, 1))
    from_right = F.pad(left[:, :, 1:], (0, 0, 0, 1))
    from_left = F.pad(right[:, :, :-1], (0, 0, 1, 0))
    arrived = torch.stack((from_above, from_right, from_below, from_left), dim=3)
    of_cells = torch.cat((_sum(total), most.amax(3), _sum(arrived), arrived.amax(3)), dim=-1)
    return arrived.view(batch, positions, -1), of_cells.flatten(1, 2)


def _sum(sides: Tensor) -> Tensor:
    """The sum over sides, `[…, 4, H]` → `[…, H]`.

    Opposite sides first, so that rotations and reflections do not change the order of the sum, nor its rounding.
    """
    opposite = sides[..., :2, :] + sides[..., 2:, :]
    return opposite[..., 0, :] + opposite[..., 1, :]
