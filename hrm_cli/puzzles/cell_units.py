"""The units that each cell of a puzzle belongs to, for `arch.position_tables`.

A domain with relations declares them (Sudoku: row, column and box). Where the cells are a grid without declared
relations, they are its rows and columns. Only the membership is stated, not the rules that hold in a unit.

Letters in shapes: S cells, K the most units of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.domain import Domain, infer_domain, parse_domain
from hrm_cli.puzzles.relations import Neighborhood, Relations


@dataclass(frozen=True)
class CellUnits:
    """Which units each cell belongs to."""

    count: int
    """Number of units in all classes, in the order in which the domain declares them."""
    of_cells: NDArray[np.int64]
    """The units of each cell, `[S, K]`; −1 fills the rows of cells with fewer than K."""


def cell_units(stated: Mapping[str, Any] | None, vocab_size: int, seq_len: int) -> CellUnits:
    """The units of the domain that a file states, or else of the one with this vocabulary and length.

    Raises ConfigError if the domain is unknown or declares neither relations nor a grid.
    """
    domain = parse_domain(stated)
    if domain is None or domain.seq_len != seq_len:
        domain = infer_domain(vocab_size, seq_len)
    if domain is None:
        raise ConfigError(
            f"arch.position_tables: no known domain has {vocab_size} tokens and {seq_len} cells, so the rows and "
            "columns of the cells are unknown. Use arch.position_tables=false"
        )
    return units_of(domain)


def units_of(domain: Domain) -> CellUnits:
    """The units of a domain's cells. Raises ConfigError if it declares neither relations nor a grid."""
    relations: Relations | None = getattr(domain, "relations", None)
    if relations is not None:
        return _from_relations(relations)
    neighborhood: Neighborhood | None = getattr(domain, "neighborhood", None)
    if neighborhood is None:
        raise ConfigError(
            "arch.position_tables needs a domain that declares relations between its cells (Sudoku) or whose cells "
            f"are a grid (mazes, ARC); {domain.describe()} does neither. Use arch.position_tables=false"
        )
    cells = np.arange(neighborhood.rows * neighborhood.columns)
    rows, columns = cells // neighborhood.columns, cells % neighborhood.columns
    return CellUnits(
        neighborhood.rows + neighborhood.columns, np.stack([rows, neighborhood.rows + columns], axis=1)
    )


def unit_count(stated: Mapping[str, Any] | None, vocab_size: int, seq_len: int) -> int:
    """The number of units of `cell_units`; for an unknown domain, that of a square grid of this length."""
    try:
        return cell_units(stated, vocab_size, seq_len).count
    except ConfigError:
        return 2 * math.ceil(math.sqrt(seq_len))


def _from_relations(relations: Relations) -> CellUnits:
    membership = relations.membership() > 0
    most = int(membership.sum(axis=0).max(initial=0))
    of_cells = np.full((relations.seq_len, most), -1, np.int64)
    for cell, units in enumerate(membership.T):
        own = np.flatnonzero(units)
        of_cells[cell, : len(own)] = own
    return CellUnits(relations.num_units, of_cells)
