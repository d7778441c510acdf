"""The maze generator: mazes with a unique shortest path of at least the requested length, all different.

Compiled code makes every attempt from its own seed: start and goal, lengthening, and making the shortest path the only
one. New mazes are kept, until no more are found. There are three styles. Perfect: corridors one cell wide form a tree.
Braided: dead ends of a perfect maze are opened as far as the requested path length allows. Walls: random cells become
walls, then single cells are changed until the path is long enough.

Letters in shapes: n mazes, S = rows × columns cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError, closest
from hrm_cli.numba_cache import compiled
from hrm_cli.puzzles.compiled import draw
from hrm_cli.puzzles.maze.corridors import Buffers, braid, carve, make_buffers
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
from hrm_cli.puzzles.sharing import SharedAttempts

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


Cells = NDArray[np.uint8]

STYLES = ("walls", "perfect", "braided")

SMALLEST, LARGEST = 4, 180
"""Allowed sizes: smaller mazes have hardly a path; in larger ones cell numbers overflow the kernels' integer types."""

BATCH = 32
"""Attempts per batch. After each batch the remaining count is checked; results depend on this number."""

_AHEAD = 16
"""Batches made at once while many mazes are still missing, so that many threads have work."""

PATIENCE = {"walls": 256, "perfect": 4096, "braided": 4096}
"""Consecutive attempts without a new maze before generation stops; fewer for `walls`, whose attempts take long."""


def generate(
    rows: int,
    count: int,
    rng: np.random.Generator,
    *,
    columns: int | None = None,
    min_path: int = 1,
    style: str = "perfect",
    allow_ties: bool = False,
    chunk: int = 1000,
    threads: int = 1,
) -> Iterator[tuple[Cells, Cells]]:
    """Makes `count` different mazes: pairs (mazes, answers) of cells `[n ≤ chunk, S]`. `columns` None means square.

    `min_path` counts moves from S to G. With `allow_ties`, a maze may have several shortest paths; one is marked.
    The result depends only on the arguments and the state of `rng`, not on `chunk` and `threads`.

    Raises ConfigError immediately if no maze can satisfy the arguments, and PuzzleError after the last pair if
    fewer than `count` mazes were found.
    """
    if style not in STYLES:
        raise ConfigError(f"style {style!r}{closest(style, list(STYLES))}; known: {', '.join(STYLES)}")
    columns = rows if columns is None else columns
    for side in (rows, columns):
        if not SMALLEST <= side <= LARGEST:
            raise ConfigError(f"maze size {side}: choose one from {SMALLEST} to {LARGEST}")
    if count < 0 or chunk < 1 or min_path < 1:
        raise ConfigError(f"count {count}, chunk {chunk}, shortest path {min_path}: too small")
    most = longest_possible(rows, columns, style)
    if min_path > most:
        raise ConfigError(
            f"a shortest path of {min_path} moves: {style} mazes of {rows}×{columns} have at most {most}"
        )
    return _generate((rows, columns), count, rng, min_path, style, allow_ties, chunk, threads)


def longest_possible(rows: int, columns: int, style: str) -> int:
    """An upper bound for the moves of a shortest path; most mazes stay far below."""
    if style == "walls":
        # At most three cells of each 2×2 square lie on a shortest path: with the fourth, a shorter path would exist.
        return 3 * ((rows + 1) // 2) * ((columns + 1) // 2) - 1
    rooms = (rows // 2) * (columns // 2)
    # The path visits every room, plus one corridor cell at each end.
    return 2 * (rooms - 1)


def _generate(
    shape: tuple[int, int],
    count: int,
    rng: np.random.Generator,
    min_path: int,
    style: str,
    allow_ties: bool,
    chunk: int,
    threads: int,
) -> Iterator[tuple[Cells, Cells]]:
    cells, columns = shape[0] * shape[1], shape[1]
    out = batch(cells, BATCH * _AHEAD)
    number = {"walls": WALLS, "perfect": PERFECT, "braided": BRAIDED}[style]

    def make_some(seeds: NDArray[np.uint64], rows: slice, buffers: Buffers) -> None:
        into = Batch(out.mazes[rows], out.answers[rows], out.made[rows], out.longest[rows])
        make_all(seeds[rows], columns, number, min_path, allow_ties, buffers, into)

    with SharedAttempts(threads, lambda: make_buffers(cells)) as shared:
        yield from _until_enough(
            shape,
            count,
            rng,
            min_path,
            style,
            chunk,
            out,
            lambda seeds: shared.run(len(seeds), partial(make_some, seeds)),
        )


def _until_enough(
    shape: tuple[int, int],
    count: int,
    rng: np.random.Generator,
    min_path: int,
    style: str,
    chunk: int,
    out: Batch,
    make: Callable[[NDArray[np.uint64]], None],
) -> Iterator[tuple[Cells, Cells]]:
    seen: set[bytes] = set()
    mazes, answers = (np.empty((min(chunk, count), shape[0] * shape[1]), np.uint8) for _ in range(2))
    filled = since = longest = 0
    while len(seen) < count:
        ahead = max(1, min(_AHEAD, (count - len(seen)) // BATCH))
        seeds = rng.integers(0, 2**64, ahead * BATCH, dtype=np.uint64)
        make(seeds)
        longest = max(longest, int(out.longest[: len(seeds)].max()))
        for i in range(len(seeds)):
            name = blake2b(out.mazes[i].tobytes(), digest_size=12).digest()
            if not out.made[i] or name in seen:
                since += 1
                continue
            seen.add(name)
            since = 0
            mazes[filled], answers[filled] = out.mazes[i], out.answers[i]
            filled += 1
            if filled == len(mazes) or len(seen) == count:
                yield mazes[:filled].copy(), answers[:filled].copy()
                filled = 0
            if len(seen) == count:
                return
        if since >= PATIENCE[style]:
            if filled:
                yield mazes[:filled].copy(), answers[:filled].copy()
            raise _exhausted(shape, count, len(seen), min_path, style, longest)


def _exhausted(
    shape: tuple[int, int], count: int, found: int, min_path: int, style: str, longest: int
) -> PuzzleError:
    return PuzzleError(
        f"{count:,} different {style} mazes of {shape[0]}×{shape[1]} with a shortest path of {min_path} moves or "
        f"more were requested and {found:,} found; the last {PATIENCE[style]:,} attempts gave none "
        f"(longest path found: {longest} moves). Ask for fewer, a shorter path, a larger size or another style."
    )
