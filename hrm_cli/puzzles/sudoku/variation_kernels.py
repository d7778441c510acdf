"""The compiled part of the variations: exchanges clues of hard puzzles to make other hard puzzles.

With some clues removed, a puzzle has many solutions. The kernels list all of them. Each one is the only solution of
another puzzle once the right clues are added, and the list shows which clues these are without any search.

Letters in shapes: n attempts, S cells, L solutions listed, K variations of an attempt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.compiled import draw, shuffle
from hrm_cli.puzzles.sudoku.generator_kernels import Buffers, difficulty_of, reduce
from hrm_cli.puzzles.sudoku.solver import UNLIMITED, explore, set_givens

SOLUTIONS_LISTED = 4096
"""Largest number of listed solutions. If there are more, a clue is added and the solutions are listed again."""

PER_ATTEMPT = 24
"""Largest number of variations made from one list of solutions."""

BEGINNINGS = 6
"""Choices of clues before the last one: no clue, or one random clue."""

PER_BEGINNING = 6
"""Largest number of last clues tried for each of these choices."""

_NONE, _ONE = np.uint64(0), np.uint64(1)


class Listing(NamedTuple):
    """The solutions of a puzzle after some of its clues were removed."""

    solutions: NDArray[np.uint8]
    """`[L, S]`"""
    left: NDArray[np.int64]
    """Indices in `solutions` of those that match the clues added so far, `[L]`."""
    counts: NDArray[np.int64]
    """In how many of the remaining solutions a cell has a digit, `[S, N + 1]`."""
    last: NDArray[np.int16]
    """Clues that match exactly one remaining solution, as cell · (N + 1) + digit, `[S · (N + 1)]`."""
    opened: NDArray[np.uint8]
    """The puzzle without the removed clues, `[S]`."""
    started: NDArray[np.uint8]
    """The same puzzle with all new clues except the last, `[S]`."""


class Parents(NamedTuple):
    """Puzzles to vary."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, S]`"""
    is_minimal: NDArray[np.bool_]
    """Whether every clue is needed, `[n]`.

    If so, variations are minimal; if not, they have the same number of clues.
    """


class Variations(NamedTuple):
    """The results of n attempts."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, K, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, K, S]`"""
    branches: NDArray[np.int64]
    """The difficulty of each variation, −1 for unused entries, `[n, K]`."""


def listing(size: int) -> Listing:
    """Allocates the arrays for the solutions of one puzzle."""
    cells = size * size
    return Listing(
        np.empty((SOLUTIONS_LISTED, cells), np.uint8),
        np.empty(SOLUTIONS_LISTED, np.int64),
        np.empty((cells, size + 1), np.int64),
        np.empty(cells * (size + 1), np.int16),
        np.empty(cells, np.uint8),
        np.empty(cells, np.uint8),
    )


def variations(size: int, count: int) -> Variations:
    """Allocates the results of n attempts."""
    shape = (count, PER_ATTEMPT, size * size)
    return Variations(np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape[:2], np.int64))


@compiled
def open_up(
    parent: NDArray[np.uint8], answer: NDArray[np.uint8], is_minimal: bool, buffers: Buffers, room: Listing
) -> int:
    """Writes the puzzle without one of its necessary clues to `room.opened`. Returns the number of clues it had."""
    clues = 0
    for cell in range(parent.shape[0]):
        clues += parent[cell] != 0
    room.opened[:] = parent
    needed = clues
    if not is_minimal:
        buffers.kept[0] = 0
        needed = reduce(room.opened, answer, 0, buffers)
    skipped = draw(buffers.state, needed)
    for cell in range(parent.shape[0]):
        if room.opened[cell]:
            if skipped == 0:
                room.opened[cell] = 0
                break
            skipped -= 1
    return clues


@compiled
def list_solutions(buffers: Buffers, room: Listing) -> int:
    """Lists all solutions of `room.opened`, adding clues to it while there are too many. Returns their number."""
    while True:
        set_givens(room.opened, buffers.board, buffers.space)
        found, _ = explore(True, buffers.board, buffers.space, room.solutions, UNLIMITED)
        if found < room.solutions.shape[0]:
            return found
        wanted = room.solutions[draw(buffers.state, found)]
        cell = draw(buffers.state, wanted.shape[0])
        while room.opened[cell]:
            cell = draw(buffers.state, wanted.shape[0])
        room.opened[cell] = wanted[cell]


@compiled
def keep_matching(cell: int, digit: int, remaining: int, room: Listing) -> int:
    """Drops the solutions with another digit in `cell`. Returns how many of the `remaining` ones are kept."""
    kept = 0
    for i in range(remaining):
        if room.solutions[room.left[i], cell] == digit:
            room.left[kept] = room.left[i]
            kept += 1
    return kept


