"""The compiled part of the variations: clues of a puzzle taken away and others put in, hard puzzles from hard ones.

Without some of its clues a puzzle has many solutions. All are listed; each of them, with the right clues added, is
the one solution of another puzzle. The list says which clues these are without a search.

Letters in shapes: n attempts, S cells, L solutions listed, K variations of an attempt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled
from hrm_cli.puzzles.random_numbers import draw, shuffle
from hrm_cli.puzzles.sudoku.generator_kernels import Bench, difficulty_of, reduce
from hrm_cli.puzzles.sudoku.solver import explore, set_givens

SOLUTIONS_LISTED = 4096
"""Solutions listed at most. Where a puzzle has more, one of their clues is added and they are listed again."""

PER_ATTEMPT = 24
"""Variations made from one list of solutions, at most."""

BEGINNINGS = 6
"""Choices of the clues before the last one: none, or a random one."""

PER_BEGINNING = 6
"""Last clues taken for each of them, at most."""

_NONE, _ONE = np.uint64(0), np.uint64(1)


class Listing(NamedTuple):
    """The solutions of a puzzle some of whose clues were taken away."""

    solutions: NDArray[np.uint8]
    """`[L, S]`"""
    left: NDArray[np.int64]
    """Those that the clues added so far allow, as rows of `solutions`, `[L]`."""
    counts: NDArray[np.int64]
    """In how many of those a cell has a digit, `[S, N + 1]`."""
    last: NDArray[np.int16]
    """Clues that a single one of those has, as cell · (N + 1) + digit, `[S · (N + 1)]`."""
    opened: NDArray[np.uint8]
    """The puzzle without these clues, `[S]`."""
    started: NDArray[np.uint8]
    """The same with all new clues but the last, `[S]`."""


class Parents(NamedTuple):
    """Puzzles to be varied."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, S]`"""
    is_minimal: NDArray[np.bool_]
    """Whether every clue is needed, `[n]`: variations are minimal then, and have as many clues otherwise."""


class Variations(NamedTuple):
    """What n attempts made."""

    puzzles: NDArray[np.uint8]
    """0 for blank, else the digit, `[n, K, S]`."""
    solutions: NDArray[np.uint8]
    """`[n, K, S]`"""
    branches: NDArray[np.int64]
    """The difficulty of each, −1 where none was made, `[n, K]`."""


def listing(size: int) -> Listing:
    """Room for the solutions of one puzzle."""
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
    """Room for n attempts."""
    shape = (count, PER_ATTEMPT, size * size)
    return Variations(np.empty(shape, np.uint8), np.empty(shape, np.uint8), np.empty(shape[:2], np.int64))


@compiled
def open_up(
    parent: NDArray[np.uint8], answer: NDArray[np.uint8], is_minimal: bool, tools: Bench, room: Listing
) -> int:
    """The puzzle without one of the clues that it needs, into `room.opened`: how many clues it had."""
    clues = 0
    for cell in range(parent.shape[0]):
        clues += parent[cell] != 0
    room.opened[:] = parent
    needed = clues
    if not is_minimal:
        tools.kept[0] = 0
        needed = reduce(room.opened, answer, 0, tools)
    skipped = draw(tools.state, needed)
    for cell in range(parent.shape[0]):
        if room.opened[cell]:
            if skipped == 0:
                room.opened[cell] = 0
                break
            skipped -= 1
    return clues


@compiled
def list_solutions(tools: Bench, room: Listing) -> int:
    """All solutions of `room.opened`, to which clues are added where there are too many: how many they are."""
    while True:
        set_givens(room.opened, tools.board, tools.space)
        found, _ = explore(True, tools.board, tools.space, room.solutions)
        if found < room.solutions.shape[0]:
            return found
        wanted = room.solutions[draw(tools.state, found)]
        cell = draw(tools.state, wanted.shape[0])
        while room.opened[cell]:
            cell = draw(tools.state, wanted.shape[0])
        room.opened[cell] = wanted[cell]


@compiled
def keep_matching(cell: int, digit: int, remaining: int, room: Listing) -> int:
    """Drops the solutions with another digit in `cell`; how many of the `remaining` stay."""
    kept = 0
    for i in range(remaining):
        if room.solutions[room.left[i], cell] == digit:
            room.left[kept] = room.left[i]
            kept += 1
    return kept


