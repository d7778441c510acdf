"""What follows when training goes wrong: the end, or the best checkpoint again at a lower rate, a few times."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hrm_cli.training.stopping as rollback
from hrm_cli.checkpoints.model_files import find_model_file, load_model
from hrm_cli.errors import TrainingDiverged
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.loggers import MetricsFile
from hrm_cli.training.loop import train
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.stopping import Divergence, check_loss

ROLLBACK = {"on_divergence": "rollback", "rollback_lr_factor": 0.5, "max_rollbacks": 2}


class Scores:
    """Exact accuracies in turn; the state that each evaluation saw by its step."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)

    def __call__(self, model: Any) -> dict[str, float]:
        return {"exact_accuracy": self.scores.pop(0), "mean_steps": 1.0}


def test_a_model_that_solves_everything_may_jump_from_one_tiny_loss_to_another(make_run) -> None:
    run, state = make_run(20)
    check_loss(state, 4e-5, run.preset.train)
    check_loss(state, 0.9, run.preset.train)
    with pytest.raises(Divergence, match=r"the loss is 1\.1"):
        check_loss(state, 1.1, run.preset.train)


@pytest.mark.parametrize(
    ("scores", "settings", "stops"),
    [
        ((0.8, 0.39), {}, True),
        ((0.8, 0.41), {}, False),
        ((0.49, 0.0), {}, False),
        ((0.49, 0.0), {"collapse_from": 0.4}, True),
        ((0.8, 0.7), {"collapse_ratio": 0.9}, True),
        ((0.8, 0.0), {"collapse_ratio": 0}, False),
    ],
)
def test_an_exact_accuracy_that_collapses_after_it_was_high_is_a_divergence(
    make_run, scores, settings, stops
) -> None:
    run, state = make_run(20, evaluate=Scores(*scores), **settings)
    if not stops:
        assert train(run, state).reason == "finished"
        return
    with pytest.raises(
        TrainingDiverged, match=r"step 20: exact accuracy has collapsed to .* at step 10"
    ) as error:
        train(run, state)
    assert "train.on_divergence=rollback" in str(error.value)
    # The best checkpoint is the one to use, and the collapsed weights were not kept.
    assert find_model_file(run.folder / "latest").parent.name == "step-000000010"
    assert load_model(run.folder)[1].step == 10


def test_a_rollback_continues_from_the_best_checkpoint_at_a_lower_rate_and_says_so(
    make_run, recorder_class, tmp_path
) -> None:
    recorder = recorder_class()
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    run, state = make_run(
        40,
        evaluate=Scores(0.6, 0.8, 0.1, 0.7, 0.9),
        listeners=(recorder, metrics),
        lr_warmup_steps=0,
        **ROLLBACK,
    )
    result = train(run, state)
    assert (result.reason, result.step, state.rollbacks, state.lr_factor) == ("finished", 40, 1, 0.5)
    assert recorder.rewinds == [20]
    assert "diverged at step 30" in recorder.warnings[0]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 5), ("train", 10), ("eval", 10), ("train", 15), ("train", 20), ("eval", 20), ("rollback", 20),
        ("train", 25), ("train", 30), ("eval", 30), ("train", 35), ("train", 40), ("eval", 40),
    ]  # fmt: skip
    told = next(line for line in lines if line["kind"] == "rollback")
    assert (told["from_step"], told["rollbacks"], told["lr_factor"]) == (30, 1, 0.5)
    assert "collapsed" in told["reason"]
    rates = {line["step"]: line["lr"] for line in lines if line["kind"] == "train"}
    assert (rates[20], rates[25]) == (1e-3, 5e-4)
    facts = json.loads((result.checkpoint / "training.json").read_text())
    assert (facts["rollbacks"], facts["lr_factor"]) == (1, 0.5)


