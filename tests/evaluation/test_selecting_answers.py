"""`hrm solve --select`, and copies, restarts and the user's check for own puzzles, which have no rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.effort import Effort, EffortRequest
from hrm_cli.evaluation.selection import check_selection
from hrm_cli.models.rng import NO_NOISE
from hrm_cli.puzzles.domain import Domain, make_domain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.own_code import OwnCheck
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.own_puzzles import CheckedGrids
from hrm_cli.solving.solution import Solution
from hrm_cli.solving.solver import solve_puzzles

from .scripted import scripted

SHAPES = {"input_rows": 1, "input_columns": 4, "output_rows": 1, "output_columns": 4}
LETTERS = GridsDomain(1, 4, tuple("abcd"), symmetries=("symbols",), **SHAPES)
GIVEN = "aabc"
"""Its model copies an input, and fails on this very row: copies are solved, the puzzle itself is not."""
EFFORT = Effort(attempt_steps=3, noise=NO_NOISE)


def copying(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
    is_itself = np.array_equal(tokens, LETTERS.encode(LETTERS.parse(GIVEN).grid))
    return (np.roll(tokens, 1) if is_itself else tokens), 1.0


def answered(domain: GridsDomain, effort: Effort, given: str = GIVEN, **options: Any) -> Solution:
    model = scripted(copying, domain.vocab_size, domain.seq_len)
    puzzle = replace(domain.parse(given), where="here")
    (solution,) = solve_puzzles(model, domain, [puzzle], max_steps=3, effort=effort, **options)
    return solution


def checked(function: Any) -> CheckedGrids:
    return CheckedGrids.of(LETTERS, OwnCheck("rules.py:f", function))


def test_copies_of_own_puzzles_agree_on_an_answer_that_the_first_pass_misses() -> None:
    assert LETTERS.text(answered(LETTERS, EFFORT).answer) == "caab"  # type: ignore[arg-type]
    found = answered(LETTERS, replace(EFFORT, copies=5, select="agreement"))
    assert found.answer is not None
    assert (LETTERS.text(found.answer), found.status, found.verified) == (GIVEN, "answered", False)
    assert (found.how, found.select, found.attempts, found.agreeing) == ("copies", "agreement", 5, 4)
    assert found.attempt > 1
    assert found.total_steps == 5
    record = found.document(LETTERS)
    assert (record["select"], record["agreeing"]) == ("agreement", 4)


def test_the_users_check_verifies_and_chooses_among_copies() -> None:
    domain = checked(lambda given, output: given == output)
    found = answered(domain, replace(EFFORT, copies=5))
    assert found.answer is not None
    assert (domain.text(found.answer), found.status, found.verified) == (GIVEN, "solved", True)
    assert (found.how, found.select, found.one_pass, found.reason) == ("copies", "verify", False, "")
    alone = answered(domain, replace(EFFORT, copies=5), "abcd")
    assert (alone.status, alone.how, alone.attempts, alone.select) == ("solved", "pass", 1, None)
    assert alone.one_pass
    failed = answered(checked(lambda given, output: False), replace(EFFORT, copies=5))
    assert (failed.status, failed.verified, failed.attempts) == ("unsolved", False, 5)
    assert failed.reason == "refused by rules.py:f"


def test_a_check_is_asked_once_for_an_answer_and_not_at_all_for_what_is_no_grid() -> None:
    calls: list[Any] = []

    def check(given: Any, output: Any) -> bool:
        calls.append(output)
        return False

    domain = checked(check)
    answered(domain, replace(EFFORT, copies=5))
    assert len(calls) == len({str(call) for call in calls}) == 2
    puzzle = domain.encode(domain.parse(GIVEN).grid)[None]
    assert domain.violations(puzzle, np.zeros_like(puzzle)).tolist() == [3]
    assert len(calls) == 2


def test_a_check_that_fails_or_returns_no_truth_value_ends_the_command() -> None:
    for function, message in (
        (lambda given, output: 1 / 0, r"rules.py:f: failed on \[\['a', .*ZeroDivisionError"),
        (lambda given, output: "yes", "returned 'yes'; expected True or False"),
    ):
        with pytest.raises(ConfigError, match=message):
            answered(checked(function), EFFORT)


def test_a_selector_chooses_among_the_attempts_at_a_puzzle_with_rules_and_the_rules_judge_its_choice() -> (
    None
):
    four = SudokuDomain(4)
    puzzle = four.parse("..1..4...3....2.")
    solution = four.solve_all(four.encode(puzzle.grid)[None]).answers[0]

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        is_itself = np.array_equal(tokens, four.encode(puzzle.grid))
        # The puzzle itself is answered rightly after two steps, its copies wrongly after one.
        if is_itself:
            return (solution if step == 2 else tokens), float(step == 2)
        return np.where(tokens == 1, 2, tokens), 9.0

    model = scripted(respond, four.vocab_size, four.seq_len)

    def chosen(select: Any) -> Solution:
        effort = replace(EFFORT, copies=4, select=select)
        (found,) = solve_puzzles(model, four, [puzzle], max_steps=1, effort=effort, trace=True)
        return found

    wrong = chosen("q_halt")
    assert (wrong.status, wrong.select, wrong.attempts, wrong.one_pass) == ("unsolved", "q_halt", 4, True)
    assert wrong.attempt > 1
    assert wrong.reason
    assert [step.step for step in wrong.trace] == [1]
    assert wrong.total_steps == 2 + 3
    verified = chosen("verify")
    assert (verified.status, verified.select, verified.how, verified.attempt) == (
        "solved",
        "verify",
        "copies",
        1,
    )


def test_a_puzzle_with_several_solutions_or_none_is_named_whatever_a_selector_chooses() -> None:
    four = SudokuDomain(4)

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        return four.solve_all(tokens[None].astype(np.uint8)).answers[0], 1.0

    model = scripted(respond, four.vocab_size, four.seq_len)
    items = [four.parse("123.......4....."), four.parse("123....4........")]
    for select in ("verify", "agreement", "confidence"):
        for kind in ({"copies": 3}, {"restarts": 2}):
            effort = replace(EFFORT, select=select, **kind)  # type: ignore[arg-type]
            several, none = solve_puzzles(model, four, items, max_steps=2, effort=effort)
            assert (several.status, none.status) == ("multiple", "invalid")
            assert "more than one solution" in several.reason
            assert "no solution" in none.reason


def test_an_interrupt_keeps_the_puzzles_that_a_selector_has_chosen_for() -> None:
    seen: list[bytes] = []

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        if tokens.tobytes() not in seen:
            seen.append(tokens.tobytes())
        if len(seen) > 2:
            raise KeyboardInterrupt
        return tokens, 1.0

    model = scripted(respond, LETTERS.vocab_size, LETTERS.seq_len)
    puzzles = [LETTERS.parse(text) for text in ("aabb", "abcd", "dddd")]
    effort = replace(EFFORT, restarts=2, select="agreement", batch_size=3)
    found: list[Solution] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(solve_puzzles(model, LETTERS, puzzles, max_steps=2, effort=effort))
    assert [one.index for one in found] == [1, 2]


@pytest.mark.parametrize(
    ("asked", "domain", "expected"),
    [
        (EffortRequest(restarts=3), LETTERS, "agreement"),
        (EffortRequest(copies=3), LETTERS, "agreement"),
        (EffortRequest(restarts=3, select="residual"), LETTERS, "residual"),
        (EffortRequest(restarts=3), checked(None), "verify"),
        (EffortRequest(restarts=3), make_domain("maze"), "verify"),
        (EffortRequest(restarts=3, select="q_halt"), make_domain("maze"), "q_halt"),
    ],
)
def test_the_default_is_verification_where_rules_exist_and_agreement_elsewhere(
    asked: EffortRequest, domain: Domain, expected: str
) -> None:
    effort = asked.of(ArchConfig(), domain, 4, pass_steps=2)
    assert (effort.select, effort.attempt_steps) == (expected, 4 if expected == "verify" else 2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (EffortRequest(copies=2, restarts=2), "--attempts and --restarts"),
        (EffortRequest(restarts=2, select="verify"), "--select verify: .* --check"),
        (EffortRequest(restarts=2, seconds=3.0), "--max-seconds"),
        (EffortRequest(select="agreement"), "--select: needs attempts"),
        (EffortRequest(level="low", restarts=2, select="agreement"), "--select: .*omit --effort"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(asked: EffortRequest, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked.of(ArchConfig(), LETTERS, 4)


def test_copies_without_a_claimed_symmetry_are_refused_and_restarts_are_named() -> None:
    plain = GridsDomain(1, 4, tuple("abcd"), **SHAPES)
    with pytest.raises(ConfigError, match=r"claims no symmetries.*--restarts 7"):
        EffortRequest(copies=8).of(ArchConfig(), plain, 4)
    assert (
        EffortRequest(level="low").of(ArchConfig(), CheckedGrids.of(plain, OwnCheck("f", None)), 4).copies
        == 1
    )  # type: ignore[arg-type]


def test_a_selector_needs_one_kind_of_attempts() -> None:
    check_selection(None, 2, 2, has_others=True)
    check_selection("verify", None, 2, has_others=False)
    for attempts, restarts in ((None, None), (1, 0), (2, 2)):
        with pytest.raises(ConfigError, match="--select"):
            check_selection("verify", attempts, restarts, has_others=False)
