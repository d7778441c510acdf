"""`train.max_minutes` is wall time: plan, time left, learning rates and evaluations follow it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

import hrm_cli.training.loop as loop
from hrm_cli.config.train import TrainConfig
from hrm_cli.runs.plan import plan_lines, plan_run, time_line
from hrm_cli.training.checkpointing import save_checkpoint
from hrm_cli.training.loggers import Listener
from hrm_cli.training.loop import train
from hrm_cli.training.optimizers import rate_factor
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.state import Plan
from hrm_cli.training.stopping import TimeLimit

LONG = 10**6
"""Steps that nobody has time for."""


class FakeClock(Listener):
    """Time that passes by the steps and evaluations of a run alone, as a listener of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float, evaluation: float = 0.0) -> None:
        self.now, self._step, self._evaluation = 0.0, step, evaluation
        self.records: list[dict[str, Any]] = []
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def evaluate(self, model: Any) -> dict[str, float]:
        self.now += self._evaluation
        return {"exact_accuracy": 0.25, "mean_steps": 1.0}

    def stepped(self, step: int) -> None:
        self.now += self._step

    def logged(self, record: dict[str, Any]) -> None:
        self.records.append(record)


def test_a_run_ends_in_time_with_its_evaluations_counted(make_run, monkeypatch) -> None:
    clock = FakeClock(monkeypatch, step=0.5, evaluation=4.0)
    run, state = make_run(LONG, eval_every=LONG, max_minutes=1, evaluate=clock.evaluate, listeners=(clock,))
    result = train(run, state)
    assert result.reason == "max_minutes"
    assert 58 < clock.now <= 60.5
    evaluations = [record["step"] for record in clock.records if record["kind"] == "eval"]
    assert 6 <= len(evaluations) <= 10
    assert evaluations[-1] == result.step == state.step
    # What passes after a step is counted to the next one, or to an evaluation.
    assert state.seconds == pytest.approx(0.5 * (state.step - len(evaluations)), abs=1)
    assert state.wall_seconds == pytest.approx(clock.now, abs=1)


def test_an_evaluation_in_the_middle_shows_how_long_the_last_one_takes(make_run, monkeypatch) -> None:
    clock = FakeClock(monkeypatch, step=0.5, evaluation=12.0)
    settings = {"max_minutes": 1, "eval_interval": 1000}
    run, state = make_run(LONG, eval_every=LONG, evaluate=clock.evaluate, listeners=(clock,), **settings)
    result = train(run, state)
    assert 58 < clock.now <= 60.5
    evaluations = [record["step"] for record in clock.records if record["kind"] == "eval"]
    assert evaluations == [pytest.approx(60, abs=5), result.step]


def test_the_learning_rate_completes_its_schedule_in_the_available_time(make_run, monkeypatch) -> None:
    clock = FakeClock(monkeypatch, step=0.5)
    settings = {"lr_warmup_steps": 2000, "lr_min_ratio": 0.1, "lr_schedule": "cosine", "log_interval": 1}
    run, state = make_run(LONG, eval_every=LONG, max_minutes=1, listeners=(clock,), **settings)
    assert train(run, state).step == pytest.approx(120, abs=3)
    rates = [record["lr"] for record in clock.records if record["kind"] == "train"]
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert rates.index(max(rates)) == pytest.approx(12, abs=2)
    assert rates[-1] == pytest.approx(1e-4, rel=0.05)


def test_a_time_limit_that_is_not_reached_changes_only_the_length_of_the_warm_up(make_run) -> None:
    run, state = make_run(20, max_minutes=1000)
    result = train(run, state)
    assert (result.reason, result.step, state.horizon) == ("finished", 20, 20)
    config = TrainConfig(lr_warmup_steps=2000, max_minutes=5)
    assert rate_factor(100, 1000, config) == 1.0
    assert rate_factor(100, 1000, config.model_copy(update={"max_minutes": None})) == 100 / 2000


def test_the_number_of_steps_follows_the_speed_and_leaves_time_for_the_last_evaluation(make_run) -> None:
    _, state = make_run(20)
    limit = TimeLimit(1, 1000, evaluates=True)
    for step in range(5):
        state.step = step
        assert not limit.follow(state, 1.0 * step)
    # Four steps took four seconds, and 56 are left.
    assert state.horizon == 4 + 56
    assert not limit.evaluation_is_due
    state.step = 7
    limit.follow(state, 7.0)
    assert limit.evaluation_is_due
    state.wall_seconds = 17.0
    limit.evaluated(state, 10.0)
    limit.follow(state, 17.0)
    assert not limit.evaluation_is_due
    assert state.horizon == 7 + int((60 - 17 - 10) / (17 / 7))
    assert not limit.follow(state, 49.0)
    assert limit.follow(state, 50.5)


def test_without_a_time_limit_there_is_no_estimated_number_of_steps(make_run) -> None:
    run, state = make_run(6)
    state.horizon = 3
    train(run, state)
    assert state.horizon is None
    assert not TimeLimit(None, 10, evaluates=True).follow(state, 1e9)


def test_a_resumed_run_has_the_time_that_is_left(make_run, monkeypatch) -> None:
    run, state = make_run(LONG, max_minutes=1)
    state.wall_seconds, state.seconds, state.horizon = 59.0, 30.0, 4711
    save_checkpoint(run.folder, state, run.preset, run.facts, run.batches.state_dict(), best=False)
    again, resumed = make_run(LONG, eval_every=LONG, max_minutes=1)
    again.batches.load_state_dict(load_training_state(again.folder, resumed))
    assert (resumed.wall_seconds, resumed.horizon) == (59.0, 4711)
    clock = FakeClock(monkeypatch, step=0.25)
    again.listeners = (clock,)
    assert train(again, resumed).reason == "max_minutes"
    assert clock.now == pytest.approx(1, abs=0.5)


def test_the_reported_time_of_a_run_is_the_time_it_has(make_run, tmp_path) -> None:
    run, _ = make_run(LONG, max_minutes=2.5)
    planned = plan_run(run.preset, run.facts, Plan(LONG, 4.0, 10), "float32", tmp_path)
    lines = plan_lines(planned)
    assert lines[0].startswith("Plan: at most 1,000,000 steps")
    assert "Time: 0:02:30 at most (train.max_minutes)" in lines[-1]
    assert json.loads(json.dumps(planned.document()))["max_minutes"] == 2.5
    assert "0:02:00 to go, enough for about 240 steps" in time_line(0.5, 9999, 20, 8, 120)
    assert "about 0:01:00 to go without evaluations" in time_line(0.5, 60, 20, 8, 120)


def test_a_very_slow_run_is_planned_in_days_and_its_rate_is_not_rounded_to_zero() -> None:
    line = time_line(160, 400 * 86400, 1, 16)
    assert (
        line
        == "Time: about 400 days to go without evaluations, 160 s per step (0.1 examples/s), measured over 1 step"
    )


@pytest.mark.parametrize("interval", [7, 1])
def test_time_that_ends_at_a_checkpoint_still_brings_an_evaluation(
    make_run, monkeypatch, interval: int
) -> None:
    clock = FakeClock(monkeypatch, step=1.0)
    settings = {"max_minutes": 1, "checkpoint_interval": interval, "eval_interval": 1000}
    run, state = make_run(LONG, eval_every=LONG, evaluate=clock.evaluate, listeners=(clock,), **settings)
    result = train(run, state)
    assert result.best is not None
    assert [record["step"] for record in clock.records if record["kind"] == "eval"][-1] == result.step
    assert (run.folder / "best").is_file()
