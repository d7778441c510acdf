"""Selects one of several answers to a puzzle: by the rules, by the model's confidence, or by agreement.

ARC's voting ranks the answers to a test input by the same tallies (`hrm_cli.evaluation.arc_voting`).

Letters in shapes: S tokens of a puzzle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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


@dataclass
class Tally:
    """The votes for one answer."""

    votes: int = 0
    probability: int = 0
    """Sum of the voters' probabilities, in parts of `_ONE`."""
    first: int = 2**62
    """Index of the first vote among all votes."""

    def vote(self, probability: float, place: int) -> None:
        """Adds one vote with the probability, 0..1, that the voter assigns to the answer."""
        self.add(1, round(probability * _ONE), place)

    def add(self, votes: int, probability: int, first: int) -> None:
        """Adds another tally of the same answer."""
        self.votes += votes
        self.probability += probability
        self.first = min(self.first, first)

    @property
    def confidence(self) -> float:
        """Mean probability of the voters."""
        return self.probability / (self.votes * _ONE)


def ranked(tallies: Mapping[bytes, Tally]) -> list[tuple[bytes, Tally]]:
    """Answers best first: by votes, then by mean probability, then by the first vote."""
    return sorted(tallies.items(), key=lambda item: (-item[1].votes, -item[1].confidence, item[1].first))


def by_rules(candidates: Sequence[Candidate]) -> int:
    """The answer with the fewest violations (0 if verified); ties: the greatest halt value."""
    if any(candidate.violations is None for candidate in candidates):
        raise ValueError("answers without rules cannot be verified")
    return _best([(-_number(float(one.violations or 0)), _number(one.q_halt)) for one in candidates])


def by_confidence(candidates: Sequence[Candidate]) -> int:
    """The answer with the highest mean log-probability."""
    return _best([(_number(one.confidence),) for one in candidates])


def by_q_halt(candidates: Sequence[Candidate]) -> int:
    """The answer with the greatest halt value."""
    return _best([(_number(one.q_halt),) for one in candidates])


def by_residual(candidates: Sequence[Candidate]) -> int:
    """The answer with the smallest state residual. Valid only for models trained with random initial states."""
    return _best([(_number(-one.residual),) for one in candidates])


def by_agreement(candidates: Sequence[Candidate]) -> int:
    """The answer that most attempts gave; ties: the one with the most confident attempt."""
    tallies: dict[bytes, Tally] = {}
    for place, one in enumerate(candidates):
        confidence = _number(one.confidence)
        tallies.setdefault(one.tokens.tobytes(), Tally()).vote(math.exp(confidence), place)
    winner = np.frombuffer(ranked(tallies)[0][0], np.uint8)
    chosen = [index for index, one in enumerate(candidates) if np.array_equal(one.tokens, winner)]
    return chosen[_best([(_number(candidates[index].confidence),) for index in chosen])]


SELECTORS: Mapping[Select, Callable[[Sequence[Candidate]], int]] = {
    "verify": by_rules,
    "confidence": by_confidence,
    "q_halt": by_q_halt,
    "residual": by_residual,
    "agreement": by_agreement,
}
"""Each selector returns the index of the chosen candidate; the first on ties."""


def default_select(*, has_rules: bool) -> Select:
    """Verification if rules exist, otherwise agreement, which breaks ties by confidence."""
    return "verify" if has_rules else "agreement"


def _best(keys: Sequence[tuple[float, ...]]) -> int:
    return max(range(len(keys)), key=lambda index: (keys[index], -index))


def _number(value: float) -> float:
    # A diverged model gives NaN, which cannot be compared.
    return -math.inf if math.isnan(value) else value
