"""The result of solving a puzzle: the answer, its verification, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.domain import Domain, Grid, Puzzle, Unreadable

if TYPE_CHECKING:
    from hrm_cli.evaluation.search import SearchNode

Status = Literal["solved", "answered", "unsolved", "invalid", "multiple"]


@dataclass(frozen=True)
class CellChances:
    """The most probable tokens of each cell after a step, most probable first."""

    tokens: NDArray[np.integer[Any]]
    """`[S, K]`"""
    probabilities: NDArray[np.floating[Any]]
    """`[S, K]`"""


@dataclass(frozen=True)
class TraceStep:
    """The model's answer after one reasoning step."""

    step: int
    """Counted from 1."""
    grid: Grid
    q_halt: float
    """Halt value (logit); its sigmoid is the model's estimate that the answer is correct."""
    chances: CellChances | None = None
    """The model's probabilities, if they were traced."""


@dataclass(frozen=True)
class Solution:
    """The result for one puzzle of a file."""

    index: int
    """Position among the puzzles of the file, counted from 1."""
    where: str
    """File and line of the puzzle: `file.txt:3`."""
    status: Status
    """solved: the answer obeys the rules. answered: there are no rules to check it (own puzzles). unsolved: the answer
    breaks a rule. multiple: the puzzle has more than one solution, whatever the answer. invalid: not solvable."""
    reason: str = ""
    """The first violated rule, or what is wrong with the puzzle; when solved, a remark on the answer (mazes: whether
    its path is the shortest), usually empty."""
    puzzle: Puzzle | None = None
    """None if this piece of the file is not a puzzle."""
    answer: Grid | None = None
    verified: bool = False
    """Whether the answer obeys the rules."""
    steps: int = 0
    """Reasoning steps of the attempt that gave the answer."""
    attempts: int = 0
    """Number of augmented copies tried, including the puzzle itself; 1 if its first answer was correct."""
    seconds: float = 0.0
    """Time from the start of its batch until this puzzle was finished."""
    truth: Grid | None = None
    """The unique solution, if there is exactly one and it is known."""
    trace: tuple[TraceStep, ...] = ()
    """The steps of the attempt that gave the answer, if requested."""
    tree: tuple[SearchNode, ...] = ()
    """The nodes of the search, if there was one and the trace was requested."""
    attempt: int = 0
    """Number of the attempt that gave the answer; 1 is the puzzle itself."""
    one_pass: bool = False
    """Whether the first answer to the original puzzle was verified."""
    how: str = "pass"
    """The stage that gave the answer: the first pass, copies, search or restarts; votes for ARC tasks."""
    select: str | None = None
    """What chose among several attempts: verify, or another selector of `--select`; None if there was one attempt."""
    agreeing: int | None = None
    """Number of attempts that gave this answer, if a selector other than verify chose among all of them."""
    nodes: int = 0
    """Number of search nodes evaluated."""
    total_steps: int = 0
    """Total reasoning steps of all attempts."""
    step_flops: Callable[[], int] | None = field(default=None, repr=False, compare=False)
    """Counts the FLOPs of one step, when they are asked for; None if the model is unknown."""
    halt_name: str = "halt probability"
    """What σ of the halt values in `trace` is for this model (`ArchConfig.halt_name`)."""
    demonstrations: tuple[tuple[Grid, Grid], ...] = ()
    """ARC: the demonstration inputs with their outputs."""
    second: Grid | None = None
    """ARC: the second of the two answers that count."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Additional entries of the JSON record, such as the votes of an ARC task."""

    @property
    def flops(self) -> int | None:
        """FLOPs of all steps; None if the model is unknown."""
        return None if self.step_flops is None else self.step_flops() * self.total_steps

    def written(self, domain: Domain, grid: Grid) -> str:
        """A grid as text, in the characters of the puzzle's source."""
        return domain.text(grid).translate({} if self.puzzle is None else self.puzzle.characters)

    def document(self, domain: Domain, *, with_trace: bool = False) -> dict[str, Any]:
        """The JSON record."""
        record: dict[str, Any] = {
            "index": self.index,
            "where": self.where,
            "domain": domain.name,
            "status": self.status,
            "answer": None if self.answer is None else self.written(domain, self.answer),
            "verified": self.verified,
            "reason": self.reason,
            "steps": self.steps,
            "attempts": self.attempts,
            "attempt": self.attempt,
            "one_pass": self.one_pass,
            "how": self.how,
            "select": self.select,
            "agreeing": self.agreeing,
            "nodes": self.nodes,
            "total_steps": self.total_steps,
            "flops": self.flops,
            "seconds": round(self.seconds, 6),
            **self.details,
        }
        if with_trace:
            record["trace"] = [
                # JSON has no NaN, so a diverged model gives null.
                {
                    "step": step.step,
                    "grid": self.written(domain, step.grid),
                    "q_halt": step.q_halt if math.isfinite(step.q_halt) else None,
                }
                for step in self.trace
            ]
        return record


def unreadable(index: int, item: Unreadable, seconds: float = 0.0) -> Solution:
    """The record for a piece of a file that is not a puzzle."""
    reason = f"{item.where}: {item.reason}" if item.where else item.reason
    return Solution(index, item.where, "invalid", reason, seconds=seconds)


@dataclass
class Tally:
    """Counts puzzles by status."""

    statuses: dict[Status, int] = field(
        default_factory=lambda: {"solved": 0, "answered": 0, "unsolved": 0, "multiple": 0, "invalid": 0}
    )
    solved_by: dict[str, int] = field(default_factory=dict)
    """Number of solved puzzles by the stage that gave the answer (`Solution.how`)."""
    used_effort: bool = False
    """Whether any puzzle needed more than one pass."""
    unreadable: int = 0
    """Number of invalid items that are not puzzles."""
    first_unreadable: Solution | None = None

    @property
    def total(self) -> int:
        """Number of puzzles so far."""
        return sum(self.statuses.values())

    def add(self, solution: Solution) -> None:
        """Counts one solution."""
        self.statuses[solution.status] += 1
        # Votes do not count as further effort, because all copies of an ARC task always answer.
        is_further = solution.how != "votes" and solution.attempt > 0 and solution.attempts > 1
        self.used_effort |= is_further or solution.nodes > 0
        if solution.status == "solved":
            self.solved_by[solution.how] = self.solved_by.get(solution.how, 0) + 1
        if solution.puzzle is None:
            self.unreadable += 1
            self.first_unreadable = self.first_unreadable or solution
