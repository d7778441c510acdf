"""An exact Sudoku solver: the number of solutions, the solutions, and the difficulty for plain search.

Each cell has a bit mask of candidates. The solver propagates naked and hidden singles until nothing changes. Then it
branches on the first cell with the fewest candidates: either its lowest candidate, or any of the others. The number of
these splits is the difficulty.

Letters in shapes: n puzzles, N size, S = N² cells, L limit of solutions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.sudoku.layout import layout

UNLIMITED = 1 << 62
"""A budget of splits that is never exceeded."""
BUDGET = 500_000
"""Splits after which `search` gives up: a few seconds at 25×25. Proper 9×9 puzzles need a few thousand at most."""
UNKNOWN = -1
"""The number of solutions of a puzzle for which the budget was not enough."""


class Board(NamedTuple):
    """The arrays of a layout in the form that the kernels need."""

    units: NDArray[np.int16]
    """The cells of each unit, `[U, N]`."""
    peers: NDArray[np.int16]
    """The cells that share a unit with each cell, `[S, P]`."""
    units_of: NDArray[np.int16]
    """The three units of each cell, `[S, 3]`."""


class Workspace(NamedTuple):
    """Working arrays of the search, allocated once for many puzzles."""

    masks: NDArray[np.int16]
    """Candidates at each depth of the search, `[S + 1, S]`."""
    cells: NDArray[np.int16]
    """The cell split at each depth."""
    bits: NDArray[np.int16]
    """The candidate tried first at each depth."""
    queue: NDArray[np.int16]
    """Queue of newly determined cells whose peers are not updated yet."""
    used: NDArray[np.int16]
    """Digits given in each unit, `[U]`."""


class Search(NamedTuple):
    """The results of exhaustive search for n puzzles."""

    counts: NDArray[np.int32]
    """Number of solutions up to the limit, or `UNKNOWN`, `[n]`."""
    branches: NDArray[np.int64]
    """Number of splits until the limit was reached or the search was complete, `[n]`: the difficulty."""
    solutions: NDArray[np.uint8]
    """The first L solutions, padded with zeros, `[n, L, S]`."""


def search(puzzles: NDArray[np.uint8], size: int, limit: int = 2, budget: int = BUDGET) -> Search:
    """Finds up to `limit` solutions of each puzzle `[n, S]` (0 for blank, else the digit, at most N).

    After more than `budget` splits of a puzzle, its count is `UNKNOWN`; its solutions are those found by then.
    """
    arrays = board(size)
    count = len(puzzles)
    found = Search(
        np.zeros(count, np.int32),
        np.zeros(count, np.int64),
        np.zeros((count, limit, size * size), np.uint8),
    )
    cells = np.ascontiguousarray(puzzles, dtype=np.uint8).reshape(count, size * size)
    search_all(cells, arrays, workspace(size), budget, found)
    return found


def refuted(puzzles: NDArray[np.uint8], size: int) -> NDArray[np.bool_]:
    """Which puzzles `[n, S]` (0 for blank, else the digit) are proved unsolvable by givens and naked singles."""
    found = np.zeros(len(puzzles), np.bool_)
    cells = np.ascontiguousarray(puzzles, dtype=np.uint8).reshape(len(puzzles), size * size)
    refute_all(cells, board(size), workspace(size), found)
    return found


def mask_type(size: int) -> DTypeLike:
    """The type of a mask of N digits: one bit per digit and one for the sign."""
    return np.int16 if size < 16 else np.int32


def workspace(size: int) -> Workspace:
    """Allocates the working arrays for N×N puzzles."""
    cells = size * size
    mask = mask_type(size)
    return Workspace(
        np.empty((cells + 1, cells), mask),
        np.empty(cells + 1, np.int16),
        np.empty(cells + 1, mask),
        np.empty(cells, np.int16),
        np.empty(3 * size, mask),
    )


def board(size: int) -> Board:
    """The arrays of N×N Sudoku. Raises ConfigError for an unknown size."""
    shape = layout(size)
    return Board(shape.units, shape.peers, shape.units_of)


@compiled
def digit_of(bit: int) -> int:
    """The digit of a mask with exactly one bit set."""
    digit = 0
    while bit:
        bit >>= 1
        digit += 1
    return digit


@compiled
def place(masks: NDArray[np.int16], cell: int, bit: int, board: Board, queue: NDArray[np.int16]) -> bool:
    """Places a candidate in a cell and propagates all naked singles. Returns False if a cell has no candidate left."""
    if not masks[cell] & bit:
        return False
    masks[cell] = bit
    queue[0] = cell
    waiting = 1
    while waiting:
        waiting -= 1
        current = queue[waiting]
        known = int(masks[current])
        for k in range(board.peers.shape[1]):
            peer = board.peers[current, k]
            mask = int(masks[peer])
            if mask & known:
                mask ^= known
                if mask == 0:
                    return False
                masks[peer] = mask
                if mask & (mask - 1) == 0:
                    queue[waiting] = peer
                    waiting += 1
    return True


@compiled
def follow_hidden_singles(masks: NDArray[np.int16], board: Board, queue: NDArray[np.int16]) -> bool:
    """Places hidden singles until there are none left. Returns False on a contradiction."""
    units = board.units
    every = (1 << units.shape[1]) - 1
    changed = True
    while changed:
        changed = False
        for unit in range(units.shape[0]):
            once = 0
            twice = 0
            solved = 0
            for k in range(units.shape[1]):
                mask = int(masks[units[unit, k]])
                twice |= once & mask
                once |= mask
                if mask & (mask - 1) == 0:
                    solved |= mask
            if once != every:
                return False
            hidden = once & ~twice & ~solved
            if hidden:
                for k in range(units.shape[1]):
                    cell = units[unit, k]
                    here = int(masks[cell]) & hidden
                    if here:
                        if here & (here - 1) or not place(masks, cell, here, board, queue):
                            return False
                        changed = True
    return True


@compiled
def set_givens(puzzle: NDArray[np.uint8], board: Board, space: Workspace) -> bool:
    """Initializes the candidates from the givens and their naked singles. Returns False on a contradiction."""
    every = (1 << board.units.shape[1]) - 1
    masks = space.masks[0]
    used = space.used
    used[:] = 0
    for cell in range(puzzle.shape[0]):
        if puzzle[cell]:
            bit = 1 << (int(puzzle[cell]) - 1)
            for k in range(3):
                unit = board.units_of[cell, k]
                if used[unit] & bit:
                    return False
                used[unit] |= bit
            masks[cell] = bit
    for cell in range(puzzle.shape[0]):
        if not puzzle[cell]:
            own = board.units_of[cell]
            masks[cell] = every & ~int(used[own[0]] | used[own[1]] | used[own[2]])
    for cell in range(puzzle.shape[0]):
        mask = int(masks[cell])
        if mask == 0 or (
            puzzle[cell] == 0 and mask & (mask - 1) == 0 and not place(masks, cell, mask, board, space.queue)
        ):
            return False
    return True


@compiled
def cell_to_split(masks: NDArray[np.int16]) -> int:
    """The first cell with the fewest candidates among those with two or more; -1 if every cell is known."""
    fewest = 100
    chosen = -1
    for cell in range(masks.shape[0]):
        mask = int(masks[cell])
        mask &= mask - 1
        if mask:
            candidates = 1
            while mask:
                mask &= mask - 1
                candidates += 1
            if candidates < fewest:
                chosen = cell
                fewest = candidates
                if candidates == 2:
                    break
    return chosen


@compiled
def explore(
    possible: bool,
    board: Board,
    space: Workspace,
    solutions: NDArray[np.uint8],
    budget: int,
) -> tuple[int, int]:
    """Searches from the candidates in `space.masks[0]`. Returns the solutions found (at most L) and the splits made.

    After `budget` splits the search ends unfinished; the number of splits returned is then greater than `budget`.
    """
    branches = 0
    found = 0
    depth = 0
    alive = possible and follow_hidden_singles(space.masks[0], board, space.queue)
    while True:
        if alive:
            masks = space.masks[depth]
            cell = cell_to_split(masks)
            if cell >= 0:
                branches += 1
                if branches > budget:
                    return found, branches
                mask = int(masks[cell])
                bit = mask & -mask
                space.cells[depth] = cell
                space.bits[depth] = bit
                depth += 1
                deeper = space.masks[depth]
                deeper[:] = masks
                alive = place(deeper, cell, bit, board, space.queue) and follow_hidden_singles(
                    deeper, board, space.queue
                )
                continue
            for s in range(masks.shape[0]):
                solutions[found, s] = digit_of(int(masks[s]))
            found += 1
            if found == solutions.shape[0]:
                return found, branches
        depth -= 1
        if depth < 0:
            return found, branches
        masks = space.masks[depth]
        cell = space.cells[depth]
        rest = int(masks[cell]) ^ int(space.bits[depth])
        masks[cell] = rest
        alive = rest & (rest - 1) != 0 or place(masks, cell, rest, board, space.queue)
        alive = alive and follow_hidden_singles(masks, board, space.queue)


@compiled
def search_all(
    puzzles: NDArray[np.uint8], board: Board, space: Workspace, budget: int, found: Search
) -> None:
    """Runs `search` for every puzzle and writes the results to `found`."""
    for i in range(puzzles.shape[0]):
        possible = set_givens(puzzles[i], board, space)
        count, branches = explore(possible, board, space, found.solutions[i], budget)
        found.counts[i] = count if branches <= budget else UNKNOWN
        found.branches[i] = branches


@compiled
def refute_all(puzzles: NDArray[np.uint8], board: Board, space: Workspace, found: NDArray[np.bool_]) -> None:
    """Runs `refuted` for every puzzle and writes the results to `found`."""
    for i in range(puzzles.shape[0]):
        found[i] = not set_givens(puzzles[i], board, space)
