"""The compiled part of the generator: random solved grids, removal of clues, climbing in difficulty.

Every choice of the search for a solved grid is random, cells and digits alike, so any grid can come up. Removal asks
one question per clue: is there a solution with another digit in this cell? Each such solution differs from the wanted
one in cells of which a clue must always remain, so these are kept and answer later questions without a search.

Letters in shapes: n puzzles, N size, S cells, U units, K kept differences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled
from hrm_cli.puzzles.random_numbers import draw, shuffle
from hrm_cli.puzzles.sudoku.solver import (
    Board,
    Workspace,
    board,
    digit_of,
    explore,
    follow_hidden_singles,
    place,
    set_givens,
    workspace,
)


@compiled
def draw_split(masks: NDArray[np.int16], state: NDArray[np.uint64]) -> tuple[int, int]:
    """A random cell among those with the fewest candidates, and one of these; (-1, 0) when all are known."""
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
def fill(solution: NDArray[np.uint8], board: Board, space: Workspace, state: NDArray[np.uint64]) -> None:
    """A complete grid by search with random choices, backtracking where they fail."""
    depth = 0
    space.masks[0, :] = (1 << board.units.shape[1]) - 1
    alive = True
    while True:
        if alive:
            masks = space.masks[depth]
            cell, bit = draw_split(masks, state)
            if cell < 0:
                for s in range(solution.shape[0]):
                    solution[s] = digit_of(int(masks[s]))
                return
            space.cells[depth] = cell
            space.bits[depth] = bit
            depth += 1
            space.masks[depth, :] = masks
            masks = space.masks[depth]
        else:
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
"""Swaps tried on one grid before another is drawn."""

MOST_ADDED = 6
"""Cells given in a swap before clues are removed again; fewer climb half as fast (measured at difficulty 20 and 60)."""

_NONE, _ONE = np.uint64(0), np.uint64(1)


class Bench(NamedTuple):
    """What one puzzle after another is made with."""

    board: Board
    space: Workspace
    state: NDArray[np.uint64]
    """The random generator's state, `[1]`."""
    found: NDArray[np.uint8]
    """Room for one solution, `[1, S]`."""
    two: NDArray[np.uint8]
    """Room for two solutions, `[2, S]`."""
    differences: NDArray[np.uint64]
    """Cells in which another solution differs from the wanted one, as bits, `[K, 2]`."""
    kept: NDArray[np.int64]
    """How many differences were found of the current grid, `[1]`; the last K are kept."""
    given: NDArray[np.uint64]
    """Cells with a clue, as bits, `[2]`."""
    used: NDArray[np.int16]
    """Digits given in each unit, `[U]`."""
    order: NDArray[np.int16]
    """Cells in the order in which their clues are tried, `[S]`."""
    trial: NDArray[np.uint8]
    """The puzzle after a swap, `[S]`."""


class Batch(NamedTuple):
    """What n attempts made."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, S]`"""
    made: NDArray[np.bool_]
    """Whether the attempt gave a puzzle as requested, `[n]`."""


def bench(size: int) -> Bench:
    """All arrays for making N×N puzzles."""
    cells = size * size
    return Bench(
        board=board(size),
        space=workspace(size),
        state=np.empty(1, np.uint64),
        found=np.empty((1, cells), np.uint8),
        two=np.empty((2, cells), np.uint8),
        differences=np.empty((KEPT_DIFFERENCES, 2), np.uint64),
        kept=np.empty(1, np.int64),
        given=np.empty(2, np.uint64),
        used=np.empty(3 * size, np.int16),
        order=np.empty(cells, np.int16),
        trial=np.empty(cells, np.uint8),
    )


def batch(size: int, count: int) -> Batch:
    """Room for n attempts."""
    cells = size * size
    return Batch(
        np.empty((count, cells), np.uint8), np.empty((count, cells), np.uint8), np.empty(count, np.bool_)
    )


