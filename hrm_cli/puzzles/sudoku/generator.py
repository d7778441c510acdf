"""The Sudoku generator: different puzzles with one solution each, reproducible from the seed.

Compiled code makes every attempt from its own seed. This module sets the target of each attempt, keeps new puzzles,
and stops when no more are found.

Letters in shapes: n puzzles, S cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.sharing import SharedAttempts
from hrm_cli.puzzles.sudoku.layout import FEWEST_CLUES, layout

if TYPE_CHECKING:
    from hrm_cli.puzzles.sudoku.generator_kernels import Batch, Buffers

Cells = NDArray[np.uint8]

BATCH = 64
"""Attempts per batch. After each batch the remaining count is checked; results depend on this number."""

_AHEAD = 16
"""Batches made at once while many puzzles of one number of clues are missing, so that many threads have work."""

_SHORT = 4
"""Attempts handed to a thread together if an attempt takes less than 0.1 ms."""

PATIENCE = 20_000
"""Consecutive attempts without a new puzzle after which a number of clues counts as exhausted."""

PATIENCE_WHEN_HARD = 500
"""The same limit if a difficulty is requested; an attempt then makes hundreds of puzzles."""

PATIENCE_WHEN_LARGE = 1000
"""The same limit above 9×9, where an attempt takes up to a second and no two attempts give the same puzzle."""


def generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    clues: int | tuple[int, int] | None = None,
    min_difficulty: int = 0,
    chunk: int = 1000,
    threads: int = 1,
) -> Iterator[tuple[Cells, Cells]]:
    """Makes `count` different N×N puzzles with one solution each: pairs (puzzles, solutions) of `[n ≤ chunk, S]`.

    Cells hold digits, 0 for blank. `clues` is a number, a (low, high) range over which puzzles are spread evenly, or
    None for minimal puzzles (no clue can be removed; in sizes above 12×12, no clue whose removal can be checked within
    a small budget). `min_difficulty` counts the branches of the exact solver.
    The result depends only on the arguments and the state of `rng`, not on `chunk` and `threads`.

    If no more puzzles are found for a number of clues, its share goes to the other numbers of the range.

    Raises ConfigError immediately if no puzzle can satisfy the arguments, and PuzzleError after the last pair if
    fewer than `count` puzzles were found.
    """
    wanted = _clue_counts(size, clues)
    if count < 0 or chunk < 1 or min_difficulty < 0:
        raise ConfigError(f"count {count}, chunk {chunk}, difficulty {min_difficulty}: none may be negative")
    return _generate(size, count, rng, wanted, min_difficulty, chunk, threads)


def _clue_counts(size: int, clues: int | tuple[int, int] | None) -> list[int]:
    """The requested numbers of clues; `[0]` means minimal puzzles."""
    cells = layout(size).size ** 2
    fewest = FEWEST_CLUES.get(size, size - 1)
    if clues is None:
        return [0]
    low, high = (clues, clues) if isinstance(clues, int) else clues
    if low > high:
        raise ConfigError(f"clues {low}-{high}: the lower number comes first")
    if low < fewest or high >= cells:
        raise ConfigError(
            f"clues {low if low == high else f'{low}-{high}'}: a {size}×{size} puzzle with one solution has "
            f"from {fewest} to {cells - 1}"
        )
    return list(range(low, high + 1))


class _Share:
    """Counts for one number of clues: puzzles to make, puzzles made, and attempts since the last new puzzle."""

    def __init__(self, clues: int, wanted: int) -> None:
        self.clues = clues
        self.wanted = wanted
        self.made = 0
        self.attempts_since = 0

    @property
    def missing(self) -> int:
        return self.wanted - self.made


def _generate(
    size: int,
    count: int,
    rng: np.random.Generator,
    clue_counts: list[int],
    min_difficulty: int,
    chunk: int,
    threads: int,
) -> Iterator[tuple[Cells, Cells]]:
    from hrm_cli.puzzles.sudoku import generator_kernels as kernels

    out = kernels.batch(size, BATCH * _AHEAD)

    def make(seeds: NDArray[np.uint64], clues: NDArray[np.int64], rows: slice, buffers: Buffers) -> None:
        into = kernels.Batch(out.puzzles[rows], out.solutions[rows], out.made[rows])
        kernels.make_all(seeds[rows], clues[rows], min_difficulty, buffers, into)

    smallest = 1 if min_difficulty or size > 9 else _SHORT
    with SharedAttempts(threads, lambda: kernels.make_buffers(size)) as shared:
        yield from _until_enough(
            size,
            count,
            rng,
            clue_counts,
            min_difficulty,
            chunk,
            out,
            lambda seeds, clues: shared.run(len(seeds), partial(make, seeds, clues), smallest),
        )


def _until_enough(
    size: int,
    count: int,
    rng: np.random.Generator,
    clue_counts: list[int],
    min_difficulty: int,
    chunk: int,
    out: Batch,
    make: Callable[[NDArray[np.uint64], NDArray[np.int64]], None],
) -> Iterator[tuple[Cells, Cells]]:
    patience = PATIENCE_WHEN_HARD if min_difficulty else PATIENCE if size <= 9 else PATIENCE_WHEN_LARGE
    shares = [_Share(clues, 0) for clues in clue_counts]
    _spread(shares, count)
    seen: set[bytes] = set()
    cells = size * size
    puzzles, solutions = (np.empty((min(chunk, count), cells), np.uint8) for _ in range(2))
    filled = 0
    while len(seen) < count:
        # With several shares, the plan of a batch depends on the batch before it. Hard puzzles take long enough anyway.
        ahead = 1 if len(shares) > 1 or min_difficulty else max(1, min(_AHEAD, shares[0].missing // BATCH))
        plan = _plan(shares) * ahead
        seeds = rng.integers(0, 2**64, ahead * BATCH, dtype=np.uint64)
        clues = np.array([share.clues for share in plan], np.int64)
        make(seeds, clues)
        # Whole batches are copied and turned into bytes: this part runs on one processor while the others wait.
        succeeded, content = out.made[: len(plan)].tolist(), out.puzzles[: len(plan)].tobytes()
        new: list[int] = []
        for i, share in enumerate(plan):
            name = blake2b(content[i * cells : (i + 1) * cells], digest_size=12).digest()
            if not succeeded[i] or name in seen or not share.missing:
                share.attempts_since += 1
                continue
            seen.add(name)
            share.made += 1
            share.attempts_since = 0
            new.append(i)
            if filled + len(new) == len(puzzles) or len(seen) == count:
                puzzles[filled : filled + len(new)] = out.puzzles[new]
                solutions[filled : filled + len(new)] = out.solutions[new]
                filled += len(new)
                yield puzzles[:filled].copy(), solutions[:filled].copy()
                filled, new = 0, []
            if len(seen) == count:
                return
        puzzles[filled : filled + len(new)] = out.puzzles[new]
        solutions[filled : filled + len(new)] = out.solutions[new]
        filled += len(new)
        alive = [share for share in shares if not share.missing or share.attempts_since < patience]
        if len(alive) < len(shares):
            if not alive:
                if filled:
                    yield puzzles[:filled].copy(), solutions[:filled].copy()
                raise _exhausted(size, count, len(seen), clue_counts, min_difficulty)
            shares = alive
            _spread(shares, count - len(seen) + sum(share.made for share in shares))


def _spread(shares: list[_Share], total: int) -> None:
    """Distributes a total evenly over the shares; the first ones get the remainder."""
    for i, share in enumerate(shares):
        share.wanted = total // len(shares) + (i < total % len(shares))


def _plan(shares: list[_Share]) -> list[_Share]:
    """Assigns each attempt of a batch to a share, in proportion to the puzzles that the share still misses."""
    missing = np.array([max(share.missing, 0) for share in shares], dtype=np.float64)
    # Round the cumulative proportions, so that the attempts add up to a full batch.
    edges = np.cumsum(missing) / missing.sum() * BATCH
    return [shares[k] for k in np.searchsorted(edges, np.arange(BATCH) + 0.5).tolist()]


def _exhausted(size: int, count: int, found: int, clue_counts: list[int], min_difficulty: int) -> PuzzleError:
    kind = "minimal puzzles"
    if clue_counts != [0]:
        low, high = clue_counts[0], clue_counts[-1]
        kind = f"puzzles of {low if low == high else f'{low}-{high}'} clues"
    if min_difficulty:
        kind += f" of difficulty {min_difficulty} or more"
    return PuzzleError(
        f"{count:,} different {size}×{size} {kind} were requested and {found:,} found; further attempts gave none. "
        "Ask for fewer, another number of clues, or a lower difficulty."
    )
