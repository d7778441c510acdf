"""The `units` mixer: a state for every (cell, symbol), and messages along the relations that a domain declares.

For Sudoku a position is "the digit d in cell s". In a block it gets three messages: what its row, its column and its
box hold of the same digit; what its cell holds of the other digits; and what cells with similar candidates hold
(attention between cells, whose scores sum over the symbols; not in the fast module of HRM, which runs more often and
works along units alone). No weight depends on a cell, on a digit, or on how many
there are. So outputs permute exactly with digits, bands, stacks, rows, columns and transposition, and one set of
weights serves every size.

Letters in shapes: B batch, S cells, D symbols, T = S·D positions, U units, H hidden size, M = H/2 width of messages,
N heads, A = M/N width of a head for one symbol.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.models.layers import Linear, SwiGLU, SwiGLUWeights, swiglu
from hrm_cli.puzzles.relations import Relations

KINDS_OF_GIVENS = 3
"""Entries of the token embedding: the cell is blank; it is given, and another symbol; it is given, and this symbol."""
EXCLUDED = -30.0
"""Logit of tokens that are not symbols: blank and padding are never answers."""
_UNRELATED = -3.0
"""Attention bias at the start between cells that share no unit."""


class UnitsWeights(NamedTuple):
    """One mixer's weights in the forward dtype."""

    into: Tensor
    """`[2·M + 3·M, H]`: the messages to units and to the cell, query, key, value; `[2·M, H]` without attention."""
    units: tuple[SwiGLUWeights, ...]
    """What a unit makes of its average, for each class of units: M → H."""
    cell: SwiGLUWeights
    """What a cell makes of the average over its symbols: M → H."""
    out: Tensor | None
    """`[H, M]`: attention's output projection; None without attention."""
    bias: Tensor | None
    """`[N, K]`: attention bias of each head, by how two cells are related."""


class Units(nn.Module):
    """Parameters of the mixer."""

    def __init__(self, hidden_size: int, num_heads: int, relations: Relations, *, attends: bool) -> None:
        super().__init__()
        width, num_classes = hidden_size // 2, len(relations.classes)
        self.attends = attends
        self.in_proj = Linear(hidden_size, (5 if attends else 2) * width)
        self.unit_mlps = nn.ModuleList(_Message(width, hidden_size) for _ in range(num_classes))
        self.cell_mlp = _Message(width, hidden_size)
        if attends:
            self.o_proj = Linear(width, hidden_size)
            self.pair_bias = nn.Parameter(torch.empty(num_heads, relations.num_kinds_of_pairs))

    def initialize_bias(self) -> None:
        """Attention starts among related cells."""
        if not self.attends:
            return
        nn.init.zeros_(self.pair_bias)
        with torch.no_grad():
            self.pair_bias[:, 0] = _UNRELATED

    def cast(self, dtype: torch.dtype) -> UnitsWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        return UnitsWeights(
            self.in_proj.weight.to(dtype),
            tuple(mlp.cast(dtype) for mlp in self.unit_mlps),  # type: ignore[operator]
            self.cell_mlp.cast(dtype),
            self.o_proj.weight.to(dtype) if self.attends else None,
            self.pair_bias.to(dtype) if self.attends else None,
        )


class _Message(SwiGLU):
    """A SwiGLU from a message's width to the hidden size, as wide inside as the latter."""

    def __init__(self, width: int, hidden_size: int) -> None:
        nn.Module.__init__(self)
        self.gate_up_proj = Linear(width, 2 * hidden_size)
        self.down_proj = Linear(hidden_size, hidden_size)


class RelationTables(NamedTuple):
    """A domain's relations as tensors on the model's device; derived, never stored."""

    membership: Tensor
    """`[U, S]` in the forward dtype, 1 where a cell belongs to a unit."""
    averages: Tensor
    """The same, each row divided by the cells of its unit."""
    pairs: Tensor
    """`[K, S·S]` in the forward dtype: 1 where two cells are related in that way."""
    sizes: tuple[int, ...]
    """Units of each class."""
    num_symbols: int


def relation_tables(relations: Relations) -> tuple[Tensor, Tensor]:
    """The membership `[U, S]` and the kinds of pairs `[K, S·S]`, as float32 tensors of zeros and ones."""
    kinds = np.arange(relations.num_kinds_of_pairs)[:, None] == relations.kinds_of_pairs().ravel()
    with torch.device("cpu"):
        tables = torch.from_numpy(relations.membership()), torch.from_numpy(kinds.astype(np.float32))
    here = torch.get_default_device()
    return tables[0].to(here), tables[1].to(here)