@compiled
def is_needed(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], cell: int, tools: Bench) -> bool:
    """Whether the puzzle without its clue in `cell` has several solutions."""
    differences = tools.differences
    word = cell >> 6
    own = _ONE << np.uint64(cell & 63)
    for k in range(min(tools.kept[0], differences.shape[0])):
        if (
            differences[k, word] & tools.given[word] == own
            and differences[k, 1 - word] & tools.given[1 - word] == _NONE
        ):
            return True
    puzzle[cell] = 0
    set_givens(puzzle, tools.board, tools.space)
    puzzle[cell] = solution[cell]
    masks = tools.space.masks[0]
    rest = int(masks[cell]) & ~(1 << (int(solution[cell]) - 1))
    if rest == 0:
        return False
    masks[cell] = rest
    possible = rest & (rest - 1) != 0 or place(masks, cell, rest, tools.board, tools.space.queue)
    found, _ = explore(possible, tools.board, tools.space, tools.found)
    if not found:
        return False
    slot = tools.kept[0] % differences.shape[0]
    tools.kept[0] += 1
    differences[slot, :] = _NONE
    for s in range(puzzle.shape[0]):
        if tools.found[0, s] != solution[s]:
            differences[slot, s >> 6] |= _ONE << np.uint64(s & 63)
    return True


@compiled
def is_single(cell: int, digit: int, puzzle: NDArray[np.uint8], tools: Bench) -> bool:
    """Whether the other clues alone leave `digit` one place in a unit, or `cell` no other digit."""
    units, units_of = tools.board.units, tools.board.units_of
    used = tools.used
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
                    # A shared unit holds the digit only by the clue in question.
                    if theirs[i] != own[i]:
                        seen |= int(used[theirs[i]])
                if not seen & bit:
                    alone = False
                    break
        if alone:
            return True
    return False


@compiled
def reduce(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], fewest: int, tools: Bench) -> int:
    """Removes clues in random order down to `fewest`, or until none can go; returns how many are left."""
    units_of, used, order = tools.board.units_of, tools.used, tools.order
    clues = 0
    tools.given[:] = _NONE
    used[:] = 0
    for cell in range(puzzle.shape[0]):
        if puzzle[cell]:
            order[clues] = cell
            clues += 1
            tools.given[cell >> 6] |= _ONE << np.uint64(cell & 63)
            for k in range(3):
                used[units_of[cell, k]] |= 1 << (int(puzzle[cell]) - 1)
    shuffle(order, clues, tools.state)
    for i in range(clues):
        if clues <= fewest:
            break
        cell = order[i]
        digit = int(solution[cell])
        if is_single(cell, digit, puzzle, tools) or not is_needed(puzzle, solution, cell, tools):
            clues -= 1
            puzzle[cell] = 0
            tools.given[cell >> 6] ^= _ONE << np.uint64(cell & 63)
            for k in range(3):
                used[units_of[cell, k]] ^= 1 << (digit - 1)
    return clues


@compiled
def difficulty_of(puzzle: NDArray[np.uint8], tools: Bench) -> int:
    """The splits that an exhaustive search of the puzzle makes."""
    set_givens(puzzle, tools.board, tools.space)
    _, branches = explore(True, tools.board, tools.space, tools.two)
    return branches


@compiled
def climb(
    puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], fewest: int, wanted: int, tools: Bench
) -> bool:
    """Swaps clues, never for an easier puzzle, until it is as hard as `wanted`; gives up in the end."""
    reached = difficulty_of(puzzle, tools)
    for _ in range(CLIMBING_STEPS):
        if reached >= wanted:
            return True
        tools.trial[:] = puzzle
        for _ in range(1 + draw(tools.state, MOST_ADDED)):
            cell = draw(tools.state, puzzle.shape[0])
            tools.trial[cell] = solution[cell]
        clues = reduce(tools.trial, solution, fewest, tools)
        if fewest in (0, clues):
            difficulty = difficulty_of(tools.trial, tools)
            if difficulty >= reached:
                reached = difficulty
                puzzle[:] = tools.trial
    return reached >= wanted


@compiled
def make_all(
    seeds: NDArray[np.uint64], clues: NDArray[np.int64], min_difficulty: int, tools: Bench, out: Batch
) -> None:
    """One attempt for each seed: a puzzle of `clues[i]` clues (0: minimal), into the arrays of `out`."""
    for i in range(seeds.shape[0]):
        puzzle, solution = out.puzzles[i], out.solutions[i]
        tools.state[0] = seeds[i]
        tools.kept[0] = 0
        fill(solution, tools.board, tools.space, tools.state)
        puzzle[:] = solution
        left = reduce(puzzle, solution, clues[i], tools)
        out.made[i] = clues[i] in (0, left)
        if out.made[i] and min_difficulty > 0:
            out.made[i] = climb(puzzle, solution, clues[i], min_difficulty, tools)
