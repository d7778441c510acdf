"""The `units` mixer: one state per (cell, symbol) pair, and message passing along the relations a domain declares.

For Sudoku, a position means "digit d in cell s". In each block it receives three messages:
- from its units (row, column and box), about the same digit in their cells;
- from its own cell, about the other digits;
- from other cells with similar candidates, by attention between cells with scores summed over the symbols. The
  L-module of HRM, which runs more often, has no attention.

No weight depends on a cell, on a digit, or on their number. So the outputs are exactly equivariant to permutations of
digits, bands, stacks, rows and columns and to transposition, and one set of weights works for every size.

Letters in shapes: B batch, S cells, D symbols, T = S·D positions, U units, H hidden size, M = H/2 width of messages,
N heads, A = M/N width of a head for one symbol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.layers import Linear, SwiGLU, SwiGLUWeights, swiglu
from hrm_cli.puzzles.domain import Domain, relations_of
from hrm_cli.puzzles.relations import Relations

KINDS_OF_GIVENS = 3
"""Entries of the token embedding: the cell is blank, holds a different given symbol, or holds this given symbol."""
EXCLUDED = -30.0
"""Logit of tokens that are not symbols (blank, padding), which are never answers."""
_UNRELATED = -3.0
"""Initial attention bias between cells that share no unit."""


class UnitsWeights(NamedTuple):
    """One mixer's weights in the forward dtype."""

    into: Tensor
    """`[5·M, H]`: projections to the units, to the cell, query, key, value; `[2·M, H]` without attention."""
    units: tuple[SwiGLUWeights, ...]
    """For each class of units, the MLP applied to a unit's average: M → H."""
    cell: SwiGLUWeights
    """The MLP applied to a cell's average over its symbols: M → H."""
    out: Tensor | None
    """`[H, M]`: attention's output projection; None without attention."""
    bias: Tensor | None
    """`[N, K]`: attention bias of each head for each of the K kinds of relation between two cells."""


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

    def finish_initialization(self, mlp: SwiGLU) -> None:
        """Initializes the attention bias so that attention starts between related cells."""
        if not self.attends:
            return
        nn.init.zeros_(self.pair_bias)
        with torch.no_grad():
            self.pair_bias[:, 0] = _UNRELATED

    def cast(self, dtype: torch.dtype) -> UnitsWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        return UnitsWeights(
            self.in_proj.cast(dtype),
            tuple(mlp.cast(dtype) for mlp in self.unit_mlps),  # type: ignore[operator]
            self.cell_mlp.cast(dtype),
            self.o_proj.cast(dtype) if self.attends else None,
            self.pair_bias.to(dtype) if self.attends else None,
        )


class _Message(SwiGLU):
    """A SwiGLU from the message width M to the hidden size H, with inner width H."""

    def __init__(self, width: int, hidden_size: int) -> None:
        nn.Module.__init__(self)
        self.gate_up_proj = Linear(width, 2 * hidden_size)
        self.down_proj = Linear(hidden_size, hidden_size)


class RelationTables(NamedTuple):
    """A domain's relations as tensors on the model's device. They are derived, so checkpoints do not store them."""

    membership: Tensor
    """`[U, S]` in the forward dtype, 1 where a cell belongs to a unit."""
    averages: Tensor
    """`membership` with each row divided by its unit's number of cells."""
    pairs: Tensor
    """`[K, S·S]` in the forward dtype: 1 where two cells have the k-th kind of relation."""
    sizes: tuple[int, ...]
    """Number of units in each class."""
    num_symbols: int


def relation_tables(relations: Relations) -> tuple[Tensor, Tensor]:
    """The memberships `[U, S]` and the kinds of pairs `[K, S·S]`, as float32 tensors of zeros and ones."""
    kinds = np.arange(relations.num_kinds_of_pairs)[:, None] == relations.kinds_of_pairs().ravel()
    with torch.device("cpu"):
        tables = torch.from_numpy(relations.membership()), torch.from_numpy(kinds.astype(np.float32))
    here = torch.get_default_device()
    return tables[0].to(here), tables[1].to(here)


def mix_units(x: Tensor, weights: UnitsWeights, tables: RelationTables) -> Tensor:
    """The sum of the messages that every position receives, `[B, T, H]` → `[B, T, H]`."""
    batch, positions, hidden = x.shape
    symbols, width = tables.num_symbols, hidden // 2
    cells = positions // symbols
    to_units, to_cell, *attended = F.linear(x, weights.into).split(width, dim=-1)
    from_units = _from_units(to_units, weights, tables, cells).view(batch, cells, symbols, hidden)
    from_cell = _from_symbols(to_cell, weights, cells, symbols)
    messages = (from_units + from_cell).view(batch, positions, hidden)
    if weights.out is None or weights.bias is None:
        return messages
    q, k, v = attended
    return messages + F.linear(_from_cells(q, k, v, weights.bias, tables, cells), weights.out)


def _from_units(to_units: Tensor, weights: UnitsWeights, tables: RelationTables, cells: int) -> Tensor:
    """The messages that each cell receives from its units about each symbol: `[B, T, M]` → `[B, S, D·H]`."""
    batch = to_units.shape[0]
    averages = torch.bmm(tables.averages.expand(batch, -1, -1), F.silu(to_units).reshape(batch, cells, -1))
    messages = [
        swiglu(part.reshape(batch, -1, to_units.shape[-1]), mlp).view(batch, part.shape[1], -1)
        for part, mlp in zip(averages.split(tables.sizes, dim=1), weights.units, strict=True)
    ]
    return torch.bmm(tables.membership.T.expand(batch, -1, -1), torch.cat(messages, dim=1))


