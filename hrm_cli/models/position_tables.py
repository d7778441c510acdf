"""Position tables: a learned embedding for every row, column and box (`arch.position_tables`).

A cell's position embedding is the sum of the embeddings of its units ÷ √(number of its units), so that its variance
is that of one embedding. Cells that share a unit share that part of their embedding from the first step on.

Letters in shapes: S cells, K the most units of a cell, U units, H hidden size.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.models.layers import truncated_normal_
from hrm_cli.puzzles.cell_units import CellUnits


class PositionTables(nn.Module):
    """The tables of all units in one, `[U, H]`, in the order in which the domain declares the units."""

    units: Tensor
    shares: Tensor

    def __init__(self, units: CellUnits, hidden_size: int) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(torch.empty(units.count, hidden_size))
        belongs = units.of_cells >= 0
        shares = belongs / np.sqrt(np.maximum(belongs.sum(axis=1, keepdims=True), 1))
        # Not stored, because derived from the domain: `[S, K]` and `[S, K, 1]`.
        self.register_buffer(
            "units", torch.from_numpy(np.where(belongs, units.of_cells, 0)), persistent=False
        )
        self.register_buffer(
            "shares", torch.from_numpy(shares.astype(np.float32)).unsqueeze(-1), persistent=False
        )

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes the tables at random, with std 1/√H as the token embedding."""
        truncated_normal_(self.embedding_weight.data, self.embedding_weight.shape[1] ** -0.5, generator)

    def cells(self, dtype: torch.dtype) -> Tensor:
        """The position embedding of every cell in `dtype`, `[S, H]`; gradients flow back to the table."""
        return (F.embedding(self.units, self.embedding_weight) * self.shares).sum(1).to(dtype)
