"""Pins of a maze: free cells turned into walls. Search tries a maze again with fewer ways through it.

A maze with a wall where its shortest path does not go has the same shortest path, and fewer loops. So a search over
such walls ends at the shortest path, if the model solves mazes with few loops.

Letters in shapes: S cells, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.domain import Tokens

CHILDREN = 4
"""Walls tried for a maze that the model did not solve."""
_CERTAIN = 1e-4
"""A cell is on the path for certain if the probability that it is not is below this."""


def walls_to_try(
    tokens: Tokens, probabilities: NDArray[np.float64], columns: int, *, free: int, mark: int, wall: int
) -> list[tuple[int, int, float]]:
    """Up to `CHILDREN` walls for a maze `[S]`, each as cell, token and the probability that no path is there.

    `probabilities` `[S, V]` are the model's. The cells are those about which it is least certain, of different
    corridors: a wall anywhere in a corridor closes it.
    """
    on_path = probabilities[:, mark]
    open_cells = np.flatnonzero((tokens == free) & (on_path > _CERTAIN) & (on_path < 1 - _CERTAIN))
    order = open_cells[np.argsort(np.abs(on_path[open_cells] - 0.5), kind="stable")]
    is_open = tokens != wall
    closed: set[int] = set()
    walls: list[tuple[int, int, float]] = []
    for cell in order.tolist():
        if cell not in closed:
            walls.append((cell, wall, float(1 - on_path[cell])))
            closed |= _corridor(is_open, tokens == free, cell, columns)
            if len(walls) == CHILDREN:
                break
    return walls


def _corridor(is_open: NDArray[np.bool_], is_free: NDArray[np.bool_], cell: int, columns: int) -> set[int]:
    """The cells that a wall at `cell` closes together: from it, through free cells with at most two open neighbors."""
    found, waiting = {cell}, [cell]
    while waiting:
        here = waiting.pop()
        beside = _open_neighbors(is_open, here, columns)
        if is_free[here] and len(beside) <= 2:
            waiting += [one for one in beside if one not in found]
            found.update(beside)
    return found


def _open_neighbors(is_open: NDArray[np.bool_], cell: int, columns: int) -> list[int]:
    column = cell % columns
    beside = [cell - columns] * (cell >= columns) + [cell + columns] * (cell + columns < len(is_open))
    beside += [cell - 1] * (column > 0) + [cell + 1] * (column + 1 < columns)
    return [one for one in beside if is_open[one]]