def test_the_run_rolled_back_is_the_one_that_the_checkpoint_held(make_run) -> None:
    once, state = make_run(40, folder="rolled", evaluate=Scores(0.6, 0.1, 0.6, 0.7, 0.8), **ROLLBACK)
    rolled = load_file(train(once, state).checkpoint / "training.safetensors")
    # The same run, stopped at its best and continued with at half the rates: batches, carry and draws alike.
    first, state = make_run(10, folder="halved", evaluate=Scores(0.6))
    train(first, state)
    second, state = make_run(40, folder="halved", evaluate=Scores(0.6, 0.7, 0.8))
    second.batches.load_state_dict(load_training_state(second.folder, state))
    state.lr_factor = 0.5
    halved = load_file(train(second, state).checkpoint / "training.safetensors")
    assert rolled.keys() == halved.keys()
    for name, tensor in halved.items():
        assert torch.equal(rolled[name], tensor), name


def test_after_so_many_rollbacks_a_divergence_ends_the_run(make_run) -> None:
    run, state = make_run(40, evaluate=Scores(0.6, 0.1, 0.1, 0.1, 0.1), **ROLLBACK)
    with pytest.raises(TrainingDiverged, match=r"rolled back 2 times.*step-000000010.*now 0.00025"):
        train(run, state)
    assert state.rollbacks == 2


def test_non_finite_weights_roll_back_to_the_best_or_without_evaluations_the_latest_checkpoint(
    make_run, recorder_class
) -> None:
    def poison() -> None:
        if not recorder.rewinds:
            with torch.no_grad():
                state.model.inner.puzzle_emb.weights[0, 0] = float("nan")

    recorder = recorder_class({12: poison})
    run, state = make_run(30, checkpoint_interval=5, log_interval=100, listeners=(recorder,), **ROLLBACK)
    result = train(run, state)
    assert recorder.rewinds == [10]
    assert "not finite" in recorder.warnings[0]
    assert all(t.isfinite().all() for t in load_file(result.checkpoint / "model.safetensors").values())


def test_without_a_checkpoint_there_is_nothing_to_roll_back_to(make_run, recorder_class) -> None:
    def poison() -> None:
        with torch.no_grad():
            state.model.inner.lm_head.weight.fill_(float("nan"))

    run, state = make_run(20, listeners=(recorder_class({3: poison}),), **ROLLBACK)
    with pytest.raises(TrainingDiverged, match="No checkpoint had been written"):
        train(run, state)


def test_a_teacher_forgets_the_targets_of_rows_that_are_no_longer_worked_on(make_run) -> None:
    teaching, state = make_run(5, folder="teacher")
    checkpoint = train(teaching, state).checkpoint
    run, state = make_run(20, folder="student", evaluate=Scores(0.6, 0.1, 0.6), **ROLLBACK)
    state.teacher = teacher = load_teacher(checkpoint, run.facts, torch.device("cpu"))
    forgotten: list[int] = []
    forget = teacher.forget
    teacher.forget = lambda: (forgotten.append(state.step), forget())  # type: ignore[method-assign]
    train(run, state)
    assert forgotten == [10]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["point_latest_to_best", "load_training_state", "record_rollback"])
def test_a_run_killed_during_a_rollback_ends_as_if_it_had_not_been_killed(
    make_run, tmp_path, monkeypatch, moment: str
) -> None:
    def lines(name: str) -> list[dict[str, Any]]:
        found = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in found]

    def run_named(name: str, *scores: float):
        listeners = (MetricsFile(tmp_path / f"{name}.jsonl"),)
        # Steps after the best have checkpoints too, which the rollback leaves behind.
        return make_run(
            30, folder=name, evaluate=Scores(*scores), checkpoint_interval=4, listeners=listeners, **ROLLBACK
        )

    whole, state = run_named("whole", 0.6, 0.1, 0.7, 0.8)
    expected = load_file(train(whole, state).checkpoint / "training.safetensors")

    def kill(*given: Any, **named: Any) -> Any:
        raise Killed

    first, state = run_named("killed", 0.6, 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(rollback, moment, kill)
        with pytest.raises(Killed):
            train(first, state)
    second, state = run_named("killed", 0.1, 0.7, 0.8)
    second.batches.load_state_dict(load_training_state(second.folder, state))
    result = train(second, state)
    assert state.rollbacks == 1
    found = load_file(result.checkpoint / "training.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert lines("killed") == lines("whole")
    assert load_model(second.folder)[1].step == load_model(whole.folder)[1].step == 30
