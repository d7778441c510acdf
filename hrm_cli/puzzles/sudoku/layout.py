"""The cells of rows, columns and boxes, for every supported Sudoku size.

Letters in shapes: N size (digits, rows, columns), S = N² cells, U = 3N units, P peers of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError

BOXES = {
    4: (2, 2), 6: (2, 3), 8: (2, 4), 9: (3, 3), 10: (2, 5), 12: (3, 4), 15: (3, 5), 16: (4, 4), 20: (4, 5), 25: (5, 5)
}  # fmt: skip
"""Rows and columns of a box by size. Boxes that are not square are wider than they are high."""

SYMBOLS = "123456789ABCDEFGHIJKLMNOP"
"""The digits of the largest size, one character each."""

LARGEST_LISTED = 9
"""Largest size whose arrangements are listed; 16×16 has 8 million for rows and as many for columns."""

FEWEST_CLUES = {4: 4, 6: 8, 9: 17}
"""The least number of clues with which a puzzle can have one solution (9: McGuire et al. 2012), where it is known.

Other sizes need at least N − 1 clues: two digits that are not given could be exchanged.
"""


@dataclass(frozen=True)
class Layout:
    """The cells of every unit and the peers of every cell. Cells are numbered row by row from 0."""

    size: int
    box_rows: int
    box_columns: int
    units: NDArray[np.int16]
    """Rows, then columns, then boxes, `[U, N]`."""
    peers: NDArray[np.int16]
    """The cells that share a unit with each cell, `[S, P]`."""
    units_of: NDArray[np.int16]
    """Row, column and box of each cell, as indices into `units`, `[S, 3]`."""

    def unit_name(self, unit: int) -> str:
        """The name of a unit in messages: `row 1`, `column 3`, `box 9`."""
        kind, number = divmod(unit, self.size)
        return f"{('row', 'column', 'box')[kind]} {number + 1}"

    def cell_name(self, cell: int | np.integer) -> str:
        """The name of a cell in messages: `row 1, column 2`."""
        row, column = divmod(int(cell), self.size)
        return f"row {row + 1}, column {column + 1}"


@lru_cache(maxsize=len(BOXES))
def layout(size: int) -> Layout:
    """The layout of N×N Sudoku. Raises ConfigError for a size that is not in `BOXES`."""
    if not isinstance(size, int) or size not in BOXES:
        raise ConfigError(f"Sudoku size {size!r}: choose one of {', '.join(map(str, BOXES))}.")
    box_rows, box_columns = BOXES[size]
    cells = np.arange(size * size)
    row, column = np.divmod(cells, size)
    box = row // box_rows * box_rows + column // box_columns
    units = np.stack([np.flatnonzero(kind == i) for kind in (row, column, box) for i in range(size)])
    shares = (row[:, None] == row) | (column[:, None] == column) | (box[:, None] == box)
    np.fill_diagonal(shares, False)
    peers = np.stack([np.flatnonzero(line) for line in shares])
    units_of = np.stack([row, column + size, box + 2 * size], axis=1)
    return Layout(
        size, box_rows, box_columns, units.astype(np.int16), peers.astype(np.int16), units_of.astype(np.int16)
    )
