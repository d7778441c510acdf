"""The maze generator: mazes with a unique shortest path of at least the requested length, all different.

Every attempt has its own seed and is made by compiled code; this module keeps new mazes and stops when no new one
comes.

Letters in shapes: n mazes, N size, S = N² cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError, closest
from hrm_cli.puzzles.sharing import SharedAttempts

if TYPE_CHECKING:
    from hrm_cli.puzzles.maze.corridors import Bench
    from hrm_cli.puzzles.maze.generator_kernels import Batch

Cells = NDArray[np.uint8]

STYLES = ("walls", "perfect", "braided")

SMALLEST, LARGEST = 4, 180
"""Rows and columns: smaller ones have hardly a path, larger ones more cells than the kernels' numbers hold."""

BATCH = 32
"""Attempts between two checks of what is still missing; results depend on it."""

_AHEAD = 16
"""Batches made at once while many mazes are still missing: enough work for many processors."""

PATIENCE = {"walls": 256, "perfect": 4096, "braided": 4096}
"""Attempts in a row without a new maze after which there are no more; those of walls take long."""


def generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    *,
    min_path: int = 1,
    style: str = "perfect",
    allow_ties: bool = False,
    chunk: int = 1000,
    threads: int = 1,
) -> Iterator[tuple[Cells, Cells]]:
    """Makes `count` different N×N mazes: pairs (mazes, answers) of cells `[n ≤ chunk, S]`.

    `min_path` counts moves from S to G. `allow_ties` lets other paths be as short as the one that is marked.
    The result depends only on the arguments and the state of `rng`, not on `chunk` and `threads`.

    Raises ConfigError at once for arguments that no maze can meet, and PuzzleError after the last pair when
    fewer than `count` are found.
    """
    if style not in STYLES:
        raise ConfigError(f"style {style!r}{closest(style, list(STYLES))}; known: {', '.join(STYLES)}")
    if not SMALLEST <= size <= LARGEST:
        raise ConfigError(f"maze size {size}: choose one from {SMALLEST} to {LARGEST}")
    if count < 0 or chunk < 1 or min_path < 1:
        raise ConfigError(f"count {count}, chunk {chunk}, shortest path {min_path}: too small")
    most = longest_possible(size, style)
    if min_path > most:
        raise ConfigError(
            f"a shortest path of {min_path} moves: {style} mazes of {size}×{size} have at most {most}"
        )
    return _generate(size, count, rng, min_path, style, allow_ties, chunk, threads)


def longest_possible(size: int, style: str) -> int:
    """A number of moves that no shortest path of such a maze exceeds; most mazes stay far below."""
    if style == "walls":
        # A square of 2×2 cells has three on a shortest path at most: the fourth would make a shorter one.
        return 3 * ((size + 1) // 2) ** 2 - 1
    rooms = size // 2
    # Through every room, and at either end one cell of a corridor more.
    return 2 * (rooms * rooms - 1)


def _generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    min_path: int,
    style: str,
    allow_ties: bool,
    chunk: int,
    threads: int,
) -> Iterator[tuple[Cells, Cells]]:
    from hrm_cli.puzzles.maze import generator_kernels as kernels
    from hrm_cli.puzzles.maze.corridors import bench

    out = kernels.batch(size, BATCH * _AHEAD)
    number = {"walls": kernels.WALLS, "perfect": kernels.PERFECT, "braided": kernels.BRAIDED}[style]

    def make(seeds: NDArray[np.uint64], rows: slice, tools: Bench) -> None:
        into = kernels.Batch(out.mazes[rows], out.answers[rows], out.made[rows], out.longest[rows])
        kernels.make_all(seeds[rows], size, number, min_path, allow_ties, tools, into)

    with SharedAttempts(threads, lambda: bench(size)) as shared:
        yield from _until_enough(
            size,
            count,
            rng,
            min_path,
            style,
            chunk,
            out,
            lambda seeds: shared.run(len(seeds), partial(make, seeds)),
        )


def _until_enough(
    size: int,
    count: int,
    rng: np.random.Generator,
    min_path: int,
    style: str,
    chunk: int,
    out: Batch,
    make: Callable[[NDArray[np.uint64]], None],
) -> Iterator[tuple[Cells, Cells]]:
    seen: set[bytes] = set()
    mazes, answers = (np.empty((min(chunk, count), size * size), np.uint8) for _ in range(2))
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
            raise _exhausted(size, count, len(seen), min_path, style, longest)


def _exhausted(size: int, count: int, found: int, min_path: int, style: str, longest: int) -> PuzzleError:
    return PuzzleError(
        f"{count:,} different {style} mazes of {size}×{size} with a shortest path of {min_path} moves or "
        f"more were requested and {found:,} found; the last {PATIENCE[style]:,} attempts gave none "
        f"(longest path found: {longest} moves). Ask for fewer, a shorter path, a larger size or another style."
    )
