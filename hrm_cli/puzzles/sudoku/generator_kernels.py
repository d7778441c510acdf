"""The compiled part of the generator: random solved grids, removal of clues, hill climbing in difficulty.

The search for a solved grid chooses cells and digits at random, so it can produce any grid. A clue can be removed if
no solution has another digit in its cell. Each alternative solution found by this check differs from the intended
solution in a set of cells, which is stored for later checks (`differences.py`). At 9×9, `bands.py` removes the clues;
which ones can be removed does not depend on the search.

Letters in shapes: n puzzles, N size, S cells, U units, K kept differences, W 64-bit words of a set of cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.compiled import draw, shuffle
from hrm_cli.puzzles.sudoku.bands import make_bands, remove_clues
from hrm_cli.puzzles.sudoku.differences import add_cell, is_known_needed, next_difference
from hrm_cli.puzzles.sudoku.solver import (
    UNLIMITED,
    Board,
    Workspace,
    board,
    digit_of,
    explore,
    follow_hidden_singles,
    mask_type,
    place,
    set_givens,
    workspace,
)


@compiled
def draw_split(masks: NDArray[np.int16], state: NDArray[np.uint64]) -> tuple[int, int]:
    """A random cell among those with the fewest candidates, and one of its candidates; (-1, 0) if all are known."""
    fewest = 100
    ties = 0
    chosen = -1
    for cell in range(masks.shape[0]):
        mask = int(masks[cell])
        candidates = 0
        while mask:
            mask &= mask - 1
            candidates += 1
        if 1 < candidates < fewest:
            fewest = candidates
            ties = 0
        if candidates == fewest:
            ties += 1
            if draw(state, ties) == 0:
                chosen = cell
    if chosen < 0:
        return -1, 0
    mask = int(masks[chosen])
    for _ in range(draw(state, fewest)):
        mask &= mask - 1
    return chosen, mask & -mask


@compiled
def fill(
    solution: NDArray[np.uint8], board: Board, space: Workspace, state: NDArray[np.uint64], patience: int
) -> int:
    """Fills a complete grid by backtracking search with random choices. Starts again after `patience` dead ends.

    Returns the number of dead ends.
    """
    depth = 0
    dead_ends = 0
    space.masks[0, :] = (1 << board.units.shape[1]) - 1
    alive = True
    while True:
        if alive:
            masks = space.masks[depth]
            cell, bit = draw_split(masks, state)
            if cell < 0:
                for s in range(solution.shape[0]):
                    solution[s] = digit_of(int(masks[s]))
                return dead_ends
            space.cells[depth] = cell
            space.bits[depth] = bit
            depth += 1
            space.masks[depth, :] = masks
            masks = space.masks[depth]
        else:
            dead_ends += 1
            if dead_ends % patience == 0:
                depth = 0
                space.masks[0, :] = (1 << board.units.shape[1]) - 1
                alive = True
                continue
            depth -= 1
            masks = space.masks[depth]
            cell = int(space.cells[depth])
            rest = int(masks[cell]) ^ int(space.bits[depth])
            masks[cell] = rest
            if rest & (rest - 1):
                alive = follow_hidden_singles(masks, board, space.queue)
                continue
            bit = rest
        alive = place(masks, cell, bit, board, space.queue) and follow_hidden_singles(
            masks, board, space.queue
        )


KEPT_DIFFERENCES = 128
CLIMBING_STEPS = 400
"""Clue swaps tried on one solved grid before a new grid is generated."""

LARGEST_EXACT = 12
"""Largest size without budgets: its searches end soon."""

CHECK_BUDGET = 200
"""Splits for the check of one clue in larger sizes."""

FILL_PATIENCE = 100
"""Dead ends in the search for a larger solved grid."""

MOST_ADDED = 6
"""Clues added in a swap before clues are removed again.

