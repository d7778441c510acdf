"""The compiled part of the maze generator: start and goal, lengthening, and making the shortest path the only one.

There are three styles. Perfect: corridors one cell wide form a tree. Braided: dead ends of a perfect maze are opened
as far as the requested path length allows. Walls: random cells become walls, then single cells are changed until the
path is long enough.

Letters in shapes: n mazes, S = rows × columns cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.compiled import compiled
from hrm_cli.puzzles.maze.corridors import Buffers, braid, carve
from hrm_cli.puzzles.maze.paths import (
    FREE,
    GOAL,
    NOWHERE,
    START,
    WALL,
    Search,
    explore,
    mark_path,
    neighbors,
)
from hrm_cli.puzzles.random_numbers import draw

WALLS, PERFECT, BRAIDED = range(3)

THINNEST, DENSEST = 25, 40
"""Initial percentage of walls in the `walls` style; with more, the free cells are disconnected."""

CHANGES_PER_CELL = 8
"""Changes per cell tried to lengthen the path of one maze before it is given up."""


class Batch(NamedTuple):
    """The results of n attempts."""

    mazes: NDArray[np.uint8]
    """`[n, S]`"""
    answers: NDArray[np.uint8]
    """The same with the shortest path marked, `[n, S]`."""
    made: NDArray[np.bool_]
    """Whether the attempt produced a maze that meets the request, `[n]`."""
    longest: NDArray[np.int32]
    """Moves of the longest shortest path seen in the attempt, `[n]`."""


def batch(cells: int, count: int) -> Batch:
    """Allocates the results of n attempts."""
    return Batch(
        np.empty((count, cells), np.uint8),
        np.empty((count, cells), np.uint8),
        np.empty(count, np.bool_),
        np.empty(count, np.int32),
    )


@compiled
def choose_free(maze: NDArray[np.uint8], buffers: Buffers) -> int:
    """A random free cell, or NOWHERE."""
    free = 0
    for cell in range(maze.shape[0]):
        if maze[cell] == FREE:
            buffers.stack[free] = cell
            free += 1
    return int(buffers.stack[draw(buffers.state, free)]) if free else NOWHERE


@compiled
def choose_goal(
    maze: NDArray[np.uint8], columns: int, start: int, least: int, ties: bool, buffers: Buffers
) -> int:
    """A random cell at least `least` moves from `start`, or NOWHERE. Leaves the distances in `space`."""
    space = buffers.space
    reached = explore(maze, columns, start, NOWHERE, space)
    fits = 0
    for i in range(1, reached):
        cell = space.queue[i]
        if space.distances[cell] >= least and (ties or space.ways[cell] == 1):
            buffers.stack[fits] = cell
            fits += 1
    return int(buffers.stack[draw(buffers.state, fits)]) if fits else NOWHERE


@compiled
def farthest(maze: NDArray[np.uint8], columns: int, start: int, space: Search) -> int:
    """One of the cells farthest from `start`, possibly `start` itself."""
    return int(space.queue[explore(maze, columns, start, NOWHERE, space) - 1])


@compiled
def cell_on_path(maze: NDArray[np.uint8], columns: int, goal: int, place: int, space: Search) -> int:
    """The cell at distance `place` from the start on a shortest path to `goal`. Needs a completed search in `space`."""
    cell = goal
    while space.distances[cell] > place:
        for other in neighbors(cell, columns, maze.shape[0]):
            if other >= 0 and maze[other] != WALL and space.distances[other] == space.distances[cell] - 1:
                cell = other
                break
    return cell


@compiled
def lengthen(
    maze: NDArray[np.uint8], columns: int, ends: tuple[int, int], least: int, buffers: Buffers
) -> int:
    """Blocks cells of the path and opens others, but never shortens the path. Returns its moves."""
    start, goal = ends
    space, state = buffers.space, buffers.state
    explore(maze, columns, start, goal, space)
    moves = int(space.distances[goal])
    for _ in range(CHANGES_PER_CELL * maze.shape[0]):
        if moves >= least:
            break
        cell = draw(state, maze.shape[0])
        if draw(state, 2) and moves > 1:
            cell = cell_on_path(maze, columns, goal, 1 + draw(state, moves - 1), space)
        before = maze[cell]
        if cell in ends:
            continue
        maze[cell] = FREE if before == WALL else WALL
        explore(maze, columns, start, goal, space)
        if space.distances[goal] >= moves:
            moves = int(space.distances[goal])
        else:
            maze[cell] = before
            explore(maze, columns, start, goal, space)
    return moves


@compiled
def make_unique(maze: NDArray[np.uint8], columns: int, ends: tuple[int, int], buffers: Buffers) -> None:
    """Blocks cells of all shortest paths except one."""
    start, goal = ends
    space = buffers.space
    explore(maze, columns, start, goal, space)
    cell = goal
    while cell != start:
        kept = NOWHERE
        turn = draw(buffers.state, 4)
        beside = neighbors(cell, columns, maze.shape[0])
        for k in range(4):
            other = beside[(turn + k) % 4]
            if other < 0 or maze[other] == WALL or space.distances[other] != space.distances[cell] - 1:
                continue
            if kept == NOWHERE:
                kept = other
            else:
                maze[other] = WALL
        cell = kept


@compiled
def make(
    maze: NDArray[np.uint8], columns: int, style: int, least: int, ties: bool, buffers: Buffers
) -> tuple[int, int, int]:
    """One attempt. Returns start, goal (NOWHERE if it failed), and the moves of the longest shortest path seen."""
    if style == WALLS:
        percent = THINNEST + draw(buffers.state, DENSEST - THINNEST + 1)
        for cell in range(maze.shape[0]):
            maze[cell] = WALL if draw(buffers.state, 100) < percent else FREE
        start = choose_free(maze, buffers)
        if start < 0:
            return NOWHERE, NOWHERE, 0
        goal = choose_goal(maze, columns, start, least, True, buffers)
        if goal < 0:
            goal = farthest(maze, columns, start, buffers.space)
            if goal == start:
                return NOWHERE, NOWHERE, 0
        moves = lengthen(maze, columns, (start, goal), least, buffers)
        if moves < least:
            return NOWHERE, NOWHERE, moves
        if not ties:
            make_unique(maze, columns, (start, goal), buffers)
        return start, goal, moves
    first = carve(maze, columns, buffers)
    start = choose_free(maze, buffers)
    goal = choose_goal(maze, columns, start, least, ties, buffers)
    if goal < 0:
        # Two farthest-cell searches in a row find the diameter of a tree.
        start = farthest(maze, columns, start, buffers.space)
        goal = choose_goal(maze, columns, start, least, ties, buffers)
    end = farthest(maze, columns, start, buffers.space)
    longest = int(buffers.space.distances[end])
    if goal >= 0 and style == BRAIDED:
        braid(maze, columns, first, (start, goal), least, ties, buffers)
    return start, goal, longest


@compiled
def make_all(
    seeds: NDArray[np.uint64], columns: int, style: int, least: int, ties: bool, buffers: Buffers, out: Batch
) -> None:
    """One attempt per seed `[n]`. With `ties`, several shortest paths are allowed."""
    for i in range(seeds.shape[0]):
        buffers.state[0] = seeds[i]
        maze = out.mazes[i]
        start, goal, longest = make(maze, columns, style, least, ties, buffers)
        out.longest[i] = longest
        out.made[i] = goal >= 0
        if goal < 0:
            continue
        maze[start] = START
        maze[goal] = GOAL
        explore(maze, columns, start, goal, buffers.space)
        out.answers[i, :] = maze
        mark_path(out.answers[i], columns, goal, buffers.space)