@compiled
def add_clues(puzzle: NDArray[np.uint8], found: int, count: int, buffers: Buffers, room: Listing) -> int:
    """Adds `count` random clues, each from a solution that matches the earlier clues. Returns how many match all."""
    for row in range(found):
        room.left[row] = row
    remaining = found
    for _ in range(count):
        wanted = room.solutions[room.left[draw(buffers.state, remaining)]]
        cell = draw(buffers.state, puzzle.shape[0])
        while puzzle[cell]:
            cell = draw(buffers.state, puzzle.shape[0])
        puzzle[cell] = wanted[cell]
        remaining = keep_matching(cell, int(wanted[cell]), remaining, room)
    return remaining


@compiled
def find_last_clues(remaining: int, buffers: Buffers, room: Listing) -> int:
    """Writes the clues that match exactly one of the `remaining` solutions to `room.last` in random order.

    Returns their number.
    """
    counts, last = room.counts, room.last
    counts[:] = 0
    for i in range(remaining):
        for cell in range(counts.shape[0]):
            counts[cell, room.solutions[room.left[i], cell]] += 1
    found = 0
    for cell in range(counts.shape[0]):
        for digit in range(1, counts.shape[1]):
            if counts[cell, digit] == 1:
                last[found] = cell * counts.shape[1] + digit
                found += 1
    shuffle(last, found, buffers.state)
    return found


@compiled
def remember_differences(solution: NDArray[np.uint8], found: int, buffers: Buffers, room: Listing) -> None:
    """Records where other listed solutions differ from the intended one: each of these sets of cells needs a clue."""
    buffers.kept[0] = 0
    for row in range(found):
        slot = buffers.kept[0]
        if slot == buffers.differences.shape[0]:
            return
        buffers.differences[slot, :] = _NONE
        differs = False
        for cell in range(solution.shape[0]):
            if room.solutions[row, cell] != solution[cell]:
                buffers.differences[slot, cell >> 6] |= _ONE << np.uint64(cell & 63)
                differs = True
        if differs:
            buffers.kept[0] += 1


@compiled
def fill_up(
    puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], clues: int, wanted: int, buffers: Buffers
) -> None:
    """Adds random cells of the solution as clues until there are `wanted` clues."""
    for _ in range(wanted - clues):
        cell = draw(buffers.state, puzzle.shape[0])
        while puzzle[cell]:
            cell = draw(buffers.state, puzzle.shape[0])
        puzzle[cell] = solution[cell]


@compiled
def vary(
    parent: NDArray[np.uint8],
    answer: NDArray[np.uint8],
    is_minimal: bool,
    puzzles: NDArray[np.uint8],
    solutions: NDArray[np.uint8],
    branches: NDArray[np.int64],
    buffers: Buffers,
    room: Listing,
) -> None:
    """Makes up to K variations of `parent`, written to `[K, S]`, `[K, S]` and `[K]`.

    They are minimal if the parent is; otherwise they have the same number of clues.
    """
    branches[:] = -1
    clues = open_up(parent, answer, is_minimal, buffers, room)
    found = list_solutions(buffers, room)
    made = 0
    for beginning in range(BEGINNINGS):
        # First make puzzles with one new clue, then some with two.
        room.started[:] = room.opened
        remaining = add_clues(room.started, found, min(beginning, 1), buffers, room)
        for i in range(min(PER_BEGINNING, find_last_clues(remaining, buffers, room))):
            if made == puzzles.shape[0]:
                return
            cell, digit = divmod(int(room.last[i]), room.counts.shape[1])
            puzzle, solution = puzzles[made], solutions[made]
            puzzle[:] = room.started
            puzzle[cell] = digit
            for j in range(remaining):
                if room.solutions[room.left[j], cell] == digit:
                    solution[:] = room.solutions[room.left[j]]
            remember_differences(solution, found, buffers, room)
            left = reduce(puzzle, solution, 0, buffers)
            if not is_minimal:
                fill_up(puzzle, solution, left, clues, buffers)
            branches[made] = difficulty_of(puzzle, buffers)
            made += 1


@compiled
def vary_all(
    parents: Parents, seeds: NDArray[np.uint64], buffers: Buffers, room: Listing, out: Variations
) -> None:
    """One attempt per parent and seed `[n]`, written to the arrays of `out`."""
    for i in range(seeds.shape[0]):
        buffers.state[0] = seeds[i]
        vary(
            parents.puzzles[i],
            parents.solutions[i],
            parents.is_minimal[i],
            out.puzzles[i],
            out.solutions[i],
            out.branches[i],
            buffers,
            room,
        )


@compiled
def find_minimal(
    puzzles: NDArray[np.uint8], solutions: NDArray[np.uint8], buffers: Buffers, out: NDArray[np.bool_]
) -> None:
    """Writes to `out` `[n]` which puzzles `[n, S]` are minimal, that is, need every clue."""
    for i in range(puzzles.shape[0]):
        buffers.state[0] = 0
        buffers.kept[0] = 0
        buffers.trial[:] = puzzles[i]
        clues = 0
        for cell in range(puzzles.shape[1]):
            clues += puzzles[i, cell] != 0
        out[i] = reduce(buffers.trial, solutions[i], 0, buffers) == clues