Fewer make half the progress (measured at difficulty 20, 60).
"""

_NONE, _ONE = np.uint64(0), np.uint64(1)


class Buffers(NamedTuple):
    """Working arrays that are reused from puzzle to puzzle."""

    board: Board
    space: Workspace
    bands: NDArray[np.int32]
    """The working array of `bands.py`, used at 9×9 only."""
    state: NDArray[np.uint64]
    """The random generator's state, `[1]`."""
    found: NDArray[np.uint8]
    """Buffer for one solution, `[1, S]`."""
    two: NDArray[np.uint8]
    """Buffer for two solutions, `[2, S]`."""
    differences: NDArray[np.uint64]
    """Bit sets of the cells in which another solution differs from the intended one, `[K, W]`."""
    kept: NDArray[np.int64]
    """Number of differences found for the current grid, `[1]`; the last K are kept."""
    given: NDArray[np.uint64]
    """Bit set of the cells with a clue, `[W]`."""
    used: NDArray[np.int16]
    """Digits given in each unit, `[U]`."""
    order: NDArray[np.int16]
    """Cells in the order in which their clues are tried, `[S]`."""
    trial: NDArray[np.uint8]
    """The puzzle after a swap, `[S]`."""
    budget: int
    """Largest number of splits for the check of one clue; a clue that needs more is kept."""
    patience: int
    """Largest number of dead ends in the search for a solved grid, before it starts again."""


class Batch(NamedTuple):
    """The results of n attempts."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, S]`"""
    made: NDArray[np.bool_]
    """Whether the attempt produced a puzzle that meets the request, `[n]`."""


def make_buffers(size: int) -> Buffers:
    """Allocates the working arrays for N×N puzzles."""
    cells = size * size
    words = (cells + 63) // 64
    return Buffers(
        board=board(size),
        space=workspace(size),
        bands=make_bands(),
        state=np.empty(1, np.uint64),
        found=np.empty((1, cells), np.uint8),
        two=np.empty((2, cells), np.uint8),
        differences=np.empty((KEPT_DIFFERENCES, words), np.uint64),
        kept=np.empty(1, np.int64),
        given=np.empty(words, np.uint64),
        used=np.empty(3 * size, mask_type(size)),
        order=np.empty(cells, np.int16),
        trial=np.empty(cells, np.uint8),
        budget=UNLIMITED if size <= LARGEST_EXACT else CHECK_BUDGET,
        patience=UNLIMITED if size <= LARGEST_EXACT else FILL_PATIENCE,
    )


def batch(size: int, count: int) -> Batch:
    """Allocates the results of n attempts."""
    cells = size * size
    return Batch(
        np.empty((count, cells), np.uint8), np.empty((count, cells), np.uint8), np.empty(count, np.bool_)
    )


@compiled
def is_needed(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], cell: int, buffers: Buffers) -> bool:
    """Whether the puzzle without its clue in `cell` has more than one solution."""
    if is_known_needed(cell, buffers.given, buffers.differences, buffers.kept):
        return True
    puzzle[cell] = 0
    set_givens(puzzle, buffers.board, buffers.space)
    puzzle[cell] = solution[cell]
    masks = buffers.space.masks[0]
    rest = int(masks[cell]) & ~(1 << (int(solution[cell]) - 1))
    if rest == 0:
        return False
    masks[cell] = rest
    possible = rest & (rest - 1) != 0 or place(masks, cell, rest, buffers.board, buffers.space.queue)
    found, splits = explore(possible, buffers.board, buffers.space, buffers.found, buffers.budget)
    if not found:
        return splits > buffers.budget
    slot = next_difference(buffers.differences, buffers.kept)
    for s in range(puzzle.shape[0]):
        if buffers.found[0, s] != solution[s]:
            add_cell(slot, s, buffers.differences)
    return True


