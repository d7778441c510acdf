"""Further effort after a failed pass: which stages there are, what each record says, budgets and interruptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import step_flops
from hrm_cli.config.schema import ArchConfig, EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.attempted import evaluate_with_effort
from hrm_cli.evaluation.effort import (
    Effort,
    EffortRequest,
    Outcome,
    effort_of_level,
    forward_flops,
    run_effort,
)
from hrm_cli.evaluation.search import ROUND
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.rng import NO_NOISE
from hrm_cli.puzzles.domain import make_domain

from .believers import FOUR, OTHER, PUZZLE, Believer, needs, solution, unsure
from .scripted import scripted

PLAIN = ArchConfig()
UNITS = ArchConfig(mixer="units", pos_encodings="none", puzzle_emb_ndim=0)
EFFORT = Effort(attempt_steps=2, node_steps=2, noise=NO_NOISE)


def tried(model: ACTModel, effort: Effort, *puzzles: np.ndarray) -> dict[int, Outcome]:
    outcomes = list(run_effort(FixedModel(model), FOUR, np.stack(puzzles), effort, range(1, 9)))
    assert sorted(index for index, _ in outcomes) == list(range(len(puzzles))), "each once"
    return dict(outcomes)


def solver(step_of_answer: int, *, of_copies_only: bool = False) -> ACTModel:
    def respond(row: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        is_copy = not any(np.array_equal(row, known) for known in (PUZZLE, OTHER))
        solves = step == step_of_answer and (is_copy or not of_copies_only)
        return (solution(row.astype(np.uint8)) if solves else row), 0.0

    return scripted(respond, FOUR.vocab_size, FOUR.seq_len)


@pytest.mark.parametrize(
    ("level", "arch", "domain", "expected"),
    [
        ("low", PLAIN, "sudoku", (8, 0, 0)),
        ("medium", PLAIN, "sudoku", (8, 64, 0)),
        ("high", PLAIN, "sudoku", (8, 512, 0)),
        ("low", UNITS, "sudoku", (1, 0, 0)),
        ("medium", UNITS, "sudoku", (1, 64, 0)),
        ("medium", PLAIN, "maze", (8, 64, 8)),
        ("high", PLAIN, "maze", (8, 512, 32)),
        ("high", PLAIN, "arc", (1, 0, 0)),
    ],
)
def test_an_effort_level_has_the_stages_that_can_help(
    level: str, arch: ArchConfig, domain: str, expected: tuple[int, int, int]
) -> None:
    effort = effort_of_level(level, arch, make_domain(domain), 32)  # type: ignore[arg-type]
    assert (effort.copies, effort.nodes, effort.restarts) == expected
    assert effort.is_one_pass == (expected == (1, 0, 0))
    assert not effort.rules


def test_an_answer_that_copies_find_needs_no_search() -> None:
    found = tried(solver(2, of_copies_only=True), replace(EFFORT, copies=4, nodes=9), PUZZLE)[0]
    assert (found.how, found.violations, found.steps, found.nodes) == ("copies", 0, 2, 0)
    assert found.attempt > 1
    assert found.work == 2 * found.attempts == 8
    assert np.array_equal(found.tokens, solution(PUZZLE))


def test_search_runs_on_what_copies_leave_unsolved_and_costs_add_up() -> None:
    found = tried(ACTModel(Believer(needs(1))), replace(EFFORT, nodes=20), PUZZLE, OTHER)
    for index, puzzle in enumerate((PUZZLE, OTHER)):
        one = found[index]
        assert (one.how, one.nodes, one.work) == ("search", 1 + ROUND, 2 + ROUND)
        assert one.pinned is not None
        assert ((one.pinned != puzzle).sum(), one.steps) == (1, 1)
    # A model that knows nothing of copies' digits fails there, so only identity copies are asked of it.
    restarted = tried(ACTModel(Believer(needs(9))), replace(EFFORT, nodes=5, restarts=2), PUZZLE)[0]
    assert restarted.violations > 0
    assert (restarted.nodes, restarted.attempts) == (5, 3)
    assert restarted.work == 5 * 2 + 3 * 2


def test_restarts_come_last() -> None:
    found = tried(solver(3), replace(EFFORT, nodes=1, restarts=2, attempt_steps=5), PUZZLE)[0]
    assert (found.how, found.steps, found.nodes, found.attempts) == ("restarts", 3, 1, 3)


def test_of_failed_answers_the_one_with_the_fewest_violations_is_kept() -> None:
    bad = Outcome(PUZZLE, 9, "copies", steps=2, attempts=4, work=8)
    worse = Outcome(OTHER, 12, "search", steps=2, nodes=5, work=10)
    both = bad.then(worse)
    assert (both.violations, both.how, both.attempts, both.nodes, both.work) == (9, "copies", 4, 5, 18)
    assert worse.then(replace(bad, violations=3)).how == "copies"


def test_without_a_stage_no_further_effort_is_made() -> None:
    core = Believer(unsure)
    found = tried(ACTModel(core), EFFORT, PUZZLE)[0]
    assert (found.how, found.work, found.violations > 0) == ("pass", 0, True)
    assert core.at_work == []


@pytest.mark.parametrize("stage", [{"copies": 4}, {"nodes": 4}, {"restarts": 4}])
def test_no_stage_begins_when_time_is_up(stage: dict[str, int]) -> None:
    core = Believer(unsure)
    found = tried(ACTModel(core), replace(EFFORT, seconds=0.0, **stage), PUZZLE, OTHER)  # type: ignore[arg-type]
    assert [one.work for one in found.values()] == [0, 0]
    assert core.at_work == []


@pytest.mark.parametrize("stage", [{"copies": 4}, {"nodes": 10**9}, {"restarts": 4}])
def test_a_stage_stops_when_its_time_is_up(stage: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10**9))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    core = Believer(unsure)
    effort = replace(EFFORT, seconds=30.0, attempt_steps=10**6, node_steps=10**6, **stage)  # type: ignore[arg-type]
    found = tried(ACTModel(core), effort, PUZZLE)[0]
    assert found.violations > 0
    assert 0 < len(core.at_work) <= 30


def test_an_interruption_loses_nothing_that_was_found() -> None:
    def stop(how: str, left: int) -> None:
        if left == 1:
            raise KeyboardInterrupt

    def beliefs(puzzle: np.ndarray) -> np.ndarray:
        is_first = ((puzzle == PUZZLE) | (PUZZLE == 1)).all()
        return needs(1)(puzzle) if is_first else unsure(puzzle)

    model = FixedModel(ACTModel(Believer(beliefs)))
    both, effort = np.stack((PUZZLE, OTHER)), replace(EFFORT, nodes=99)
    found: list[tuple[int, Outcome]] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(run_effort(model, FOUR, both, effort, [1, 2], progress=stop))
    assert [(index, outcome.violations) for index, outcome in found] == [(0, 0)]


def test_work_is_counted_in_steps_whose_flops_are_known() -> None:
    assert forward_flops(UNITS, 11, 81) == step_flops(components(UNITS, 11, 81)).forward > 0


def test_an_evaluation_reports_what_each_stage_solved_and_its_cost(tmp_path: Path) -> None:
    puzzles = np.stack((PUZZLE, OTHER))
    with DatasetWriter(tmp_path / "data") as writer:
        split = writer.split("test", seq_len=16)
        split.append(puzzles, FOUR.solve_all(puzzles).answers, group_sizes=np.ones(2, np.int64))
        writer.set_identifiers(["<blank>"])
        facts = {"vocab_size": 6, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0}
        writer.commit({**facts, "domain": {"name": "sudoku", "size": 4}})
    model = ACTModel(Believer(needs(1)))
    data, config = Dataset.open(tmp_path / "data", "test"), EvalConfig(max_steps=3)
    one_pass, further = evaluate_with_effort(model, data, config, replace(EFFORT, nodes=20))
    assert (one_pass.exact_accuracy, further.exact_accuracy, further.tried_again) == (0.0, 1.0, 2)
    assert further.solved_by == {"pass": 0, "search": 2}
    assert further.steps_per_puzzle == 3 + 2 + ROUND
    assert further.describe() == "search of 20 nodes"
    assert further.figures()["effort"]["node_steps"] == 2


@pytest.mark.parametrize(
    ("asked", "is_bundled", "expected"),
    [
        (EffortRequest(), True, (8, 64, 0)),
        (EffortRequest(), False, (1, 0, 0)),
        (EffortRequest(copies=3), True, (3, 0, 0)),
        (EffortRequest(level="high", copies=1), True, (1, 512, 0)),
        (EffortRequest(nodes=9, restarts=2), False, (1, 9, 2)),
        (EffortRequest(seconds=5.0), True, (8, 64, 0)),
    ],
)
def test_stages_named_alone_are_all_there_is_and_with_a_level_change_it(
    asked: EffortRequest, is_bundled: bool, expected: tuple[int, int, int]
) -> None:
    effort = asked.of(PLAIN, FOUR, 32, is_bundled=is_bundled)
    assert (effort.copies, effort.nodes, effort.restarts) == expected


@pytest.mark.parametrize(
    ("asked", "domain", "message"),
    [
        (EffortRequest(nodes=9), "arc", "--search: .*no cells"),
        (EffortRequest(restarts=9, select="verify"), "arc", "--select verify: .*no rules"),
    ],
)
def test_stages_that_a_domain_does_not_support_are_refused(
    asked: EffortRequest, domain: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        asked.of(PLAIN, make_domain(domain), 32)
