"""Batched checks of puzzles: unique solution, correct answer, difficulty.

Letters in shapes: n puzzles, S cells of a puzzle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import DatasetError
from hrm_cli.machine import granted_cores
from hrm_cli.puzzles.domain import BulkDomain, Puzzle, Solved, Tokens
from hrm_cli.puzzles.sharing import Threads

_SHOWN = 5
_PIECE = 256
"""Puzzles per piece of work. Pieces are small because solving times of hard puzzles differ a thousandfold."""


@dataclass
class Problems:
    """Collects the lines of a source without a usable puzzle."""

    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, reason: str) -> None:
        """Adds one line; only the first few are kept."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(f"  {where}: {reason}")

    def raise_any(self, source: str) -> None:
        """Raises DatasetError, with the first lines, if there are any."""
        if not self.count:
            return
        more = f"\n  and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        lines = "\n".join(self.first)
        raise DatasetError(
            f"{source}: not usable as puzzles with one solution:\n{lines}{more}\nFix or remove these lines."
        )


@dataclass(frozen=True)
class Checked:
    """Puzzles that passed, with their answers."""

    puzzles: Tokens
    answers: Tokens
    places: NDArray[np.int64]
    """Indices of these puzzles among the checked ones, `[n]`."""
    several: int
    """Number of puzzles left out because they have more than one solution."""
    too_easy: int
    """Number of puzzles left out because they are below the requested difficulty."""


def solutions(puzzles: Tokens, domain: BulkDomain) -> Solved:
    """The exact solver's result for each puzzle `[n, S]`, computed on all CPU cores."""
    pieces = [puzzles[start : start + _PIECE] for start in range(0, len(puzzles), _PIECE)]
    if len(pieces) < 2:
        return domain.solve_all(puzzles)
    with Threads(granted_cores()) as threads:
        found = list(threads.map(domain.solve_all, pieces))
    return Solved(
        np.concatenate([part.counts for part in found]),
        np.concatenate([part.difficulties for part in found]),
        np.concatenate([part.answers for part in found]),
    )


def check(
    puzzles: Sequence[Puzzle],
    domain: BulkDomain,
    problems: Problems,
    *,
    least_difficulty: int = 0,
    keep_several: bool = False,
) -> Checked:
    """Verifies given answers and computes missing ones. Adds unusable puzzles to `problems`.

    A puzzle without an answer for which the solver gave up is unusable; with one, it counts as having several.

    For domains with a slow solver, a given answer is only verified with the rules. Uniqueness is checked later, for
    sampled puzzles only. The difficulty is the source's rating or, without one, the solver's. With `keep_several`,
    puzzles with more than one solution are kept, with the given solution or one of the solver's.
    """
    tokens = domain.encode_all(np.stack([puzzle.grid.reshape(-1) for puzzle in puzzles]).astype(np.uint8))
    has_answer = np.array([puzzle.solution is not None for puzzle in puzzles])
    answers = np.zeros_like(tokens)
    given = np.flatnonzero(has_answer)
    if len(given):
        answers[given] = domain.encode_all(
            np.stack([p.solution.reshape(-1) for p in puzzles if p.solution is not None]).astype(np.uint8)
        )
    # The difficulty of a maze is the length of its shortest path. A rating from the source would mean something else.
    ratings = np.array(
        [np.nan if puzzle.rating is None or domain.solver_is_fast else puzzle.rating for puzzle in puzzles]
    )

    searched = ~has_answer | domain.solver_is_fast | (np.isnan(ratings) & (least_difficulty > 0))
    rows = np.flatnonzero(searched)
    found = solutions(tokens[rows], domain)
    count = np.ones(len(tokens), dtype=np.int32)
    count[rows] = found.counts
    ratings[rows] = np.where(np.isnan(ratings[rows]), found.difficulties, ratings[rows])
    unanswered = np.flatnonzero(~has_answer)
    answers[unanswered] = found.answers[np.searchsorted(rows, unanswered)]

    wrong = (count == 0) | ((count < 0) & ~has_answer)
    wrong[given] |= ~domain.verify_all(tokens[given], answers[given])
    for puzzle, is_wrong in zip(puzzles, wrong, strict=True):
        if is_wrong:
            problems.add(puzzle.where, _reason(domain, puzzle))
    several = ((count > 1) | (count < 0)) & (not keep_several)
    easy = ~np.isnan(ratings) & (ratings < least_difficulty)
    usable = ~(wrong | several | easy)
    places = np.flatnonzero(usable)
    return Checked(
        tokens[usable], answers[usable], places, int(several.sum()), int((easy & ~several & ~wrong).sum())
    )


def _reason(domain: BulkDomain, puzzle: Puzzle) -> str:
    if puzzle.solution is None:
        diagnosis = domain.diagnose(puzzle.grid)
        return diagnosis.reason if diagnosis.solutions is None else f"no solution ({diagnosis.reason})"
    verdict = domain.verify(puzzle.grid, puzzle.solution)
    return f"the given answer is wrong ({verdict.reason or verdict.note})"
