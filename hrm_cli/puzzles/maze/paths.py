"""Compiled breadth-first search for shortest paths in mazes.

Letters in shapes: n mazes, S = rows × columns cells, counted row by row from 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.numba_cache import compiled

WALL, FREE, START, GOAL, MARK = range(5)
"""Values of a cell. A mark is a free cell on the path of an answer."""

NOWHERE = -1
"""Distance of an unreachable cell, and index of a cell that does not exist. As a goal, it means to search the whole
maze."""


class Search(NamedTuple):
    """The results of a search, one entry per cell, `[S]` each."""

    distances: NDArray[np.int32]
    """Moves from the start, or NOWHERE."""
    ways: NDArray[np.int8]
    """Number of shortest paths from the start: 1, or 2 for more than one."""
    queue: NDArray[np.int32]
    """Reached cells, by increasing distance."""


def search_space(cells: int) -> Search:
    """Allocates the arrays for searches of mazes with `cells` cells."""
    return Search(np.empty(cells, np.int32), np.empty(cells, np.int8), np.empty(cells, np.int32))


@compiled
def neighbors(cell: int, columns: int, cells: int) -> tuple[int, int, int, int]:
    """The cells above, left, right and below; NOWHERE beyond the edge."""
    column = cell % columns
    return (
        cell - columns if cell >= columns else NOWHERE,
        cell - 1 if column > 0 else NOWHERE,
        cell + 1 if column < columns - 1 else NOWHERE,
        cell + columns if cell + columns < cells else NOWHERE,
    )


@compiled
def explore(maze: NDArray[np.uint8], columns: int, start: int, goal: int, space: Search) -> int:
    """Searches from `start` into `space` until the result for `goal` is final. Returns the number of reached cells."""
    distances, ways, queue = space
    distances[:] = NOWHERE
    distances[start] = 0
    ways[start] = 1
    queue[0] = start
    done, reached = 0, 1
    while done < reached:
        cell = int(queue[done])
        if cell == goal:
            break
        done += 1
        for other in neighbors(cell, columns, maze.shape[0]):
            if other < 0 or maze[other] == WALL:
                continue
            if distances[other] < 0:
                distances[other] = distances[cell] + 1
                ways[other] = ways[cell]
                queue[reached] = other
                reached += 1
            elif distances[other] == distances[cell] + 1:
                # Only "more than one" matters, and an exact count would overflow.
                ways[other] = 2
    return reached


@compiled
def mark_path(maze: NDArray[np.uint8], columns: int, goal: int, space: Search) -> None:
    """Marks a shortest path to `goal`. The search in `space` must have reached it."""
    cell = goal
    while space.distances[cell] > 1:
        for other in neighbors(cell, columns, maze.shape[0]):
            if other >= 0 and maze[other] != WALL and space.distances[other] == space.distances[cell] - 1:
                cell = other
                break
        maze[cell] = MARK


@compiled
def find(maze: NDArray[np.uint8], kind: int) -> int:
    """The first cell with the value `kind`, or NOWHERE."""
    for cell in range(maze.shape[0]):
        if maze[cell] == kind:
            return cell
    return NOWHERE


@compiled
def solve_mazes(
    mazes: NDArray[np.uint8],
    columns: int,
    space: Search,
    moves: NDArray[np.int64],
    ways: NDArray[np.int32],
    answers: NDArray[np.uint8],
) -> None:
    """Solves mazes `[n, S]`.

    Writes the length of the shortest path and the number of shortest paths `[n]` (both 0 if there is no path), and the
    mazes with one shortest path marked.
    """
    for i in range(mazes.shape[0]):
        answers[i, :] = mazes[i]
        moves[i] = 0
        ways[i] = 0
        start, goal = find(mazes[i], START), find(mazes[i], GOAL)
        if start < 0 or goal < 0:
            continue
        explore(mazes[i], columns, start, goal, space)
        if space.distances[goal] < 0:
            continue
        moves[i] = space.distances[goal]
        ways[i] = space.ways[goal]
        mark_path(answers[i], columns, goal, space)


def follow(answer: NDArray[np.uint8], columns: int, start: int) -> tuple[int, int]:
    """Follows the marks of `answer` `[S]` from `start`. Returns the number of moves and the last cell.

    Stops at the goal, at the end of the marked path, or at a branch.
    """
    cell, before, moves = start, NOWHERE, 0
    while True:
        onward = [n for n in onward_cells(answer, columns, cell) if n != before]
        if len(onward) != 1 or answer[cell] == GOAL or (answer[cell] == START and moves):
            return moves, cell
        before, cell = cell, onward[0]
        moves += 1


def onward_cells(answer: NDArray[np.uint8], columns: int, cell: int) -> list[int]:
    """The neighbors of `cell` that belong to the path of `answer`."""
    beside = neighbors(cell, columns, len(answer))
    return [other for other in beside if other >= 0 and answer[other] in (MARK, GOAL, START)]