def _from_symbols(to_cell: Tensor, weights: UnitsWeights, cells: int, symbols: int) -> Tensor:
    """The message that all positions of a cell receive about its symbols: `[B, T, M]` → `[B, S, 1, H]`."""
    average = F.silu(to_cell).view(to_cell.shape[0], cells, symbols, -1).mean(2)
    return swiglu(average, weights.cell).unsqueeze(2)


def _from_cells(
    q: Tensor, k: Tensor, v: Tensor, pair_bias: Tensor, tables: RelationTables, cells: int
) -> Tensor:
    """Attention between cells, with scores summed over symbols. q, k, v `[B, T, M]` → `[B, T, M]`."""
    batch, positions, width = q.shape
    num_heads = len(pair_bias)
    shape = (batch, cells, positions // cells, num_heads, width // num_heads)
    # A head has size D·A, so cells are compared symbol by symbol.
    q, k, v = (part.view(shape).permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1) for part in (q, k, v))
    attended = _between_cells(q, k, pair_bias, tables, batch).to(v.dtype)
    mixed = torch.bmm(attended.flatten(0, 1), v).view(batch, num_heads, cells, shape[2], shape[4])
    return mixed.permute(0, 2, 3, 1, 4).reshape(batch, positions, width)


def _between_cells(q: Tensor, k: Tensor, pair_bias: Tensor, tables: RelationTables, batch: int) -> Tensor:
    """Attention weights `[B, N, S, S]` from the queries and keys of all heads, `[B·N, S, D·A]`."""
    num_heads, cells = len(pair_bias), q.shape[1]
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2)).view(batch, num_heads, cells, cells)
    # A sum instead of indexing: the backward pass of indexing adds one number at a time.
    bias = (pair_bias.unsqueeze(2) * tables.pairs).sum(1).view(num_heads, cells, cells)
    return torch.softmax(scores + bias, dim=-1)


def attention_between_cells(x: Tensor, weights: UnitsWeights, tables: RelationTables) -> Tensor | None:
    """The attention weights of `mix_units` for `[B, T, H]`, `[B, N, S, S]`; None for a block without attention."""
    if weights.bias is None:
        return None
    batch, positions, hidden = x.shape
    width, num_heads, symbols = hidden // 2, len(weights.bias), tables.num_symbols
    shape = (batch, positions // symbols, symbols, num_heads, width // num_heads)
    _, _, q, k, _ = F.linear(x, weights.into).split(width, dim=-1)
    q, k = (part.view(shape).permute(0, 3, 1, 2, 4).flatten(3).flatten(0, 1) for part in (q, k))
    return _between_cells(q, k, weights.bias, tables, batch).float()


class UnitsStructure:
    """Implements `hrm_cli.models.mixers.structure.Structure` for a domain that declares relations."""

    name = "units"
    buffers = ("membership", "pairs")
    num_inputs = KINDS_OF_GIVENS
    num_outputs = 1

    def __init__(self, domain: Domain) -> None:
        self.relations = relations_of(domain)
        self.positions = self.relations.seq_len * self.relations.num_symbols

    def tables(self) -> dict[str, Tensor]:
        """The memberships and the kinds of pairs."""
        return dict(zip(self.buffers, relation_tables(self.relations), strict=True))

    def parameters(self, arch: ArchConfig, *, attends: bool) -> Units:
        """The parameters of a block's mixer."""
        return Units(arch.hidden_size, arch.num_heads, self.relations, attends=attends)

    def embed(self, inputs: Tensor, table: Tensor) -> Tensor:
        """Embeds tokens `[B, S]` at every (cell, symbol) position with the table `[3, H]`, times √H: `[B, T, H]`."""
        first = self.relations.first_symbol
        symbol = torch.arange(first, first + self.relations.num_symbols, device=inputs.device)
        given = inputs.unsqueeze(-1)
        kind = torch.where(given < first, 0, torch.where(given == symbol, 2, 1))
        return F.embedding(kind.flatten(1), table) * math.sqrt(table.shape[1])

    def logits(self, z: Tensor, head: Tensor) -> Tensor:
        """Logits `[B, S, V]` of a state `[B, T, H]` with the head `[1, H]`. Tokens that are not symbols: `EXCLUDED`."""
        relations = self.relations
        scores = F.linear(z, head).view(z.shape[0], relations.seq_len, relations.num_symbols)
        after = relations.vocab_size - relations.first_symbol - relations.num_symbols
        return F.pad(scores, (relations.first_symbol, after), value=EXCLUDED)

    def prepared(self, tables: Mapping[str, Tensor], dtype: torch.dtype) -> RelationTables:
        """The tables in `dtype`, with the averages over units."""
        membership, pairs = tables["membership"].to(dtype), tables["pairs"].to(dtype)
        sizes = tuple(len(units) for _, units in self.relations.classes)
        averages = membership / membership.sum(1, keepdim=True)
        return RelationTables(membership, averages, pairs, sizes, self.relations.num_symbols)

    def mix(self, x: Tensor, weights: UnitsWeights, tables: RelationTables) -> Tensor:
        """The sum of the messages that every position receives."""
        return mix_units(x, weights, tables)
