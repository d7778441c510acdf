"""The result of solving a puzzle: the answer, its verification, and how it was found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hrm_cli.puzzles.domain import Domain, Grid, Puzzle

Status = Literal["solved", "answered", "unsolved", "invalid", "multiple"]


@dataclass(frozen=True)
class TraceStep:
    """What the model would have answered after one reasoning step."""

    step: int
    """Counted from 1."""
    grid: Grid
    q_halt: float
    """Value of halting here; its sigmoid is the probability that the answer is right, as the model sees it."""


@dataclass(frozen=True)
class Solution:
    """One puzzle of a file, dealt with."""

    index: int
    """Place among the puzzles of the file, counted from 1."""
    where: str
    """Where the puzzle is: `file.txt:3`."""
    status: Status
    """solved: the answer obeys the rules. answered: there are no rules to tell (own puzzles). unsolved: it
    does not. multiple: the puzzle has more than one solution, whatever the answer. invalid: there was nothing to
    solve."""
    reason: str = ""
    """The first violated rule, or what is wrong with the puzzle; when solved, what else the domain says of the answer
    (mazes: whether its path is the shortest), mostly nothing."""
    puzzle: Puzzle | None = None
    """None where the file holds no puzzle."""
    answer: Grid | None = None
    verified: bool = False
    """Whether the answer obeys the rules."""
    steps: int = 0
    """Reasoning steps of the try that gave the answer."""
    attempts: int = 0
    """Augmented copies of the puzzle that were tried, itself included: 1 where its first answer was right."""
    seconds: float = 0.0
    """Time from the start of its batch until this puzzle was dealt with."""
    truth: Grid | None = None
    """The only solution, where there is exactly one and it is known."""
    trace: tuple[TraceStep, ...] = ()
    """The steps of the try that gave the answer, if they were requested."""
    attempt: int = 0
    """Which of them gave the answer; 1 is the puzzle itself."""
    one_pass: bool = False
    """Whether the first answer to the puzzle as it is was verified."""
    how: str = "pass"
    """What gave the answer: the first pass, copies, search or restarts; for ARC tasks votes."""
    nodes: int = 0
    """Nodes of the search begun."""
    total_steps: int = 0
    """Reasoning steps of everything that was tried."""
    flops: int | None = None
    """What these take; None where the model is not known."""
    demonstrations: tuple[tuple[Grid, Grid], ...] = ()
    """Of an ARC task: its inputs with their outputs."""
    second: Grid | None = None
    """ARC: the second of the two answers that count."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else the JSON record says, such as an ARC task's votes."""

    def document(self, domain: Domain, *, with_trace: bool = False) -> dict[str, Any]:
        """The JSON record."""
        record: dict[str, Any] = {
            "index": self.index,
            "where": self.where,
            "domain": domain.name,
            "status": self.status,
            "answer": None if self.answer is None else domain.text(self.answer),
            "verified": self.verified,
            "reason": self.reason,
            "steps": self.steps,
            "attempts": self.attempts,
            "attempt": self.attempt,
            "one_pass": self.one_pass,
            "how": self.how,
            "nodes": self.nodes,
            "total_steps": self.total_steps,
            "flops": self.flops,
            "seconds": round(self.seconds, 6),
            **self.details,
        }
        if with_trace:
            record["trace"] = [
                # JSON has no NaN: a model that diverged says null.
                {
                    "step": step.step,
                    "grid": domain.text(step.grid),
                    "q_halt": step.q_halt if math.isfinite(step.q_halt) else None,
                }
                for step in self.trace
            ]
        return record


@dataclass
class Tally:
    """How many puzzles ended how."""

    statuses: dict[Status, int] = field(
        default_factory=lambda: {"solved": 0, "answered": 0, "unsolved": 0, "multiple": 0, "invalid": 0}
    )
    solved_by: dict[str, int] = field(default_factory=dict)
    """The solved, by what gave the answer: `Solution.how`."""
    tried_harder: bool = False
    """Whether more than one pass was made at any puzzle."""
    unreadable: int = 0
    """Those of the invalid that are not puzzles at all."""
    first_unreadable: Solution | None = None

    @property
    def total(self) -> int:
        """All puzzles so far."""
        return sum(self.statuses.values())

    def add(self, solution: Solution) -> None:
        """Counts one more."""
        self.statuses[solution.status] += 1
        # Votes are no further effort: all copies of an ARC task answer, whatever the first of them does.
        is_further = solution.how != "votes" and solution.attempt > 0 and solution.attempts > 1
        self.tried_harder |= is_further or solution.nodes > 0
        if solution.status == "solved":
            self.solved_by[solution.how] = self.solved_by.get(solution.how, 0) + 1
        if solution.puzzle is None:
            self.unreadable += 1
            self.first_unreadable = self.first_unreadable or solution
