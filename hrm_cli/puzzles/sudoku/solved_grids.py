"""Complete Sudoku grids at random.

Every choice of the search is random, cells and digits alike, so any grid can come up: nothing is a shuffle of
a stored one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled
from hrm_cli.puzzles.random_numbers import draw
from hrm_cli.puzzles.sudoku.solver import Board, Workspace, digit_of, follow_hidden_singles, place


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