@compiled
def is_single(cell: int, digit: int, puzzle: NDArray[np.uint8], buffers: Buffers) -> bool:
    """Whether the other clues alone leave a single cell of a unit for `digit`, or a single digit for `cell`."""
    units, units_of = buffers.board.units, buffers.board.units_of
    used = buffers.used
    own = units_of[cell]
    if int(used[own[0]] | used[own[1]] | used[own[2]]) == (1 << units.shape[1]) - 1:
        return True
    bit = 1 << (digit - 1)
    for k in range(3):
        alone = True
        for j in range(units.shape[1]):
            other = units[own[k], j]
            if other != cell and puzzle[other] == 0:
                theirs = units_of[other]
                seen = 0
                for i in range(3):
                    # In a shared unit, the digit is there only because of the clue under test.
                    if theirs[i] != own[i]:
                        seen |= int(used[theirs[i]])
                if not seen & bit:
                    alone = False
                    break
        if alone:
            return True
    return False


@compiled
def reduce(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], fewest: int, buffers: Buffers) -> int:
    """Removes clues in random order down to `fewest`, or until none can be removed. Returns how many are left."""
    units_of, used, order = buffers.board.units_of, buffers.used, buffers.order
    clues = 0
    buffers.given[:] = _NONE
    used[:] = 0
    for cell in range(puzzle.shape[0]):
        if puzzle[cell]:
            order[clues] = cell
            clues += 1
            buffers.given[cell >> 6] |= _ONE << np.uint64(cell & 63)
            for k in range(3):
                used[units_of[cell, k]] |= 1 << (int(puzzle[cell]) - 1)
    shuffle(order, clues, buffers.state)
    if puzzle.shape[0] == 81:
        return remove_clues(
            puzzle,
            solution,
            order[:clues],
            fewest,
            buffers.bands,
            buffers.given,
            buffers.differences,
            buffers.kept,
        )
    for i in range(clues):
        if clues <= fewest:
            break
        cell = order[i]
        digit = int(solution[cell])
        if is_single(cell, digit, puzzle, buffers) or not is_needed(puzzle, solution, cell, buffers):
            clues -= 1
            puzzle[cell] = 0
            buffers.given[cell >> 6] ^= _ONE << np.uint64(cell & 63)
            for k in range(3):
                used[units_of[cell, k]] ^= 1 << (digit - 1)
    return clues


@compiled
def difficulty_of(puzzle: NDArray[np.uint8], buffers: Buffers) -> int:
    """The number of splits in an exhaustive search of the puzzle."""
    set_givens(puzzle, buffers.board, buffers.space)
    _, branches = explore(True, buffers.board, buffers.space, buffers.two, UNLIMITED)
    return branches


@compiled
def climb(
    puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], fewest: int, wanted: int, buffers: Buffers
) -> bool:
    """Swaps clues, never accepting an easier puzzle, until the difficulty is `wanted`. False after too many swaps."""
    reached = difficulty_of(puzzle, buffers)
    for _ in range(CLIMBING_STEPS):
        if reached >= wanted:
            return True
        buffers.trial[:] = puzzle
        for _ in range(1 + draw(buffers.state, MOST_ADDED)):
            cell = draw(buffers.state, puzzle.shape[0])
            buffers.trial[cell] = solution[cell]
        clues = reduce(buffers.trial, solution, fewest, buffers)
        if fewest in (0, clues):
            difficulty = difficulty_of(buffers.trial, buffers)
            if difficulty >= reached:
                reached = difficulty
                puzzle[:] = buffers.trial
    return reached >= wanted


@compiled
def make_all(
    seeds: NDArray[np.uint64], clues: NDArray[np.int64], min_difficulty: int, buffers: Buffers, out: Batch
) -> None:
    """One attempt per seed: a puzzle of `clues[i]` clues (0: minimal), written to the arrays of `out`."""
    for i in range(seeds.shape[0]):
        puzzle, solution = out.puzzles[i], out.solutions[i]
        buffers.state[0] = seeds[i]
        buffers.kept[0] = 0
        fill(solution, buffers.board, buffers.space, buffers.state, buffers.patience)
        puzzle[:] = solution
        left = reduce(puzzle, solution, clues[i], buffers)
        out.made[i] = clues[i] in (0, left)
        if out.made[i] and min_difficulty > 0:
            out.made[i] = climb(puzzle, solution, clues[i], min_difficulty, buffers)