def mix_units(x: Tensor, weights: UnitsWeights, tables: RelationTables) -> Tensor:
    """What every position hears, `[B, T, H]` → `[B, T, H]`."""
    batch, positions, hidden = x.shape
    symbols, width = tables.num_symbols, hidden // 2
    cells = positions // symbols
    told_units, told_cell, *attended = F.linear(x, weights.into).split(width, dim=-1)
    said = _from_units(told_units, weights, tables, cells).view(batch, cells, symbols, hidden)
    heard = (said + _from_symbols(told_cell, weights, cells, symbols)).view(batch, positions, hidden)
    if weights.out is None or weights.bias is None:
        return heard
    q, k, v = attended
    return heard + F.linear(_from_cells(q, k, v, weights.bias, tables, cells), weights.out)


def _from_units(told: Tensor, weights: UnitsWeights, tables: RelationTables, cells: int) -> Tensor:
    """The messages from the units of each cell about each symbol: `[B, T, M]` → `[B, S, D·H]`."""
    batch = len(told)
    averages = torch.bmm(tables.averages.expand(batch, -1, -1), F.silu(told).reshape(batch, cells, -1))
    said = [
        swiglu(part.reshape(batch, -1, told.shape[-1]), mlp).view(batch, part.shape[1], -1)
        for part, mlp in zip(averages.split(tables.sizes, dim=1), weights.units, strict=True)
    ]
    return torch.bmm(tables.membership.T.expand(batch, -1, -1), torch.cat(said, dim=1))


def _from_symbols(told: Tensor, weights: UnitsWeights, cells: int, symbols: int) -> Tensor:
    """The message of a cell about all its symbols: `[B, T, M]` → `[B, S, 1, H]`."""
    average = F.silu(told).view(len(told), cells, symbols, -1).mean(2)
    return swiglu(average, weights.cell).unsqueeze(2)


def _from_cells(
    q: Tensor, k: Tensor, v: Tensor, pair_bias: Tensor, tables: RelationTables, cells: int
) -> Tensor:
    """Attention between cells, scores summed over symbols: `[B, T, M]` each → `[B, T, M]`."""
    batch, positions, width = q.shape
    num_heads = len(pair_bias)
    shape = (batch, cells, positions // cells, num_heads, width // num_heads)
    # Heads of D·A numbers: a cell's candidates are compared symbol by symbol.
    q, k, v = (part.view(shape).permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1) for part in (q, k, v))
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2)).view(batch, num_heads, cells, cells)
    # A sum, not an index: the backward of indexing adds up one number at a time.
    bias = (pair_bias.unsqueeze(2) * tables.pairs).sum(1).view(num_heads, cells, cells)
    attended = torch.softmax(scores + bias, dim=-1).to(v.dtype)
    mixed = torch.bmm(attended.flatten(0, 1), v).view(batch, num_heads, cells, shape[2], shape[4])
    return mixed.permute(0, 2, 3, 1, 4).reshape(batch, positions, width)


def embed_givens(inputs: Tensor, table: Tensor, first_symbol: int, num_symbols: int) -> Tensor:
    """The embedding of tokens `[B, S]` at every (cell, symbol), times √H: `[B, T, H]` by the table `[3, H]`."""
    symbol = torch.arange(first_symbol, first_symbol + num_symbols, device=inputs.device)
    given = inputs.unsqueeze(-1)
    kind = torch.where(given < first_symbol, 0, torch.where(given == symbol, 2, 1))
    return F.embedding(kind.flatten(1), table) * math.sqrt(table.shape[1])


def symbol_logits(z: Tensor, head: Tensor, relations: Relations) -> Tensor:
    """Logits `[B, S, V]` of a state `[B, T, H]` by the head `[1, H]`; tokens that are not symbols get `EXCLUDED`."""
    scores = F.linear(z, head).view(len(z), relations.seq_len, relations.num_symbols)
    behind = relations.vocab_size - relations.first_symbol - relations.num_symbols
    return F.pad(scores, (relations.first_symbol, behind), value=EXCLUDED)


def least(values: Tensor) -> Tensor:
    """A smooth minimum over positions, `[B, T, n]` → `[B, n]`: a whole is right only where every part of it is."""
    return math.log(values.shape[1]) - torch.logsumexp(-values, dim=1)
