"""Compiled generation of corridor mazes: rooms on a lattice are carved into a tree, then dead ends may be opened.

Letters in shapes: R rows, C columns, S = R·C cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.compiled import draw, shuffle
from hrm_cli.puzzles.maze.paths import FREE, NOWHERE, WALL, Search, explore, neighbors, search_space


class Buffers(NamedTuple):
    """Working arrays that are reused from maze to maze."""

    space: Search
    state: NDArray[np.uint64]
    """The random generator's state, `[1]`."""
    order: NDArray[np.int16]
    """Directions or dead ends in the order in which they are tried, `[S]`."""
    stack: NDArray[np.int32]
    """The stack of the random walk, or a list of candidate cells, `[S]`."""


def make_buffers(cells: int) -> Buffers:
    """Allocates the working arrays for mazes of S cells."""
    return Buffers(
        search_space(cells), np.empty(1, np.uint64), np.empty(cells, np.int16), np.empty(cells, np.int32)
    )


@compiled
def room_beside(room: int, direction: int, rows: int, columns: int, first: int) -> int:
    """The room two cells up, left, right or down (0 to 3), or NOWHERE outside. `first` is the top left room's cell."""
    row, column = room // columns, room % columns
    if direction == 0:
        row -= 2
    elif direction == 1:
        column -= 2
    elif direction == 2:
        column += 2
    else:
        row += 2
    first_row, first_column = first // columns, first % columns
    # Odd sides have walls at both ends. Even sides have a wall at one end only, so one more room fits.
    last_row, last_column = rows - 1 - rows % 2, columns - 1 - columns % 2
    if row < first_row or column < first_column or row > last_row or column > last_column:
        return NOWHERE
    return row * columns + column


@compiled
def carve(maze: NDArray[np.uint8], columns: int, buffers: Buffers) -> int:
    """Carves a perfect maze by depth-first random walks with backtracking. Returns its first room."""
    maze[:] = WALL
    rows = maze.shape[0] // columns
    first_row = 1 if rows % 2 else draw(buffers.state, 2)
    first_column = 1 if columns % 2 else draw(buffers.state, 2)
    first = first_row * columns + first_column
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
            other = room_beside(room, int(order[i]), rows, columns, first)
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
    columns: int,
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
    rows = maze.shape[0] // columns
    space, order, rooms = buffers.space, buffers.order, buffers.stack
    count = 0
    for cell in range(maze.shape[0]):
        is_room = (cell // columns - first // columns) % 2 == 0 and (
            cell % columns - first % columns
        ) % 2 == 0
        if maze[cell] == FREE and is_room and cell not in ends:
            rooms[count] = cell
            order[count] = count
            count += 1
    shuffle(order, count, buffers.state)
    for i in range(count):
        room = int(rooms[order[i]])
        exits = 0
        for other in neighbors(room, columns, maze.shape[0]):
            exits += other >= 0 and maze[other] == FREE
        if exits != 1:
            continue
        turn = draw(buffers.state, 4)
        for k in range(4):
            other = room_beside(room, (turn + k) % 4, rows, columns, first)
            wall = (room + other) // 2
            if other < 0 or maze[wall] != WALL:
                continue
            maze[wall] = FREE
            explore(maze, columns, start, goal, space)
            if space.distances[goal] >= least and (ties or space.ways[goal] == 1):
                break
            maze[wall] = WALL
