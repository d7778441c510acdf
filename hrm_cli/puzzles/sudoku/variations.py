"""Makes new Sudoku puzzles close to given puzzles and about as hard. A few very hard puzzles thus yield many.

A necessary clue is removed, so the puzzle has many solutions. Then clues of one of these solutions are added until
only that solution is left. The published lists of hardest puzzles grew in this way ("vicinity search"). The generator,
which starts from random grids, is five times slower for puzzles of 25 branches or more
(benchmarks/results/sudoku_generator.txt).

Letters in shapes: m given puzzles, n attempts, S cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.sharing import SharedAttempts

if TYPE_CHECKING:
    from hrm_cli.puzzles.sudoku.generator_kernels import Buffers
    from hrm_cli.puzzles.sudoku.variation_kernels import Listing, Parents, Variations

    AllBuffers = tuple[Buffers, Listing]

Cells = NDArray[np.uint8]

BATCH = 64
"""Attempts per batch. After each batch the remaining count is checked; results depend on this number."""

PATIENCE = 200
"""Consecutive batches without a new puzzle after which the search stops."""

MOST_WALKED = 50_000
"""Largest number of variations kept for further variation; bounds the memory."""


def vary(
    size: int,
    puzzles: Cells,
    solutions: Cells,
    count: int,
    rng: np.random.Generator,
    *,
    min_difficulty: int = 0,
    allowed: Callable[[Cells], NDArray[np.bool_]] | None = None,
    threads: int = 1,
    chunk: int = 1000,
) -> Iterator[tuple[Cells, Cells]]:
    """Makes `count` different N×N variations of puzzles `[m, S]`; yields pairs (puzzles, solutions) `[n ≤ chunk, S]`.

    Each variation has one solution and differs from all given puzzles. It has at least `min_difficulty` branches, and
    at least half the branches of the given puzzle from which it descends. It is minimal if that puzzle is; otherwise it
    has the same number of clues. All given puzzles are varied equally often. Half of the time, a variation is varied
    further. `allowed` returns which of puzzles `[n, S]` may be used. The result does not depend on `threads` or
    `chunk`.

    Raises PuzzleError after the last pair if fewer than `count` puzzles were found.
    """
    from hrm_cli.puzzles.sudoku import generator_kernels as sudoku_kernels
    from hrm_cli.puzzles.sudoku import variation_kernels as sudoku_variation_kernels

    def make_buffers() -> AllBuffers:
        return sudoku_kernels.make_buffers(size), sudoku_variation_kernels.listing(size)

    walk = _Walk(size, puzzles, solutions, rng)
    made = sudoku_variation_kernels.variations(size, BATCH)
    seen = {_name(row) for row in puzzles}
    given = len(seen)
    ready: list[tuple[Cells, Cells]] = []
    fruitless = 0
    with SharedAttempts(threads, make_buffers) as shared:
        while len(seen) - given < count and fruitless < PATIENCE:
            fruitless += 1
            parents, required = walk.batch()
            _vary_batch(shared, parents, rng.integers(0, 2**64, BATCH, dtype=np.uint64), made)
            # Attempts without a result have -1 branches.
            least = np.maximum(required, min_difficulty)[:, None]
            attempt, which = np.nonzero(made.branches >= least)
            new, answers = made.puzzles[attempt, which], made.solutions[attempt, which]
            usable = np.ones(len(new), bool) if allowed is None or not len(new) else allowed(new)
            for i in np.flatnonzero(usable):
                name = _name(new[i])
                if name in seen or len(seen) - given == count:
                    continue
                seen.add(name)
                fruitless = 0
                walk.add(int(attempt[i]), new[i], answers[i])
                ready.append((new[i], answers[i]))
                if len(ready) == chunk:
                    yield _stacked(ready)
                    ready = []
    if ready:
        yield _stacked(ready)
    if len(seen) - given < count:
        raise PuzzleError(
            f"{count:,} variations of {len(puzzles):,} {size}×{size} puzzles were requested and "
            f"{len(seen) - given:,} found; further attempts gave none. Ask for fewer, give more puzzles, or ask for a "
            "lower difficulty."
        )


def _vary_batch(
    shared: SharedAttempts[AllBuffers], parents: Parents, seeds: NDArray[np.uint64], made: Variations
) -> None:
    """One attempt per parent and seed, `[BATCH]`, written to the arrays of `made`."""
    from hrm_cli.puzzles.sudoku import variation_kernels as kernels

    def work(rows: slice, buffers: AllBuffers) -> None:
        some = kernels.Parents(parents.puzzles[rows], parents.solutions[rows], parents.is_minimal[rows])
        into = kernels.Variations(made.puzzles[rows], made.solutions[rows], made.branches[rows])
        kernels.vary_all(some, seeds[rows], *buffers, into)

    shared.run(len(seeds), work)


class _Walk:
    """Chooses the puzzles to vary next: the given puzzles in turn, and variations of them."""

    def __init__(self, size: int, puzzles: Cells, solutions: Cells, rng: np.random.Generator) -> None:
        from hrm_cli.puzzles.sudoku import generator_kernels as sudoku_kernels
        from hrm_cli.puzzles.sudoku import variation_kernels as sudoku_variation_kernels
        from hrm_cli.puzzles.sudoku.solver import search

        self._rng = rng
        self._given = (np.ascontiguousarray(puzzles), np.ascontiguousarray(solutions))
        self._is_minimal = np.empty(len(puzzles), bool)
        buffers = sudoku_kernels.make_buffers(size)
        sudoku_variation_kernels.find_minimal(*self._given, buffers, self._is_minimal)
        # At least half as hard: the branch count of one puzzle varies that much when its digits are renamed.
        self._required = (search(self._given[0], size).branches + 1) // 2
        self._order = rng.permutation(len(puzzles))
        self._next = 0
        self._further: list[tuple[Cells, Cells, int]] = []
        self._roots = np.empty(0, np.int64)

    def batch(self) -> tuple[Parents, NDArray[np.int64]]:
        """The next puzzles to vary, and the branches that a variation of each must have at least, `[BATCH]`."""
        from hrm_cli.puzzles.sudoku.variation_kernels import Parents

        further = self._rng.integers(0, len(self._further), BATCH // 2).tolist() if self._further else []
        count = BATCH - len(further)
        places = np.arange(self._next, self._next + count) % len(self._order)
        self._next = (self._next + count) % len(self._order)
        self._roots = self._order[places]
        puzzles, solutions = (array[self._roots] for array in self._given)
        chosen = [self._further[i] for i in further]
        if chosen:
            puzzles = np.concatenate([puzzles, [puzzle for puzzle, _, _ in chosen]])
            solutions = np.concatenate([solutions, [solution for _, solution, _ in chosen]])
            self._roots = np.concatenate([self._roots, [root for _, _, root in chosen]])
        return Parents(puzzles, solutions, self._is_minimal[self._roots]), self._required[self._roots]

    def add(self, attempt: int, puzzle: Cells, solution: Cells) -> None:
        """Adds a variation made by an attempt of the last batch."""
        entry = (puzzle, solution, int(self._roots[attempt]))
        if len(self._further) < MOST_WALKED:
            self._further.append(entry)
        else:
            self._further[int(self._rng.integers(0, MOST_WALKED))] = entry


def _name(row: Cells) -> bytes:
    return blake2b(row.tobytes(), digest_size=12).digest()


def _stacked(pairs: list[tuple[Cells, Cells]]) -> tuple[Cells, Cells]:
    return np.stack([puzzle for puzzle, _ in pairs]), np.stack([solution for _, solution in pairs])
