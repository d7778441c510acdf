"""Positions of the cells in a domain's plain drawing, so that traces and pictures can mark them.

In a drawing, spaces and the characters of rules are separators. Every other character is a cell, in reading order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain, Grid

if TYPE_CHECKING:
    from hrm_cli.puzzles.grids.domain import GridsDomain

_SEPARATORS = frozenset(" +-|")
BLANK = "."
"""The character of an empty cell."""
SOLID = "#"
"""The character of a filled cell, such as a wall."""
DOT = "o"
"""The character of a marked cell, such as a piece of a path."""
MISSING = "?"
"""Stands for a cell of an own puzzle that has no symbol."""


@dataclass(frozen=True)
class Drawing:
    """A grid drawn in plain characters."""

    lines: Sequence[str]
    cells: Sequence[tuple[int, int]]
    """Line and column of each cell's character."""
    palette: Mapping[str, str] = field(default_factory=dict)
    """The color of each character in domains with colored cells (ARC); empty in other domains."""
    texts: Sequence[str] | None = None
    """The symbol of each cell of own puzzles, which may be words; None if every symbol is one character."""

    @property
    def symbols(self) -> list[str]:
        """The symbol of each cell, in reading order."""
        if self.texts is not None:
            return list(self.texts)
        return [self.lines[line][column] for line, column in self.cells]

    @property
    def is_plan(self) -> bool:
        """Whether cells are filled and marked (mazes) instead of containing symbols."""
        return self.texts is None and not {SOLID, DOT}.isdisjoint(self.symbols)

    @property
    def rows(self) -> list[int]:
        """The lines that hold cells."""
        return sorted({line for line, _ in self.cells})

    @property
    def columns(self) -> list[int]:
        """The character columns that hold cells."""
        return sorted({column for _, column in self.cells})

    @property
    def ruled_rows(self) -> list[int]:
        """Rows of cells that have a rule above them."""
        return _after_gaps(self.rows, 1)

    @property
    def ruled_columns(self) -> list[int]:
        """Columns of cells that have a rule to their left."""
        return _after_gaps(self.columns, 2)


def draw(domain: Domain, grid: Grid) -> Drawing:
    """The domain's drawing of a grid."""
    lines = domain.lines(grid)
    if domain.name == OWN_PUZZLES:
        own = cast("GridsDomain", domain)
        width = max(map(len, own.symbols)) + 1
        rows = own.cells_of(grid)
        places = [(line, width * column) for line, row in enumerate(rows) for column in range(len(row))]
        return Drawing(lines, places, texts=[cell or MISSING for row in rows for cell in row])
    cells = [
        (number, column)
        for number, line in enumerate(lines)
        for column, character in enumerate(line)
        if character not in _SEPARATORS
    ]
    return Drawing(lines, cells, getattr(domain, "palette", {}))


def changed_cells(before: Drawing | None, after: Drawing) -> set[int]:
    """Cells of `after` whose characters differ from `before`; empty if `before` is None.

    ARC grids may differ in size; a cell that did not exist before counts as changed.
    """
    if before is None:
        return set()
    old = dict(zip(before.cells, before.symbols, strict=True))
    places = zip(after.cells, after.symbols, strict=True)
    return {cell for cell, (place, symbol) in enumerate(places) if old.get(place) != symbol}


def _after_gaps(positions: list[int], usual: int) -> list[int]:
    return [i for i in range(1, len(positions)) if positions[i] - positions[i - 1] > usual]
