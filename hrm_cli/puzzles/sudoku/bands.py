"""The search behind the removal of clues at 9×9: is there another solution without this clue?

A band is three rows: 27 cells, which fit into one integer. The candidates of a digit are three such bit sets, so one
operation handles 27 cells. Propagation goes on until there is no naked single, no hidden single in a row or box, and
no digit confined to the common cells of a box and a line of its band (locked candidates). It only decides whether
another solution exists. The solver in `solver.py` defines the difficulty of a puzzle.

A slot is 9 · band + digit, with digits from 0. Bit p of a bit set is cell 27 · band + p.
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled

SLOTS = 27
DEPTHS = 82
"""States of a search: the first, and one for each cell that a split can decide."""

_CELLS = (1 << 27) - 1
_ROW, _COLUMN, _BOX = 0b111111111, 0x40201, 0x1C0E07
"""The first row, column and box of a band."""


class Bands(NamedTuple):
    """Working arrays for one puzzle, reused from puzzle to puzzle."""

    solution: NDArray[np.int32]
    """The cells of each digit in the solution, `[27]`."""
    given: NDArray[np.int32]
    """The cells in which a digit is a clue, `[27]`."""
    unseen: NDArray[np.int32]
    """The cells that share no unit with a clue of the digit, and the clues themselves, `[27]`."""
    blank: NDArray[np.int32]
    """The cells without a clue, `[3]`."""
    states: NDArray[np.int32]
    """Candidates of each slot and, behind them, the undecided cells of each band, for each depth, `[82, 30]`."""
    splits: NDArray[np.int32]
    """Slot and cell (as a bit) that were tried first at each depth, `[82, 2]`."""


def make_bands() -> Bands:
    """Allocates the working arrays."""
    return Bands(
        solution=np.empty(SLOTS, np.int32),
        given=np.empty(SLOTS, np.int32),
        unseen=np.empty(SLOTS, np.int32),
        blank=np.empty(3, np.int32),
        states=np.empty((DEPTHS, SLOTS + 3), np.int32),
        splits=np.empty((DEPTHS, 2), np.int32),
    )


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
def see(digit: int, bands: Bands) -> None:
    """Computes `unseen` of one digit from its clues."""
    first = second = third = _CELLS
    for band in range(3):
        clues = int(bands.given[9 * band + digit])
        while clues:
            bit = clues & -clues
            clues ^= bit
            cell = index_of(bit)
            own, others = int(_LEFT[cell]), ~(_COLUMN << (cell % 9))
            first &= own if band == 0 else others
            second &= own if band == 1 else others
            third &= own if band == 2 else others
    bands.unseen[digit] = first
    bands.unseen[9 + digit] = second
    bands.unseen[18 + digit] = third


@compiled
def start(puzzle: NDArray[np.uint8], solution: NDArray[np.uint8], bands: Bands) -> None:
    """Takes a puzzle, whose clues must agree with the solution `[81]`."""
    bands.solution[:] = 0
    bands.given[:] = 0
    bands.blank[:] = _CELLS
    for cell in range(81):
        band, bit = cell // 27, 1 << cell % 27
        slot = 9 * band + int(solution[cell]) - 1
        bands.solution[slot] |= bit
        if puzzle[cell]:
            bands.given[slot] |= bit
            bands.blank[band] ^= bit
    for digit in range(9):
        see(digit, bands)


@compiled
def switch(cell: int, digit: int, bands: Bands) -> None:
    """Takes away the clue in `cell`, or puts it back. Digits count from 0."""
    band, bit = cell // 27, 1 << cell % 27
    bands.given[9 * band + digit] ^= bit
    bands.blank[band] ^= bit
    see(digit, bands)


@compiled
def is_seen(cell: int, digit: int, bands: Bands) -> bool:
    """Whether `digit` is the only candidate of a blank cell, or the cell the only place for it in a unit."""
    band, at = cell // 27, cell % 27
    bit = 1 << at
    others = 0
    for other in range(9):
        if other != digit:
            others |= int(bands.unseen[9 * band + other])
    if not others & bit:
        return True
    places = int(bands.unseen[9 * band + digit]) & int(bands.blank[band])
    column = _COLUMN << at % 9
    if places & _ROW << at // 9 * 9 == bit or places & _BOX << at % 9 // 3 * 3 == bit:
        return True
    elsewhere = places ^ bit
    for other in range(3):
        if other != band:
            elsewhere |= int(bands.unseen[9 * other + digit]) & int(bands.blank[other])
    return elsewhere & column == 0


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
            for other in range(slot - 9 * band, SLOTS, 9):
                before = int(state[other])
                if other != slot and before & ~left:
                    state[other] = before & left
                    changed |= 1 << other
            known = int(_LONE[top]) | int(_LONE[middle]) << 9 | int(_LONE[bottom]) << 18
            known &= int(state[SLOTS + band])
            state[SLOTS + band] ^= known
            if known:
                hit = 0
                for digit in range(9):
                    before = int(state[9 * band + digit])
                    hit |= int(before & known != 0) << digit
                    state[9 * band + digit] = before & ~known
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
            undecided = int(state[SLOTS + band])
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
def digit_to_try(state: NDArray[np.int32], band: int, cell: int, bands: Bands) -> int:
    """The solution's digit if it is still a candidate, else another: solutions that differ in few cells come first."""
    chosen = 0
    for digit in range(9):
        if int(state[9 * band + digit]) & cell:
            chosen = digit
            if int(bands.solution[9 * band + digit]) & cell:
                break
    return chosen


@compiled
def find_other(cell: int, digit: int, bands: Bands) -> int:
    """Searches for a solution of the puzzle with another digit than `digit` in a blank cell.

    Returns the depth in `bands.states` at which it is, or -1 if there is none.
    """
    states, splits = bands.states, bands.splits
    for band in range(3):
        for other in range(9):
            slot = 9 * band + other
            states[0, slot] = bands.unseen[slot] & bands.blank[band] | bands.given[slot]
        states[0, SLOTS + band] = _CELLS
    states[0, 9 * (cell // 27) + digit] &= ~(1 << cell % 27)
    depth, changed = 0, _CELLS
    while True:
        possible, band, bit = propagate(states[depth], changed)
        if possible:
            if band < 0:
                return depth
            tried = 9 * band + digit_to_try(states[depth], band, bit, bands)
            splits[depth, 0] = tried
            splits[depth, 1] = bit
            states[depth + 1] = states[depth]
            depth += 1
            states[depth, tried] &= _LEFT[index_of(bit)]
        else:
            depth -= 1
            if depth < 0:
                return -1
            tried = int(splits[depth, 0])
            states[depth, tried] &= ~int(splits[depth, 1])
        changed = 1 << tried


@compiled
def difference(depth: int, band: int, bands: Bands) -> int:
    """The cells of a band in which the solution found at `depth` is not the intended one."""
    same = 0
    for slot in range(9 * band, 9 * band + 9):
        same |= int(bands.states[depth, slot]) & int(bands.solution[slot])
    return _CELLS & ~same
