"""Checks of Sudoku puzzles in bulk: one solution each, answers by the rules, difficulty.

Letters in shapes: n puzzles, S cells of a puzzle.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import DatasetError
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.sudoku import SudokuDomain
from hrm_cli.puzzles.sudoku_solver import Search, search

Cells = NDArray[np.uint8]
"""Sudoku cells `[n, S]`, 0 for blank."""

_SHOWN = 5
_PIECE = 256
"""Puzzles searched by one thread at a time: hard ones differ a thousandfold in the time they take."""


@dataclass
class Problems:
    """The lines of a source that hold no usable puzzle."""

    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, reason: str) -> None:
        """Notes one line; only the first few are kept."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(f"  {where}: {reason}")

    def raise_any(self, source: str) -> None:
        """Raises DatasetError naming the first lines, if there are any."""
        if not self.count:
            return
        more = f"\n  and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        lines = "\n".join(self.first)
        raise DatasetError(
            f"{source}: not usable as puzzles with one solution:\n{lines}{more}\nMend or remove these lines."
        )


@dataclass(frozen=True)
class Checked:
    """Puzzles that passed, with their answers."""

    puzzles: Cells
    answers: Cells
    several: int
    """Puzzles left out because they have several solutions."""
    too_easy: int
    """Puzzles left out because they are below the wanted difficulty."""


def solutions(puzzles: Cells, size: int) -> Search:
    """Up to two solutions of each puzzle `[n, S]`, on all processors."""
    pieces = [puzzles[start : start + _PIECE] for start in range(0, len(puzzles), _PIECE)]
    if len(pieces) < 2:
        return search(puzzles, size)
    with ThreadPoolExecutor(processors()) as threads:
        found = list(threads.map(lambda piece: search(piece, size), pieces))
    return Search(
        np.concatenate([part.counts for part in found]),
        np.concatenate([part.branches for part in found]),
        np.concatenate([part.solutions for part in found]),
    )


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check(
    puzzles: Sequence[Puzzle], domain: SudokuDomain, min_difficulty: int, problems: Problems
) -> Checked:
    """Answers verified or found; what cannot be used goes into `problems`.

    A given answer is verified by the rules; that there is no other is checked later, of the puzzles that are
    drawn. Difficulty is the source's own rating or, without one, the solver's branches.
    """
    size = domain.size
    cells = np.stack([puzzle.grid.reshape(-1) for puzzle in puzzles]).astype(np.uint8)
    has_answer = np.array([puzzle.solution is not None for puzzle in puzzles])
    answers = np.zeros_like(cells)
    for row, puzzle in enumerate(puzzles):
        if puzzle.solution is not None:
            answers[row] = puzzle.solution.reshape(-1)
    ratings = np.array([np.nan if puzzle.rating is None else puzzle.rating for puzzle in puzzles])

    searched = ~has_answer | (np.isnan(ratings) & (min_difficulty > 0))
    rows = np.flatnonzero(searched)
    found = solutions(cells[rows], size)
    count = np.ones(len(cells), dtype=np.int32)
    count[rows] = found.counts
    ratings[rows] = np.where(np.isnan(ratings[rows]), found.branches, ratings[rows])
    unanswered = np.flatnonzero(~has_answer)
    answers[unanswered] = found.solutions[np.searchsorted(rows, unanswered), 0]

    wrong = count == 0
    given = np.flatnonzero(has_answer)
    legal = (answers[given] != 0).all(axis=1) & (solutions(answers[given], size).counts == 1)
    agrees = ((cells[given] == 0) | (cells[given] == answers[given])).all(axis=1)
    wrong[given] |= ~(legal & agrees)
    for puzzle, is_wrong in zip(puzzles, wrong, strict=True):
        if is_wrong:
            problems.add(puzzle.where, _reason(domain, puzzle))
    several = count > 1
    easy = ~np.isnan(ratings) & (ratings < min_difficulty)
    usable = ~(wrong | several | easy)
    return Checked(cells[usable], answers[usable], int(several.sum()), int((easy & ~several & ~wrong).sum()))


def _reason(domain: SudokuDomain, puzzle: Puzzle) -> str:
    if puzzle.solution is None:
        return f"no solution ({domain.diagnose(puzzle.grid).reason})"
    return f"the answer given is wrong ({domain.verify(puzzle.grid, puzzle.solution).reason})"
