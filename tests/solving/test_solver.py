"""Solving: what is said of each puzzle, retries under symmetries, order, batches, memory."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hrm_cli.errors import CheckpointError
from hrm_cli.evaluation.effort import Effort
from hrm_cli.puzzles.domain import Puzzle, Unreadable
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.solution import Solution, Tally
from hrm_cli.solving.solver import solve_puzzles, trained_domain

CONTRADICTORY = "11.............."
WITHOUT_SOLUTION = "123....4........"
SEVERAL = "123.......4....."


def solve(model: Any, domain: SudokuDomain, items: Any, **options: Any) -> list[Solution]:
    steps = options.get("max_steps", 4)
    effort = Effort(
        options.pop("attempts_max_steps", steps),
        copies=options.pop("attempts", 1),
        seed=options.pop("seed", 0),
    )
    return list(solve_puzzles(model, domain, items, effort=effort, **{"max_steps": 4, **options}))


def wrong_answer(tokens: np.ndarray) -> np.ndarray:
    """Every blank cell filled with 1: obeys no puzzle's rules."""
    return np.where(tokens == 1, 2, tokens).astype(np.uint8)


def test_right_answers_are_verified_and_solved_in_order(
    domain: SudokuDomain, right_model: Any, puzzles: list[Puzzle]
) -> None:
    solutions = solve(right_model, domain, puzzles, batch_size=2)
    assert [s.index for s in solutions] == [1, 2, 3]
    assert [s.where for s in solutions] == ["file:1", "file:2", "file:3"]
    assert {s.status for s in solutions} == {"solved"}
    for solution, puzzle in zip(solutions, puzzles, strict=True):
        assert solution.answer is not None
        assert domain.verify(puzzle.grid, solution.answer).ok
        assert (solution.steps, solution.attempts, solution.reason) == (1, 1, "")
        assert solution.seconds > 0


def test_wrong_answer_is_unsolved_with_the_first_violated_rule(
    domain: SudokuDomain, scripted: Any, puzzles: list[Puzzle]
) -> None:
    model = scripted(lambda tokens, step: (wrong_answer(tokens), 1.0))
    (solution,) = solve(model, domain, puzzles[:1])
    assert (solution.status, solution.verified) == ("unsolved", False)
    assert solution.answer is not None
    assert solution.reason == domain.verify(puzzles[0].grid, solution.answer).reason != ""


@pytest.mark.parametrize("text", [CONTRADICTORY, WITHOUT_SOLUTION])
def test_puzzle_without_solution_is_invalid_and_never_reaches_the_model(
    domain: SudokuDomain, right_model: Any, text: str
) -> None:
    puzzle = domain.parse(text)
    (solution,) = solve(right_model, domain, [puzzle])
    assert (solution.status, solution.answer, solution.attempts) == ("invalid", None, 0)
    assert solution.reason == domain.diagnose(puzzle.grid).reason != ""
    assert right_model.runs == []


def test_a_puzzle_with_more_than_one_solution_is_multiple_even_if_the_answer_obeys_the_rules(
    domain: SudokuDomain, right_model: Any
) -> None:
    (solution,) = solve(right_model, domain, [domain.parse(SEVERAL)])
    assert (solution.status, solution.verified, solution.truth) == ("multiple", True, None)
    assert "more than one solution" in solution.reason
    assert solution.answer is not None


def test_the_reason_names_both_more_than_one_solution_and_a_wrong_answer(
    domain: SudokuDomain, scripted: Any
) -> None:
    model = scripted(lambda tokens, step: (wrong_answer(tokens), 1.0))
    (solution,) = solve(model, domain, [domain.parse(SEVERAL)])
    assert (solution.status, solution.verified) == ("multiple", False)
    assert "more than one solution" in solution.reason
    assert "the answer breaks a rule" in solution.reason