@compiled
def add_clues(puzzle: NDArray[np.uint8], found: int, count: int, tools: Bench, room: Listing) -> int:
    """Adds `count` random clues, each of a listed solution that has those before: how many have all of them."""
    for row in range(found):
        room.left[row] = row
    remaining = found
    for _ in range(count):
        wanted = room.solutions[room.left[draw(tools.state, remaining)]]
        cell = draw(tools.state, puzzle.shape[0])
        while puzzle[cell]:
            cell = draw(tools.state, puzzle.shape[0])
        puzzle[cell] = wanted[cell]
        remaining = keep_matching(cell, int(wanted[cell]), remaining, room)
    return remaining


@compiled
def find_last_clues(remaining: int, tools: Bench, room: Listing) -> int:
    """Clues that exactly one of the `remaining` solutions has, in random order into `room.last`: how many they are."""
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
    shuffle(last, found, tools.state)
    return found


@compiled
def remember_differences(solution: NDArray[np.uint8], found: int, tools: Bench, room: Listing) -> None:
    """Where other listed solutions differ from the wanted one: clues there are known to be needed."""
    tools.kept[0] = 0
    for row in range(found):
        slot = tools.kept[0]
        if slot == tools.differences.shape[0]:
            return
        tools.differences[slot, :] = _NONE
        differs = False
        for cell in range(solution.shape[0]):
            if room.solutions[row, cell] != solution[cell]:
                tools.differences[slot, cell >> 6] |= _ONE << np.uint64(cell & 63)
                differs = True
        if differs:
            tools.kept[0] += 1


@compiled
def fill_up(
    puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], clues: int, wanted: int, tools: Bench
) -> None:
    """Gives random cells of the solution until there are `wanted` clues."""
    for _ in range(wanted - clues):
        cell = draw(tools.state, puzzle.shape[0])
        while puzzle[cell]:
            cell = draw(tools.state, puzzle.shape[0])
        puzzle[cell] = solution[cell]


@compiled
def vary(
    parent: NDArray[np.uint8],
    answer: NDArray[np.uint8],
    is_minimal: bool,
    puzzles: NDArray[np.uint8],
    solutions: NDArray[np.uint8],
    branches: NDArray[np.int64],
    tools: Bench,
    room: Listing,
) -> None:
    """Up to K puzzles near `parent`, into `[K, S]`, `[K, S]` and `[K]`: minimal ones, or with as many clues."""
    branches[:] = -1
    clues = open_up(parent, answer, is_minimal, tools, room)
    found = list_solutions(tools, room)
    made = 0
    for beginning in range(BEGINNINGS):
        # First puzzles with one new clue, then some with two.
        room.started[:] = room.opened
        remaining = add_clues(room.started, found, min(beginning, 1), tools, room)
        for i in range(min(PER_BEGINNING, find_last_clues(remaining, tools, room))):
            if made == puzzles.shape[0]:
                return
            cell, digit = divmod(int(room.last[i]), room.counts.shape[1])
            puzzle, solution = puzzles[made], solutions[made]
            puzzle[:] = room.started
            puzzle[cell] = digit
            for j in range(remaining):
                if room.solutions[room.left[j], cell] == digit:
                    solution[:] = room.solutions[room.left[j]]
            remember_differences(solution, found, tools, room)
            left = reduce(puzzle, solution, 0, tools)
            if not is_minimal:
                fill_up(puzzle, solution, left, clues, tools)
            branches[made] = difficulty_of(puzzle, tools)
            made += 1


@compiled
def vary_all(
    parents: Parents, seeds: NDArray[np.uint64], tools: Bench, room: Listing, out: Variations
) -> None:
    """One attempt for each parent and seed `[n]`, into the arrays of `out`."""
    for i in range(seeds.shape[0]):
        tools.state[0] = seeds[i]
        vary(
            parents.puzzles[i],
            parents.solutions[i],
            parents.is_minimal[i],
            out.puzzles[i],
            out.solutions[i],
            out.branches[i],
            tools,
            room,
        )


@compiled
def find_minimal(
    puzzles: NDArray[np.uint8], solutions: NDArray[np.uint8], tools: Bench, out: NDArray[np.bool_]
) -> None:
    """Which puzzles `[n, S]` need every clue, into `out` `[n]`."""
    for i in range(puzzles.shape[0]):
        tools.state[0] = 0
        tools.kept[0] = 0
        tools.trial[:] = puzzles[i]
        clues = 0
        for cell in range(puzzles.shape[1]):
            clues += puzzles[i, cell] != 0
        out[i] = reduce(tools.trial, solutions[i], 0, tools) == clues
