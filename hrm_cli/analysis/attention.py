"""Kinds of pairs of cells, and how much attention each kind gets.

Letters in shapes: B puzzles, N heads, T positions, S cells, P puzzle positions in front of the cells, K kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.analysis.measures import entropy, shares_by_kind, uniform_shares
from hrm_cli.puzzles.domain import Domain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

PREFIX = "puzzle embedding"


@dataclass(frozen=True)
class PairKinds:
    """The kind of every pair (attending cell, attended cell)."""

    names: tuple[str, ...]
    kinds: NDArray[np.int64]
    """Index into `names`, `[S, S]`."""

    def with_prefix(self, positions: int) -> PairKinds:
        """The same for `positions` = P + S positions: the first P are a kind of their own; only cells attend."""
        cells = len(self.kinds)
        before = positions - cells
        if before <= 0:
            return self
        prefix = np.full((cells, before), len(self.names), np.int64)
        return PairKinds((*self.names, PREFIX), np.concatenate([prefix, self.kinds], axis=1))


def pair_kinds(domain: Domain | None) -> PairKinds | None:
    """The kinds of pairs of a domain; None for a domain whose cells have no positions.

    Sudoku: `intersection` are the cells that share two units with a cell: its box, and its row or column.
    """
    if isinstance(domain, SudokuDomain):
        return _sudoku_kinds(domain)
    neighborhood = getattr(domain, "neighborhood", None)
    if neighborhood is None:
        return None
    return _grid_kinds(neighborhood.rows, neighborhood.columns)


def _sudoku_kinds(domain: SudokuDomain) -> PairKinds:
    size, layout = domain.size, domain.layout
    cell = np.arange(size * size)
    row, column = cell // size, cell % size
    box = row // layout.box_rows * layout.box_rows + column // layout.box_columns
    same = [place[:, None] == place[None, :] for place in (row, column, box)]
    kinds = np.full((size * size, size * size), 5, np.int64)
    kinds[same[0]], kinds[same[1]], kinds[same[2]] = 1, 2, 3
    kinds[same[2] & (same[0] | same[1])] = 4
    np.fill_diagonal(kinds, 0)
    return PairKinds(("itself", "row", "column", "box", "intersection", "elsewhere"), kinds)


def _grid_kinds(rows: int, columns: int) -> PairKinds:
    cell = np.arange(rows * columns)
    down, across = (abs(place[:, None] - place[None, :]) for place in (cell // columns, cell % columns))
    kinds = np.full((len(cell), len(cell)), 4, np.int64)
    kinds[down == 0], kinds[across == 0] = 2, 3
    kinds[down + across == 1] = 1
    np.fill_diagonal(kinds, 0)
    return PairKinds(("itself", "neighbors", "row", "column", "elsewhere"), kinds)


@dataclass
class AttentionTally:
    """Sums of shares over the updates of one module, by block and head."""

    pairs: PairKinds
    """Kinds of pairs of cells. The number of puzzle positions follows from the size of the weights."""
    positions: int = 0
    """T, once weights have been added."""
    sums: dict[tuple[str, int], list[NDArray[np.floating[Any]]]] = field(default_factory=dict)
    """By module (H or L) and block: shares of each head `[N, K]`, one array for each update."""
    on_empty: dict[tuple[str, int], list[NDArray[np.floating[Any]]]] = field(default_factory=dict)
    """Likewise: the share on empty cells, `[N]`."""
    bits: dict[tuple[str, int], list[NDArray[np.floating[Any]]]] = field(default_factory=dict)
    """Likewise: the entropy of the weights, `[N]`."""

    def add(
        self, module: str, block: int, weights: NDArray[np.floating[Any]], empty: NDArray[np.bool_] | None
    ) -> None:
        """Adds the weights `[B, N, T, T]` of one update; `empty` : empty cells, `[≥ B, S]`."""
        cells, self.positions = len(self.pairs.kinds), weights.shape[3]
        weights = weights[:, :, self.positions - cells :]
        pairs = self.pairs.with_prefix(self.positions)
        key = module, block
        shares = shares_by_kind(weights, pairs.kinds, len(pairs.names))
        self.sums.setdefault(key, []).append(shares.mean(axis=0))
        self.bits.setdefault(key, []).append(entropy(weights).mean(axis=0))
        if empty is not None:
            on = (weights[..., -cells:] * empty[: len(weights), None, None, :]).sum(axis=-1).mean(axis=(0, 2))
            self.on_empty.setdefault(key, []).append(on)

    def document(self, empty_share: float | None) -> dict[str, Any] | None:
        """The shares of each head, averaged over updates, against uniform attention; None if nothing was added."""
        if not self.sums:
            return None
        pairs = self.pairs.with_prefix(self.positions)
        names = pairs.names
        heads: list[dict[str, Any]] = [
            {
                "module": module,
                "block": block,
                "head": head,
                "shares": dict(zip(names, shares[head].tolist(), strict=True)),
                "on_empty": self._mean(self.on_empty, (module, block), head),
                "entropy_bits": self._mean(self.bits, (module, block), head),
            }
            for (module, block), found in sorted(self.sums.items())
            for shares in [np.mean(found, axis=0)]
            for head in range(len(shares))
        ]
        modules = {
            module: {
                name: float(np.mean([head["shares"][name] for head in heads if head["module"] == module]))
                for name in names
            }
            for module in sorted({str(head["module"]) for head in heads})
        }
        on_empty = {
            module: float(np.mean([head["on_empty"] for head in heads if head["module"] == module]))
            for module in modules
            if self.on_empty
        }
        return {
            "kinds": list(names),
            "uniform": dict(zip(names, uniform_shares(pairs.kinds, len(names)).tolist(), strict=True)),
            "uniform_on_empty": empty_share,
            "uniform_bits": float(np.log2(self.positions)),
            "modules": modules,
            "on_empty": on_empty,
            "heads": heads,
        }

    @staticmethod
    def _mean(
        found: Mapping[tuple[str, int], list[NDArray[np.floating[Any]]]], key: tuple[str, int], head: int
    ) -> float | None:
        return float(np.mean(found[key], axis=0)[head]) if key in found else None
