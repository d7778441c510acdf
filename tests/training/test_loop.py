"""The loop: what ends a run, what it writes, and what it refuses to write."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from hrm_cli.checkpoints.model_files import find_model_file, load_model
from hrm_cli.errors import TrainingDiverged
from hrm_cli.training.loop import train


def test_the_loss_falls_on_a_learnable_task(make_run, recorder_class) -> None:
    recorder = recorder_class()
    run, state = make_run(600, listeners=(recorder,), lr=3e-3, log_interval=100)
    train(run, state)
    losses = [record["lm_loss"] for record in recorder.records]
    assert losses[-1] < 0.85 * losses[0]


def test_lines_come_at_the_interval_and_at_the_end_with_means_not_sums(make_run, recorder_class) -> None:
    recorder = recorder_class()
    run, state = make_run(12, listeners=(recorder,))
    train(run, state)
    assert [record["step"] for record in recorder.records] == [5, 10, 12]
    assert recorder.ended
    for record in recorder.records:
        assert 0 <= record["accuracy"] <= 1
        assert 1 <= record["steps"] <= 3
        assert record["loss"] == pytest.approx(
            record["lm_loss"] + 0.5 * (record["q_halt_loss"] + record["q_continue_loss"]), rel=1e-4
        )


def test_two_evaluations_in_a_row_at_the_target_accuracy_end_a_run(make_run) -> None:
    scores = iter([0.99, 0.5, 0.98, 0.97, 0.99, 1.0, 1.0])
    run, state = make_run(
        100,
        target_accuracy=0.98,
        evaluate=lambda model: {"exact_accuracy": next(scores), "mean_steps": 1.0},
        collapse_ratio=0,
    )
    result = train(run, state)
    assert (result.reason, result.step) == ("target_accuracy", 60)


def test_patience_ends_a_run_that_no_longer_improves(make_run) -> None:
    scores = iter([0.5, 0.4, 0.5, 0.3])
    run, state = make_run(
        100, patience=2, evaluate=lambda model: {"exact_accuracy": next(scores), "mean_steps": 1.0}
    )
    result = train(run, state)
    assert (result.reason, result.step) == ("patience", 30)
    assert result.best is not None
    assert (result.best.step, result.best.exact_accuracy) == (10, 0.5)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    make_run, recorder_class
) -> None:
    def poison() -> None:
        with torch.no_grad():
            state.model.inner.lm_head.weight.fill_(float("nan"))

    run, state = make_run(50, checkpoint_interval=10, listeners=(recorder_class({12: poison}),))
    with pytest.raises(TrainingDiverged, match=r"step 15: the loss is nan.*step-000000010.*train.lr"):
        train(run, state)
    assert TrainingDiverged.exit_status == 1
    model, card = load_model(run.folder)
    assert card.step == 10
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_non_finite_weights_never_reach_a_checkpoint_even_between_logged_lines(
    make_run, recorder_class
) -> None:
    def poison() -> None:
        with torch.no_grad():
            state.model.inner.lm_head.weight[0, 0] = float("inf")

    run, state = make_run(
        50, log_interval=1000, checkpoint_interval=3, listeners=(recorder_class({4: poison}),)
    )
    with pytest.raises(TrainingDiverged, match="not finite"):
        train(run, state)
    assert find_model_file(run.folder).parent.name == "step-000000003"


def test_an_exploding_loss_stops_the_run(make_run, recorder_class) -> None:
    def explode() -> None:
        with torch.no_grad():
            state.model.inner.lm_head.weight.mul_(1e6)

    run, state = make_run(
        50, listeners=(recorder_class({11: explode}),), explode_ratio=5.0, loss="softmax_cross_entropy"
    )
    with pytest.raises(TrainingDiverged, match="more than 5 times its lowest"):
        train(run, state)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_before_the_run_ends(make_run, recorder_class, number) -> None:
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:
        pytest.skip("this signal is ignored, as under nohup")
    run, state = make_run(50, listeners=(recorder_class({13: lambda: os.kill(os.getpid(), number)}),))
    result = train(run, state)
    assert (result.reason, result.signal_number, result.step) == ("interrupted", number, 13)
    assert find_model_file(run.folder).parent.name == "step-000000013"
    assert signal.getsignal(number) is before


def test_a_second_signal_has_its_default_effect(make_run, recorder_class) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    run, state = make_run(50, listeners=(recorder_class({3: twice}),))
    with pytest.raises(KeyboardInterrupt):
        train(run, state)


def test_a_time_limit_ends_the_run_with_an_evaluation(make_run) -> None:
    run, state = make_run(
        10**6,
        eval_every=10**6,
        max_minutes=0.005,
        evaluate=lambda model: {"exact_accuracy": 0.25, "mean_steps": 1.0},
    )
    result = train(run, state)
    assert result.reason == "max_minutes"
    assert result.best is not None
    assert result.best.exact_accuracy == 0.25


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(make_run) -> None:
    ends = []
    for index, seed in enumerate((1, 1, 2)):
        run, state = make_run(6, folder=f"run{index}", seed=seed)
        train(run, state)
        ends.append(state.model.inner.lm_head.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
