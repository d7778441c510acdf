"""The puzzle-embedding table: one learned vector per puzzle identifier, updated by its own sparse optimizer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PuzzleEmbedding(nn.Module):
    """A table `[num_puzzle_identifiers, puzzle_emb_ndim]`, initialized to zero.

    It is a buffer, not a parameter: the table can hold millions of rows, and a step uses only those of its batch, so a
    dense gradient would be wasteful. A training step copies the rows it uses (`rows`), and
    `hrm_cli.training.optimizers.SignDescent` writes the updated rows back.
    """

    weights: Tensor

    def __init__(self, num_puzzle_identifiers: int, ndim: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_puzzle_identifiers, ndim))

    def rows(self, puzzle_identifiers: Tensor, *, requires_grad: bool = False) -> Tensor:
        """Copies of the rows of `puzzle_identifiers` `[B]`: `[B, puzzle_emb_ndim]` float32, a leaf tensor."""
        return self.weights[puzzle_identifiers.long()].detach().requires_grad_(requires_grad)

    @torch.no_grad()
    def ablate(self) -> None:
        """Gives every puzzle identifier the vector of the blank one (row 0), so puzzles are no longer distinguished."""
        self.weights[1:] = self.weights[0].clone()


def as_positions(rows: Tensor, positions: int, hidden_size: int) -> Tensor:
    """Rows `[B, puzzle_emb_ndim]`, zero-padded to P·H and reshaped to P positions `[B, P, H]`."""
    padding = positions * hidden_size - rows.shape[-1]
    return F.pad(rows, (0, padding)).view(-1, positions, hidden_size)


def mean_table(table: Tensor, rows: int) -> Tensor:
    """A table `[rows, puzzle_emb_ndim]` for new puzzles. As in the reference, every row is the mean of the old rows."""
    return table.mean(dim=0, keepdim=True).expand(rows, -1).contiguous()
