"""The maze generator: mazes with a unique shortest path of at least the requested length, all different.

Compiled code makes every attempt from its own seed. This module keeps the new mazes and stops when no more are found.

Letters in shapes: n mazes, S = rows × columns cells.
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
    from hrm_cli.puzzles.maze.corridors import Buffers
    from hrm_cli.puzzles.maze.generator_kernels import Batch

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
    from hrm_cli.puzzles.maze import generator_kernels as kernels
    from hrm_cli.puzzles.maze.corridors import make_buffers

    cells, columns = shape[0] * shape[1], shape[1]
    out = kernels.batch(cells, BATCH * _AHEAD)
    number = {"walls": kernels.WALLS, "perfect": kernels.PERFECT, "braided": kernels.BRAIDED}[style]

    def make(seeds: NDArray[np.uint64], rows: slice, buffers: Buffers) -> None:
        into = kernels.Batch(out.mazes[rows], out.answers[rows], out.made[rows], out.longest[rows])
        kernels.make_all(seeds[rows], columns, number, min_path, allow_ties, buffers, into)

    with SharedAttempts(threads, lambda: make_buffers(cells)) as shared:
        yield from _until_enough(
            shape,
            count,
            rng,
            min_path,
            style,
            chunk,
            out,
            lambda seeds: shared.run(len(seeds), partial(make, seeds)),
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
