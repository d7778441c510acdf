"""Compiled generation of corridor mazes: rooms on a lattice are carved into a tree, then dead ends may be opened.

Letters in shapes: N size, S = N² cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled
from hrm_cli.puzzles.maze.paths import FREE, NOWHERE, WALL, Search, explore, neighbors, search_space
from hrm_cli.puzzles.random_numbers import draw, shuffle


class Buffers(NamedTuple):
    """Working arrays that are reused from maze to maze."""

    space: Search
    state: NDArray[np.uint64]
    """The random generator's state, `[1]`."""
    order: NDArray[np.int16]
    """Directions or dead ends in the order in which they are tried, `[S]`."""
    stack: NDArray[np.int32]
    """The stack of the random walk, or a list of candidate cells, `[S]`."""


def make_buffers(size: int) -> Buffers:
    """Allocates the working arrays for N×N mazes."""
    cells = size * size
    return Buffers(
        search_space(cells), np.empty(1, np.uint64), np.empty(cells, np.int16), np.empty(cells, np.int32)
    )


@compiled
def room_beside(room: int, direction: int, size: int, first: int) -> int:
    """The room two cells up, left, right or down (0 to 3), or NOWHERE outside. `first` is the top left room's cell."""
    row, column = room // size, room % size
    if direction == 0:
        row -= 2
    elif direction == 1:
        column -= 2
    elif direction == 2:
        column += 2
    else:
        row += 2
    first_row, first_column = first // size, first % size
    # Mazes of odd size have walls on all four sides. Even sizes have them on two sides only, so one more room fits.
    last = size - 1 - size % 2
    if row < first_row or column < first_column or row > last or column > last:
        return NOWHERE
    return row * size + column


@compiled
def carve(maze: NDArray[np.uint8], size: int, buffers: Buffers) -> int:
    """Carves a perfect maze by depth-first random walks with backtracking. Returns its first room."""
    maze[:] = WALL
    first = size + 1 if size % 2 else draw(buffers.state, 2) * size + draw(buffers.state, 2)
    stack, order = buffers.stack, buffers.order
    maze[first] = FREE
    stack[0] = first
    depth = 1
    while depth:
        room = int(stack[depth - 1])
        for direction in range(4):
            order[direction] = direction
        shuffle(order, 4, buffers.state)
        stuck = True
        for i in range(4):
            other = room_beside(room, int(order[i]), size, first)
            if other >= 0 and maze[other] == WALL:
                maze[other] = FREE
                maze[(room + other) // 2] = FREE
                stack[depth] = other
                depth += 1
                stuck = False
                break
        if stuck:
            depth -= 1
    return first


@compiled
def braid(
    maze: NDArray[np.uint8],
    size: int,
    first: int,
    ends: tuple[int, int],
    least: int,
    ties: bool,
    buffers: Buffers,
) -> None:
    """Opens dead ends in random order.

    A dead end stays closed if opening it makes the shortest path shorter than `least` or, without `ties`, ambiguous.
    """
    start, goal = ends
    space, order, rooms = buffers.space, buffers.order, buffers.stack
    count = 0
    for cell in range(maze.shape[0]):
        is_room = (cell // size - first // size) % 2 == 0 and (cell % size - first % size) % 2 == 0
        if maze[cell] == FREE and is_room and cell not in ends:
            rooms[count] = cell
            order[count] = count
            count += 1
    shuffle(order, count, buffers.state)
    for i in range(count):
        room = int(rooms[order[i]])
        exits = 0
        for other in neighbors(room, size, maze.shape[0]):
            exits += other >= 0 and maze[other] == FREE
        if exits != 1:
            continue
        turn = draw(buffers.state, 4)
        for k in range(4):
            other = room_beside(room, (turn + k) % 4, size, first)
            wall = (room + other) // 2
            if other < 0 or maze[wall] != WALL:
                continue
            maze[wall] = FREE
            explore(maze, size, start, goal, space)
            if space.distances[goal] >= least and (ties or space.ways[goal] == 1):
                break
            maze[wall] = WALL
