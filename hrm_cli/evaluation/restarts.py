"""Gathers the candidates of a puzzle for selection: the final answers of noisy starts or of augmented copies.

`hrm_cli.evaluation.attempts.try_copies` stops at the first verified answer. Here every attempt runs to its end, so that
a selector can choose among the answers and its accuracy can be measured.

Letters in shapes: n puzzles, b unfinished rows, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.evaluation.attempts import (
    Attempt,
    AttemptBudget,
    AttemptsStep,
    Copies,
    Reasoner,
    Watch,
    has_rules,
)
from hrm_cli.evaluation.effort import Effort, Outcome
from hrm_cli.evaluation.selection import SELECTORS, Candidate, Select, agreeing, choose
from hrm_cli.models.act import InferenceStep
from hrm_cli.models.inference import Opinions
from hrm_cli.puzzles.domain import BulkDomain, Domain, Tokens

"""Default standard deviation of the noise on initial states: equal to that of the states themselves."""


def gather_candidates(
    model: Reasoner,
    domain: Domain,
    puzzles: Tokens,
    budget: AttemptBudget,
    streams: Sequence[int],
    *,
    adaptive: bool = True,
    puzzle_identifiers: NDArray[np.int32] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[int, list[Candidate]]]:
    """Every attempt's last answer to each of `puzzles` `[n, S]` with its index, in the order of the attempts.

    With `adaptive` an attempt ends when the model halts it. A puzzle's attempts depend only on the seed and on its
    number in `streams`, not on the other puzzles. `watch` receives the answers after every step.
    """
    together = max(1, budget.batch_size // budget.count)
    for start in range(0, len(puzzles), together):
        rows = range(start, min(start + together, len(puzzles)))
        copies = Copies.of(domain, puzzles, rows, budget, streams)
        found: dict[int, list[Candidate]] = {row: [] for row in rows}
        back = copies.symmetries.inverse()
        for step in copies.begin(model, puzzles, budget, streams, puzzle_identifiers, adaptive=adaptive):
            ended = step.finished.cpu().numpy()
            wanted = ended if watch is None else np.ones_like(ended)
            if not wanted.any():
                continue
            given = AttemptsStep.of(step, np.flatnonzero(wanted), copies, back, puzzles.dtype)
            if watch is not None:
                watch(given)
            if not ended.any():
                continue
            of_ended = ended[wanted]
            answers, owners = given.answers[of_ended], given.puzzles[of_ended]
            attempts = given.attempts[of_ended].tolist()
            violations = (
                cast(BulkDomain, domain).violations(puzzles[owners], answers).tolist()
                if has_rules(domain)
                else [None] * len(owners)
            )
            q_halt, confidence, residual = opinions_of(step, ended)
            for place, owner in enumerate(owners.tolist()):
                candidate = Candidate(
                    tokens=answers[place],
                    violations=violations[place],
                    q_halt=q_halt[place],
                    confidence=confidence[place],
                    residual=residual[place],
                    steps=step.step,
                    attempt=attempts[place],
                )
                found[owner].append(candidate)
        for row in rows:
            yield row, sorted(found[row], key=lambda one: one.attempt)


def opinions_of(
    step: InferenceStep, ended: NDArray[np.bool_]
) -> tuple[list[float], list[float], list[float]]:
    """Halt value, confidence and residual of each row that ended."""
    rows = torch.from_numpy(np.flatnonzero(ended)).to(step.rows.device)
    assert step.logits is not None
    assert step.carry is not None
    assert step.before is not None
    found = Opinions.of(step.logits, step.before, step.carry, rows)
    return step.q_halt[rows].tolist(), found.confidence.tolist(), found.residual.tolist()


def select_among_all(
    model: Reasoner,
    domain: Domain,
    puzzles: Tokens,
    effort: Effort,
    streams: Sequence[int],
    *,
    adaptive: bool = True,
    watch: Watch | None = None,
) -> Iterator[tuple[int, Attempt, Outcome]]:
    """Makes all copies or restarts of `effort` at each of `puzzles` `[n, S]`, and lets its selector choose.

    Yields the index, the answer of the first attempt, which is the puzzle itself without noise, and the chosen answer.
    Without rules an answer has no violations.
    """
    how = effort.attempts_by
    gathered = gather_candidates(
        model, domain, puzzles, effort.tries(how), streams, adaptive=adaptive, watch=watch
    )
    for index, candidates in gathered:
        place = choose(candidates, effort.select)
        first, best = _as_try(candidates[0]), _as_try(candidates[place])
        work = sum(one.steps for one in candidates) - first.steps
        yield index, first, Outcome(
            best.tokens, best.violations, how, best.steps, best.q_halt, best.attempt, len(candidates),
            work=work, agreeing=agreeing(candidates, place),
        )  # fmt: skip


def _as_try(one: Candidate) -> Attempt:
    return Attempt(one.tokens, one.violations or 0, one.q_halt, one.steps, one.attempt)


@dataclass
class SelectorFigures:
    """The accuracy of selectors on puzzles with a known answer."""

    puzzles: int = 0
    among: int = 0
    """Number of puzzles with the correct answer among their candidates."""
    chosen: dict[Select, int] = field(default_factory=dict)
    """Number of these for which each selector chose the correct answer."""

    @classmethod
    def of(cls, gathered: Iterable[tuple[int, Sequence[Candidate]]], labels: Tokens) -> SelectorFigures:
        """Compares the choices of all selectors with the correct answers `[n, S]`; uses rules where they exist."""
        figures = cls()
        for index, candidates in gathered:
            figures.add(candidates, [bool((one.tokens == labels[index]).all()) for one in candidates])
        return figures

    def add(self, candidates: Sequence[Candidate], right: Sequence[bool]) -> None:
        """Counts the choices of all selectors for one puzzle, of whose candidates some are `right`."""
        self.puzzles += 1
        self.among += any(right)
        knows_rules = all(one.violations is not None for one in candidates)
        for select in SELECTORS:
            if knows_rules or select != "verify":
                self.chosen[select] = self.chosen.get(select, 0) + right[choose(candidates, select)]