def test_unreadable_piece_keeps_its_place_so_that_records_match_the_file(
    domain: SudokuDomain, right_model: Any, puzzles: list[Puzzle]
) -> None:
    items = [puzzles[0], Unreadable("file:2", "80 characters"), puzzles[1]]
    solutions = solve(right_model, domain, items)
    assert [s.status for s in solutions] == ["solved", "invalid", "solved"]
    assert solutions[1].reason == "file:2: 80 characters"
    assert solutions[1].puzzle is None


def test_a_puzzle_of_another_size_is_invalid_and_the_reason_names_the_trained_size(
    domain: SudokuDomain, right_model: Any, puzzles: list[Puzzle]
) -> None:
    other = SudokuDomain(9).parse("1" + "." * 80)
    first, second = solve(right_model, domain, [other, puzzles[0]])
    assert first.status == "invalid"
    assert "trained on 4×4 Sudoku" in first.reason
    assert second.status == "solved", "a foreign puzzle must not spoil its batch"


def test_retry_under_a_symmetry_solves_and_maps_the_answer_back(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    originals = {domain.encode(p.grid).tobytes() for p in puzzles}

    def right_on_copies_only(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        if tokens.tobytes() in originals:
            return wrong_answer(tokens), 1.0
        return right_model.respond(tokens, step)

    solutions = solve(scripted(right_on_copies_only), domain, puzzles, attempts=5)
    assert {s.status for s in solutions} == {"solved"}
    assert {s.attempts for s in solutions} == {5}
    assert all(s.attempt > 1 and not s.one_pass for s in solutions)


def test_verified_puzzles_are_not_retried_and_the_others_have_all_their_copies_in_one_batch(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    hard = domain.encode(puzzles[1].grid).tobytes()
    model = scripted(
        lambda tokens, step: (
            (wrong_answer(tokens), 1.0) if tokens.tobytes() == hard else right_model.respond(tokens, step)
        )
    )
    solutions = solve(model, domain, puzzles, attempts=4)
    assert [s.attempts for s in solutions] == [1, 4, 1]
    assert [s.one_pass for s in solutions] == [True, False, True]
    assert [len(run) for run in model.runs] == [3, 4]


def test_attempts_used_up_leave_the_answer_with_the_fewest_violations_and_say_so(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    original = domain.encode(puzzles[0].grid).tobytes()

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        if tokens.tobytes() == original:
            return wrong_answer(tokens), 9.0
        answer, _ = right_model.respond(tokens, step)
        blank = np.flatnonzero(tokens == 1)[0]
        answer[blank] = answer[blank] % 4 + 2  # one cell is wrong, and the model is not sure
        return answer, -2.0

    (solution,) = solve(scripted(respond), domain, puzzles[:1], attempts=3, max_steps=2, trace=True)
    assert (solution.status, solution.attempts, solution.one_pass) == ("unsolved", 3, False)
    assert solution.attempt > 1
    assert solution.reason.startswith(
        f"no answer of 3 attempts obeys the rules; the best, attempt {solution.attempt}"
    )
    assert solution.answer is not None
    truth = domain.diagnose(puzzles[0].grid).solution
    assert (solution.answer != truth).sum() == 1
    assert np.array_equal(solution.trace[-1].grid, solution.answer)


def test_of_equally_wrong_answers_the_most_confident_is_returned(
    domain: SudokuDomain, scripted: Any, puzzles: list[Puzzle]
) -> None:
    model = scripted(lambda tokens, step: (tokens, {1: -3.0, 2: 2.0, 3: -1.0}[step]))
    (solution,) = solve(model, domain, puzzles[:1], attempts=2, max_steps=3, adaptive=False)
    assert (solution.status, solution.steps) == ("unsolved", 2)


def test_attempts_go_deeper_than_the_first_answer_until_one_verifies(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    model = scripted(
        lambda tokens, step: right_model.respond(tokens, step) if step == 7 else (wrong_answer(tokens), 1.0)
    )
    (solution,) = solve(model, domain, puzzles[:1], attempts=2, attempts_max_steps=9)
    assert (solution.status, solution.steps) == ("solved", 7)


def test_attempts_depend_on_the_seed_and_not_on_the_batch(
    domain: SudokuDomain, scripted: Any, puzzles: list[Puzzle]
) -> None:
    def copies(batch_size: int, seed: int) -> set[bytes]:
        model = scripted(lambda tokens, step: (wrong_answer(tokens), 0.0))
        solve(model, domain, puzzles, attempts=3, seed=seed, batch_size=batch_size)
        return {row.tobytes() for run in model.runs for row in run}

    assert copies(1, seed=7) == copies(3, seed=7)
    assert copies(3, seed=7) != copies(3, seed=8)


def test_puzzles_halt_on_their_own_step_and_full_halting_takes_all(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    ready = {domain.encode(p.grid).tobytes(): step for p, step in zip(puzzles, (2, 4, 1), strict=True)}

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        is_ready = step >= ready[tokens.tobytes()]
        return right_model.respond(tokens, step) if is_ready else (wrong_answer(tokens), -1.0)

    model = scripted(respond)
    told: list[tuple[int, int]] = []
    halting = solve(model, domain, puzzles, on_step=lambda step, count: told.append((step, count)))
    assert [s.steps for s in halting] == [2, 4, 1]
    assert told == [(1, 3), (2, 2), (3, 1), (4, 1)]
    assert [s.steps for s in solve(model, domain, puzzles, adaptive=False, max_steps=6)] == [6, 6, 6]


def test_the_trace_has_every_step_of_the_attempt_that_gave_the_answer_in_the_frame_of_the_puzzle(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    original = domain.encode(puzzles[0].grid).tobytes()

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        if tokens.tobytes() == original:
            return wrong_answer(tokens), -5.0
        return (tokens, -1.0) if step < 3 else right_model.respond(tokens, step)

    (solution,) = solve(scripted(respond), domain, puzzles[:1], attempts=2, trace=True)
    assert [step.step for step in solution.trace] == [1, 2, 3]
    assert np.array_equal(solution.trace[0].grid, puzzles[0].grid), "the model repeated its input there"
    assert solution.answer is not None
    assert np.array_equal(solution.trace[-1].grid, solution.answer)
    assert solve(right_model, domain, puzzles[:1])[0].trace == ()


def test_answers_of_a_batch_come_before_the_next_batch_is_read(
    domain: SudokuDomain, right_model: Any, puzzles: list[Puzzle]
) -> None:
    read = 0

    def counted() -> Iterator[Puzzle]:
        nonlocal read
        while True:
            read += 1
            yield puzzles[read % 3]

    solutions = solve_puzzles(right_model, domain, counted(), max_steps=1, batch_size=8)
    assert next(solutions).index == 1
    assert read == 8


def test_thousands_of_puzzles_are_never_held_more_than_a_batch_at_a_time(
    domain: SudokuDomain, scripted: Any
) -> None:
    answer = domain.encode(domain.parse("3214143223414123").grid)
    model = scripted(lambda tokens, step: (answer, 1.0))
    model.runs = _NoContext()
    alive: weakref.WeakValueDictionary[int, Puzzle] = weakref.WeakValueDictionary()
    most = solved = 0

    def puzzles() -> Iterator[Puzzle]:
        for line in range(3_000):
            puzzle = Puzzle(domain.parse("..1..4...3....2.").grid, where=f"file:{line}")
            alive[line] = puzzle
            yield puzzle

    for solution in solve_puzzles(model, domain, puzzles(), max_steps=1, batch_size=128):
        most = max(most, len(alive))
        solved += solution.verified
    assert solved == 3_000
    assert most <= 2 * 128


class _NoContext(list[Any]):
    def append(self, _: Any) -> None:
        """Keeps nothing: the test measures what the solver keeps."""


def test_record_has_the_keys_that_scripts_rely_on_and_no_nan(
    domain: SudokuDomain, scripted: Any, puzzles: list[Puzzle]
) -> None:
    model = scripted(lambda tokens, step: (tokens, math.nan))
    (solution,) = solve(model, domain, puzzles[:1], max_steps=1, trace=True)
    record = solution.document(domain)
    assert set(record) == {
        "index", "where", "domain", "status", "answer", "verified", "reason", "steps", "attempts", "seconds",
        "attempt", "one_pass", "how", "select", "agreeing", "nodes", "total_steps", "flops",
    }  # fmt: skip
    assert record["domain"] == "sudoku"
    traced = solution.document(domain, with_trace=True)
    assert traced["trace"] == [{"step": 1, "grid": domain.text(puzzles[0].grid), "q_halt": None}]


def test_an_interruption_hands_out_what_has_been_found_first(
    domain: SudokuDomain, scripted: Any, right_model: Any, puzzles: list[Puzzle]
) -> None:
    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        if len(model.runs) == 1:
            return (right_model.respond if tokens[2] == 2 else lambda t, _: (wrong_answer(t), 1.0))(
                tokens, step
            )
        raise KeyboardInterrupt

    model = scripted(respond)
    solutions = solve_puzzles(model, domain, puzzles, max_steps=4, effort=Effort(4, copies=3))
    found = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(solutions)
    assert [solution.index for solution in found] == [1, 2, 3]
    assert {solution.status for solution in found} == {"solved", "unsolved"}


def test_time_for_further_effort_is_for_all_batches_together(
    domain: SudokuDomain, scripted: Any, puzzles: list[Puzzle], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    model = scripted(lambda tokens, step: (wrong_answer(tokens), 0.0))
    effort = Effort(10**6, copies=3, seconds=9.0)
    found = list(solve_puzzles(model, domain, puzzles, max_steps=1, effort=effort, batch_size=1))
    assert found[0].total_steps > 1
    assert [solution.total_steps for solution in found[1:]] == [1, 1]


def test_tally_counts_by_status_and_keeps_the_first_unreadable(
    domain: SudokuDomain, right_model: Any, puzzles: list[Puzzle]
) -> None:
    items = [*puzzles, Unreadable("f:4", "first"), Unreadable("f:5", "second"), domain.parse(SEVERAL)]
    tally = Tally()
    for solution in solve(right_model, domain, items):
        tally.add(solution)
    assert tally.statuses == {"solved": 3, "answered": 0, "unsolved": 0, "multiple": 1, "invalid": 2}
    assert (tally.total, tally.unreadable) == (6, 2)
    assert tally.first_unreadable is not None
    assert tally.first_unreadable.reason == "f:4: first"


@pytest.fixture
def card_of() -> Callable[..., Any]:
    from pathlib import Path

    from hrm_cli.checkpoints.dataset_facts import DatasetFacts
    from hrm_cli.checkpoints.model_files import ModelCard
    from hrm_cli.config.schema import Preset

    return lambda *facts: ModelCard(Path("m.safetensors"), Preset(), 1, DatasetFacts(*facts), {})


def test_checkpoint_names_its_domain_or_lets_it_be_inferred_from_its_shape(card_of: Any) -> None:
    assert trained_domain(card_of(6, 16, 1, {"name": "sudoku", "size": 4})).describe() == "4×4 Sudoku"
    assert trained_domain(card_of(8, 36, 1, {})).describe() == "6×6 Sudoku"


@pytest.mark.parametrize("facts", [(9, 17, 1, {}), (11, 81, 1, {"name": "sudoku", "size": 4})])
def test_checkpoint_that_fits_no_domain_is_refused_because_nothing_could_be_verified(
    card_of: Any, facts: Any
) -> None:
    with pytest.raises(CheckpointError, match=r"m\.safetensors"):
        trained_domain(card_of(*facts))
