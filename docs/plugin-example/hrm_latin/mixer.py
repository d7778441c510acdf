"""A mixer for puzzles on a grid: every cell receives the means of its row and of its column."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.mixers.neighbors import NeighborsStructure, NeighborsWeights
from hrm_cli.puzzles.relations import Neighborhood


class Lines(NeighborsStructure):
    """Only the exchange between cells differs from `arch.mixer=neighbors`."""

    name = "lines"

    def mix(self, x: Tensor, weights: NeighborsWeights, tables: Neighborhood) -> Tensor:
        """What the cells of `x` `[B, S, H]` receive."""
        sent = F.silu(F.linear(x, weights.into)).view(len(x), tables.rows, tables.columns, -1)
        by_row, by_column = sent.chunk(2, dim=-1)
        rows, columns = by_row.mean(2, keepdim=True), by_column.mean(1, keepdim=True)
        received = torch.cat((rows.expand_as(by_row), columns.expand_as(by_column)), dim=-1)
        return F.linear(received.flatten(1, 2), weights.out)
