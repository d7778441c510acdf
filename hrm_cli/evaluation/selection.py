"""Selects one of several answers to a puzzle: by the rules, by the model's confidence, or by agreement.

ARC's voting ranks the answers to a test input by the same tallies (`hrm_cli.evaluation.arc_voting`).

Letters in shapes: S tokens of a puzzle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.domain import Tokens

Select = Literal["verify", "confidence", "q_halt", "residual", "agreement"]


@dataclass(frozen=True)
class Candidate:
    """The final answer of one attempt, and the features used for selection."""

    tokens: Tokens
    """The answer mapped back to the original puzzle, `[S]`."""
    violations: int | None
    """Rule violations as counted by `BulkDomain.violations`, 0 if verified; None if the domain has no rules."""
    q_halt: float
    """Halt value (logit)."""
    confidence: float
    """Mean log-probability of its tokens; 0 at best."""
    residual: float
    """How much the last step changed the slow state: ‖after − before‖ ÷ ‖after‖."""
    steps: int
    """ACT steps after which the attempt finished."""
    attempt: int
    """Number of the attempt; 1 is the puzzle itself."""


_ONE = 2**60
"""Fixed-point scale: probabilities are summed as integers, so the sum does not depend on the order."""

Scores = Mapping[Select, tuple[float, ...]]
"""The score that a vote has for each selector except agreement; the highest is best."""


@dataclass
class Tally:
    """The votes for one answer."""

    votes: int = 0
    probability: int = 0
    """Sum of the voters' probabilities, in parts of `_ONE`."""
    first: int = 2**62
    """Index of the first vote among all votes."""
    best: dict[Select, tuple[tuple[float, ...], int]] = field(default_factory=dict)
    """For each selector the highest score of a vote, and the index of the first vote that has it."""

    def vote(self, probability: float, place: int, scores: Scores | None = None) -> None:
        """Adds one vote with the probability, 0..1, that the voter assigns to the answer."""
        best = {select: (score, place) for select, score in (scores or {}).items()}
        self.add(1, round(probability * _ONE), place, best)

    def add(
        self,
        votes: int,
        probability: int,
        first: int,
        best: Mapping[Select, tuple[tuple[float, ...], int]] | None = None,
    ) -> None:
        """Adds another tally of the same answer."""
        self.votes += votes
        self.probability += probability
        self.first = min(self.first, first)
        for select, (score, place) in (best or {}).items():
            known = self.best.get(select)
            if known is None or (score, -place) > (known[0], -known[1]):
                self.best[select] = score, place

    @property
    def confidence(self) -> float:
        """Mean probability of the voters."""
        return self.probability / (self.votes * _ONE)


def ranked(tallies: Mapping[bytes, Tally], select: Select = "agreement") -> list[tuple[bytes, Tally]]:
    """Answers best first, by a selector.

    Agreement: by votes, then by mean probability, then by the first vote. The others: by the highest score of a vote,
    then by the first vote that has it.
    """
    if select == "agreement":
        return sorted(tallies.items(), key=lambda item: (-item[1].votes, -item[1].confidence, item[1].first))

    def key(item: tuple[bytes, Tally]) -> tuple[tuple[float, ...], int]:
        score, place = item[1].best[select]
        return tuple(-value for value in score), place

    return sorted(tallies.items(), key=key)


def scores_of(
    violations: int | None, q_halt: float, confidence: float | None, residual: float | None
) -> dict[Select, tuple[float, ...]]:
    """The scores of an answer by selector: fewest violations, then the greatest halt value; greatest confidence;
    greatest halt value; smallest residual. None: unknown."""
    scores: dict[Select, tuple[float, ...]] = {"q_halt": (_number(q_halt),)}
    if violations is not None:
        scores["verify"] = (-float(violations), _number(q_halt))
    if confidence is not None:
        scores["confidence"] = (_number(confidence),)
    if residual is not None:
        scores["residual"] = (_number(-residual),)
    return scores


def choose(candidates: Sequence[Candidate], select: Select) -> int:
    """The index of the candidate that a selector chooses.

    `verify`: the answer with the fewest rule violations, ties by the greatest halt value. `confidence`: the highest
    mean log-probability. `q_halt`: the greatest halt value. `residual`: the smallest change in the last step, which
    says something only of models trained with random initial states. `agreement`: the answer that most attempts gave,
    ties by mean probability; of its attempts the most confident one.
    """
    if select == "verify" and any(candidate.violations is None for candidate in candidates):
        raise ValueError("answers without rules cannot be verified")
    tallies: dict[bytes, Tally] = {}
    for place, one in enumerate(candidates):
        scores = scores_of(one.violations, one.q_halt, one.confidence, one.residual)
        probability = math.exp(_number(one.confidence))
        tallies.setdefault(one.tokens.tobytes(), Tally()).vote(probability, place, scores)
    winner = ranked(tallies, select)[0][1]
    return winner.best["confidence" if select == "agreement" else select][1]


def agreeing(candidates: Sequence[Candidate], chosen: int) -> int:
    """The number of candidates with the same answer as `chosen`, itself included."""
    return sum(np.array_equal(one.tokens, candidates[chosen].tokens) for one in candidates)


SELECTORS: tuple[Select, ...] = ("verify", "confidence", "q_halt", "residual", "agreement")


def default_select(*, has_rules: bool) -> Select:
    """Verification if rules exist, otherwise agreement, which breaks ties by confidence."""
    return "verify" if has_rules else "agreement"


def check_selection(
    select: str | None, attempts: int | None, restarts: int | None, *, has_others: bool
) -> None:
    """Raises ConfigError unless there is exactly one kind of attempts to select from.

    `has_others`: whether an effort level or a search is requested too.
    """
    if select is None:
        return
    if has_others:
        raise ConfigError("--select: chooses among --restarts or --attempts; omit --effort and --search")
    copies, starts = attempts or 1, restarts or 0
    if (copies > 1) == (starts > 0):
        raise ConfigError("--select: needs attempts to choose among: add either --restarts K or --attempts K")


def _number(value: float) -> float:
    # A diverged model gives NaN, which cannot be compared.
    return -math.inf if math.isnan(value) else value
