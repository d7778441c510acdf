"""What each selector takes of several answers, and what it does with equal ones and with NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hrm_cli.evaluation.selection import SELECTORS, Candidate, Select, Tally, choose, default_select, ranked

NAN = math.nan


def candidate(answer: int, **facts: float | None) -> Candidate:
    known: dict[str, float | None] = {"violations": 3, "q_halt": 0.0, "confidence": -1.0, "residual": 0.5}
    return Candidate(np.full(4, answer, np.uint8), steps=1, attempt=1, **{**known, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("select", "candidates", "expected"),
    [
        (
            "verify",
            [{"violations": 2}, {"violations": 0, "q_halt": -9.0}, {"violations": 1, "q_halt": 9.0}],
            1,
        ),
        ("verify", [{"violations": 2}, {"violations": 2, "q_halt": 1.0}], 1),
        ("q_halt", [{"q_halt": NAN}, {"q_halt": -3.0}, {"q_halt": 2.0}], 2),
        ("confidence", [{"confidence": -0.5}, {"confidence": -0.1}, {"confidence": NAN}], 1),
        ("residual", [{"residual": NAN}, {"residual": 0.2}, {"residual": 0.1}], 2),
        ("agreement", [{"confidence": NAN}, {"confidence": NAN}], 0),
    ],
)
def test_a_selector_takes_the_best_by_its_own_figure(
    select: Select, candidates: list[dict[str, float]], expected: int
) -> None:
    assert choose([candidate(n, **facts) for n, facts in enumerate(candidates)], select) == expected


@pytest.mark.parametrize("select", SELECTORS)
def test_the_first_of_equals_is_taken(select: Select) -> None:
    assert choose([candidate(7), candidate(7), candidate(7)], select) == 0


def test_agreement_takes_what_most_attempts_gave_and_of_these_the_most_confident() -> None:
    several = [
        candidate(1, confidence=-0.01),
        candidate(2, confidence=-2.0),
        candidate(2, confidence=-1.0),
    ]
    assert choose(several, "agreement") == 2


def test_agreement_breaks_ties_by_confidence() -> None:
    assert choose([candidate(1, confidence=-2.0), candidate(2, confidence=-1.0)], "agreement") == 1


def test_answers_without_rules_are_not_verified_but_may_agree() -> None:
    without = [candidate(1, violations=None), candidate(1, violations=None)]
    with pytest.raises(ValueError, match="without rules"):
        choose(without, "verify")
    assert choose(without, "agreement") == 0
    assert default_select(has_rules=False) == "agreement"
    assert default_select(has_rules=True) == "verify"


def test_tallies_rank_by_votes_then_probability_then_the_first_vote() -> None:
    tallies = {name: Tally() for name in (b"late", b"early", b"sure", b"many")}
    for name, probability, place in (
        (b"late", 0.5, 5),
        (b"early", 0.5, 1),
        (b"sure", 0.9, 9),
        (b"many", 0.1, 7),
        (b"many", 0.1, 8),
    ):
        tallies[name].vote(probability, place)
    assert [name for name, _ in ranked(tallies)] == [b"many", b"sure", b"early", b"late"]
