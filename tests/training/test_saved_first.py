"""A step is saved before it is evaluated: whatever the evaluation meets, no training is lost, and it is made up for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from safetensors.torch import load_file

import hrm_cli.training.loop as loop
from hrm_cli.checkpoints.model_files import find_model_file
from hrm_cli.errors import CheckpointError
from hrm_cli.training.loggers import MetricsFile
from hrm_cli.training.loop import train
from hrm_cli.training.resuming import load_training_state


class Killed(BaseException):
    pass


class Scores:
    """Exact accuracies in turn; an exception among them is raised instead."""

    def __init__(self, *scores: float | BaseException) -> None:
        self.scores, self.speed = list(scores), 0

    def __call__(self, model: Any) -> dict[str, float]:
        score = self.scores.pop(0)
        if isinstance(score, BaseException):
            raise score
        self.speed += 1
        return {"exact_accuracy": score, "puzzles_per_second": float(self.speed)}


def lines(run: Any) -> list[dict[str, Any]]:
    found = (run.folder.parent / f"{run.folder.name}.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in found]


def facts(run: Any) -> dict[str, Any]:
    found = json.loads((find_model_file(run.folder / "latest").parent / "training.json").read_text())
    return {key: value for key, value in found.items() if "seconds" not in key and key != "checksum"}


@pytest.fixture
def named_run(make_run, tmp_path):
    def make(name: str, *scores: float | BaseException, steps: int = 20, **settings: Any):
        metrics = MetricsFile(tmp_path / f"{name}.jsonl")
        return make_run(steps, folder=name, evaluate=Scores(*scores), listeners=(metrics,), **settings)

    return make


def resumed(named_run, name: str, *scores: float, **settings: Any):
    run, state = named_run(name, *scores, **settings)
    run.batches.load_state_dict(load_training_state(run.folder, state))
    return run, state


@pytest.mark.parametrize("steps", [20, 10])
def test_a_failed_evaluation_is_repeated_when_the_run_is_resumed(named_run, steps: int) -> None:
    whole, state = named_run("whole", 0.25, 0.5, steps=steps)
    end = load_file(train(whole, state).checkpoint / "training.safetensors")

    first, state = named_run("failed", RuntimeError("out of memory"), steps=steps)
    with pytest.raises(RuntimeError):
        train(first, state)
    assert find_model_file(first.folder).parent.name == "step-000000010"
    assert not (first.folder / "best").exists()
    second, state = resumed(named_run, "failed", 0.25, 0.5, steps=steps)
    assert (state.step, state.awaits_evaluation) == (10, True)
    result = train(second, state)
    assert lines(second) == lines(whole)
    assert facts(second) == facts(whole)
    assert (second.folder / "best").read_text() == (whole.folder / "best").read_text()
    found = load_file(result.checkpoint / "training.safetensors")
    assert all((found[name] == tensor).all() for name, tensor in end.items())


@pytest.mark.parametrize("moment", ["before it is told", "before it is saved"])
def test_a_run_killed_after_an_evaluation_logs_its_result_once(named_run, monkeypatch, moment: str) -> None:
    whole, state = named_run("whole", 0.25, 0.5)
    train(whole, state)

    first, state = named_run("killed", 0.25)

    def kill(*given: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "before it is told":
            patch.setattr(first, "log", lambda record: kill() if record["kind"] == "eval" else None)
        else:
            patch.setattr(loop, "check_accuracy", kill)
        with pytest.raises(Killed):
            train(first, state)
    second, state = resumed(named_run, "killed", 0.25, 0.5)
    train(second, state)
    assert [line for line in lines(second) if line["kind"] == "eval"] == [
        line for line in lines(whole) if line["kind"] == "eval"
    ]
    assert facts(second) == facts(whole)


def test_a_collapse_leaves_no_checkpoint_after_the_best(named_run) -> None:
    run, state = named_run("run", 0.9, 0.1, steps=30)
    with pytest.raises(Exception, match="collapsed"):
        train(run, state)
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == ["step-000000010"]
    assert find_model_file(run.folder / "latest").parent.name == "step-000000010"


def test_without_a_test_split_a_resumed_run_awaits_no_evaluation(named_run, make_run) -> None:
    first, state = named_run("run", RuntimeError("no memory"))
    with pytest.raises(RuntimeError):
        train(first, state)
    run, state = make_run(20)
    run.batches.load_state_dict(load_training_state(run.folder, state))
    assert train(run, state).reason == "finished"


def test_a_checkpoint_that_cannot_be_written_is_still_evaluated_but_is_not_the_best(
    named_run, monkeypatch
) -> None:
    run, state = named_run("run", 0.5, 0.25, steps=20)
    save, refused = run.save, []

    def save_second(state: Any, *, best: bool = False) -> Any:
        if state.step == 10:
            refused.append(best)
            raise loop_error()
        return save(state, best=best)

    def loop_error() -> CheckpointError:
        from hrm_cli.checkpoints.pointers import CheckpointWriteError

        return CheckpointWriteError("disk full")

    monkeypatch.setattr(run, "save", save_second)
    result = train(run, state)
    assert refused == [False]
    assert result.best is not None
    assert (result.best.step, result.best.exact_accuracy) == (20, 0.25)
