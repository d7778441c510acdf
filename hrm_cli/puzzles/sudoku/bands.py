"""Removal of clues at 9×9, with a faster search for another solution than that of `solver.py`.

A band is three rows: 27 cells, which fit into one integer. The candidates of a digit are three such bit sets, so one
operation handles 27 cells. Propagation goes on until there is no naked single, no hidden single in a row or box, and
no digit confined to the common cells of a box and a row (locked candidates). It only decides whether another solution
exists; the difficulty of a puzzle is defined by the search of `solver.py`.

Everything is in one working array `[85, 32]` of int32, which is cheap to pass on. Its rows are `SOLUTION`, `GIVEN`,
`UNSEEN`, and the states of the search from `FIRST` on. Bit p of an entry is cell 27 · band + p. The first 27 entries
of a row are for the slots: slot 9 · band + digit, with digits from 0.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.sudoku.differences import add_cell, is_known_needed, next_difference

SOLUTION, GIVEN, UNSEEN, FIRST = 0, 1, 2, 3
"""The rows of the working array.

SOLUTION: the cells of each digit in the solution. GIVEN: the cells in which a digit is a clue. UNSEEN: the cells that
share no unit with a clue of the digit, and the clues themselves. FIRST: the candidates at the beginning of a search,
followed by those at each depth.
"""
BLANKS = 27
"""Index of the blank cells of the three bands in row GIVEN, and of the undecided cells in the states."""
TRIED = 30
"""Index, in a state, of the slot and the cell (as a bit) that were tried first."""
DEPTHS = 82
"""States of a search: the first, and one for each cell that a split can decide."""

_CELLS = (1 << 27) - 1
_ROW, _COLUMN, _BOX = 0b111111111, 0x40201, 0x1C0E07
"""The first row, column and box of a band."""


def make_bands() -> NDArray[np.int32]:
    """Allocates the working array."""
    return np.zeros((FIRST + DEPTHS, 32), np.int32)


def _boxes_of_a_row() -> NDArray[np.int32]:
    """For the candidates in one row of a band: in which of its three boxes they are."""
    return np.array([sum(1 << k for k in range(3) if row >> 3 * k & 7) for row in range(512)], np.int32)


def _lone() -> NDArray[np.int32]:
    """For the candidates in one row of a band: the same if there is only one, else none."""
    return np.array([row if row & (row - 1) == 0 else 0 for row in range(512)], np.int32)


def _in_a_placement() -> NDArray[np.int32]:
    """For the boxes of the three rows: the cells of a band that are part of some placement, one box for each row."""
    table = np.zeros(512, np.int32)
    for boxes in range(512):
        for placement in permutations(range(3)):
            if all(boxes >> (3 * row + box) & 1 for row, box in enumerate(placement)):
                for row, box in enumerate(placement):
                    table[boxes] |= 7 << (9 * row + 3 * box)
    return table


def _left_to_other_bands() -> NDArray[np.int32]:
    """For the columns of a digit in one band: the cells where it may be in others.

    If a box has a single column, that is the digit's column.
    """
    table = np.zeros(512, np.int32)
    for columns in range(512):
        taken = sum(
            part << 3 * box for box in range(3) if (part := columns >> 3 * box & 7) and not part & (part - 1)
        )
        table[columns] = _CELLS & ~(taken * _COLUMN)
    return table


def _left_by_a_clue() -> NDArray[np.int32]:
    """For each cell of a band: the cells where its digit may be, itself included."""
    table = np.zeros(27, np.int32)
    for cell in range(27):
        row, column = divmod(cell, 9)
        seen = _ROW << 9 * row | _COLUMN << column | _BOX << column // 3 * 3
        table[cell] = _CELLS & ~seen | 1 << cell
    return table


# Compiled functions see module globals as constants.
_BOXES, _LONE, _PLACED = _boxes_of_a_row(), _lone(), _in_a_placement()
_OTHERS, _LEFT = _left_to_other_bands(), _left_by_a_clue()
_COLUMNS = np.array([_COLUMN << cell % 9 for cell in range(27)], np.int32)


@compiled
def index_of(bit: int) -> int:
    """The index of a single bit."""
    index = 0
    below = bit - 1
    while below:
        below &= below - 1
        index += 1
    return index


@compiled
def see(digit: int, bands: NDArray[np.int32]) -> None:
    """Computes row UNSEEN for one digit from its clues."""
    first = second = third = _CELLS
    for band in range(3):
        clues = int(bands[GIVEN, 9 * band + digit])
        while clues:
            bit = clues & -clues
            clues ^= bit
            cell = index_of(bit)
            own, others = int(_LEFT[cell]), ~int(_COLUMNS[cell])
            first &= own if band == 0 else others
            second &= own if band == 1 else others
            third &= own if band == 2 else others
    bands[UNSEEN, digit] = first
    bands[UNSEEN, 9 + digit] = second
    bands[UNSEEN, 18 + digit] = third


@compiled
def start(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], bands: NDArray[np.int32]) -> None:
    """Takes a puzzle, whose clues must agree with the solution `[81]`."""
    bands[SOLUTION, :] = 0
    bands[GIVEN, :BLANKS] = 0
    bands[GIVEN, BLANKS : BLANKS + 3] = _CELLS
    cell = 0
    for band in range(3):
        for at in range(27):
            slot, bit = 9 * band + int(solution[cell]) - 1, 1 << at
            bands[SOLUTION, slot] |= bit
            if puzzle[cell]:
                bands[GIVEN, slot] |= bit
                bands[GIVEN, BLANKS + band] ^= bit
            cell += 1
    for digit in range(9):
        see(digit, bands)


@compiled
def switch(cell: int, digit: int, bands: NDArray[np.int32]) -> None:
    """Takes away the clue in `cell`, or puts it back. Digits count from 0."""
    band, bit = cell // 27, 1 << cell % 27
    bands[GIVEN, 9 * band + digit] ^= bit
    bands[GIVEN, BLANKS + band] ^= bit
    see(digit, bands)


@compiled
def is_seen(cell: int, digit: int, bands: NDArray[np.int32]) -> bool:
    """Whether `digit` is the only candidate of a blank cell, or the cell the only place for it in a unit."""
    band, at = cell // 27, cell % 27
    bit = 1 << at
    others = 0
    for other in range(9):
        if other != digit:
            others |= int(bands[UNSEEN, 9 * band + other])
    if not others & bit:
        return True
    places = int(bands[UNSEEN, 9 * band + digit]) & int(bands[GIVEN, BLANKS + band])
    if places & _ROW << at // 9 * 9 == bit or places & _BOX << at % 9 // 3 * 3 == bit:
        return True
    elsewhere = places ^ bit
    for other in range(3):
        if other != band:
            elsewhere |= int(bands[UNSEEN, 9 * other + digit]) & int(bands[GIVEN, BLANKS + other])
    return not elsewhere & int(_COLUMNS[at])


@compiled
def propagate(state: NDArray[np.int32], changed: int) -> tuple[bool, int, int]:
    """Removes candidates until nothing follows any more. `changed` has a bit for each slot to begin with.

    Returns whether the state is free of contradictions, and the band and the bit of a cell to split: one with two
    candidates if there is one. The band is -1 if every cell is known.
    """
    while True:
        while changed:
            low = changed & -changed
            changed ^= low
            slot = index_of(low)
            band = slot // 9
            mine = int(state[slot])
            boxes = _BOXES[mine & _ROW] | _BOXES[mine >> 9 & _ROW] << 3 | _BOXES[mine >> 18] << 6
            mine &= int(_PLACED[boxes])
            if mine == 0:
                return False, 0, 0
            top, middle, bottom = mine & _ROW, mine >> 9 & _ROW, mine >> 18
            left = int(_OTHERS[top | middle | bottom])
            digit = slot - 9 * band
            for other in range(3):
                before = int(state[9 * other + digit])
                if other != band and before & ~left:
                    state[9 * other + digit] = before & left
                    changed |= 1 << (9 * other + digit)
            known = int(_LONE[top]) | int(_LONE[middle]) << 9 | int(_LONE[bottom]) << 18
            known &= int(state[BLANKS + band])
            if known:
                state[BLANKS + band] ^= known
                hit = 0
                for other in range(9):
                    before = int(state[9 * band + other])
                    hit |= int(before & known != 0) << other
                    state[9 * band + other] = before & ~known
                changed |= hit << 9 * band & ~low
            state[slot] = mine
        chosen, cell, fewest = -1, 0, 4
        for band in range(3):
            once = twice = thrice = 0
            for digit in range(9):
                mine = int(state[9 * band + digit])
                thrice |= twice & mine
                twice |= once & mine
                once |= mine
            if once != _CELLS:
                return False, 0, 0
            undecided = int(state[BLANKS + band])
            single = undecided & ~twice
            if single:
                for digit in range(9):
                    mine = int(state[9 * band + digit])
                    here = mine & single
                    if here:
                        changed |= 1 << (9 * band + digit)
                    while here:
                        bit = here & -here
                        here ^= bit
                        mine &= int(_LEFT[index_of(bit)])
                    state[9 * band + digit] = mine
            elif undecided and fewest > 2:
                pairs = undecided & ~thrice
                if pairs:
                    chosen, cell, fewest = band, pairs & -pairs, 2
                elif fewest > 3:
                    chosen, cell, fewest = band, undecided & -undecided, 3
        if not changed:
            return True, chosen, cell


@compiled
def find_other(cell: int, digit: int, bands: NDArray[np.int32]) -> int:
    """Searches for a solution of the puzzle with another digit than `digit` in a blank cell.

    Returns the row of `bands` that holds it, or -1 if there is none.
    """
    for band in range(3):
        blanks = int(bands[GIVEN, BLANKS + band])
        for slot in range(9 * band, 9 * band + 9):
            bands[FIRST, slot] = int(bands[UNSEEN, slot]) & blanks | int(bands[GIVEN, slot])
        bands[FIRST, BLANKS + band] = _CELLS
    bands[FIRST, 9 * (cell // 27) + digit] &= ~(1 << cell % 27)
    row, changed = FIRST, _CELLS
    while True:
        possible, band, bit = propagate(bands[row], changed)
        if possible:
            if band < 0:
                return row
            # The solution's digit first, if it is still a candidate: solutions that differ in few cells come first.
            tried = 0
            for slot in range(9 * band, 9 * band + 9):
                if int(bands[row, slot]) & bit:
                    tried = slot
                    if int(bands[SOLUTION, slot]) & bit:
                        break
            bands[row, TRIED] = tried
            bands[row, TRIED + 1] = bit
            bands[row + 1] = bands[row]
            row += 1
            bands[row, tried] &= _LEFT[index_of(bit)]
        else:
            row -= 1
            if row < FIRST:
                return -1
            tried = int(bands[row, TRIED])
            bands[row, tried] &= ~int(bands[row, TRIED + 1])
        changed = 1 << tried


@compiled
def difference(row: int, band: int, bands: NDArray[np.int32]) -> int:
    """The cells of a band in which the solution found in `row` is not the intended one."""
    same = 0
    for slot in range(9 * band, 9 * band + 9):
        same |= int(bands[row, slot]) & int(bands[SOLUTION, slot])
    return _CELLS & ~same


@compiled
def remove_clues(
    puzzle: NDArray[np.uint8],
    solution: NDArray[np.uint8],
    order: NDArray[np.int16],
    fewest: int,
    bands: NDArray[np.int32],
    given: NDArray[np.uint64],
    differences: NDArray[np.uint64],
    kept: NDArray[np.int64],
) -> int:
    """Removes the clues in the cells of `order` down to `fewest`, except needed ones. Returns how many are left.

    `order` has every clue. `given`, `differences` and `kept` are those of `Buffers`.
    """
    clues = order.shape[0]
    start(puzzle, solution, bands)
    for i in range(order.shape[0]):
        if clues <= fewest:
            break
        cell = int(order[i])
        digit = int(solution[cell]) - 1
        switch(cell, digit, bands)
        needed = False
        if not is_seen(cell, digit, bands):
            needed = is_known_needed(cell, given, differences, kept)
            if not needed:
                row = find_other(cell, digit, bands)
                if row >= 0:
                    needed = True
                    slot = next_difference(differences, kept)
                    for band in range(3):
                        rest = difference(row, band, bands)
                        while rest:
                            bit = rest & -rest
                            rest ^= bit
                            add_cell(slot, 27 * band + index_of(bit), differences)
        if needed:
            switch(cell, digit, bands)
        else:
            clues -= 1
            puzzle[cell] = 0
            given[cell >> 6] ^= np.uint64(1) << np.uint64(cell & 63)
    return clues
