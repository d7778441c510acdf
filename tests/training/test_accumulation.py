"""Micro-batches add up: a step computed in parts is the step on the whole batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hrm_cli.config.presets import load_preset
from hrm_cli.errors import ConfigError
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.loop import train
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.step import micro_batches, train_one_step


@given(st.integers(1, 1000), st.integers(1, 50))
def test_micro_batches_cover_every_row_once_in_order_and_are_equal_up_to_one_row(rows, count) -> None:
    slices = list(micro_batches(rows, count))
    assert [i for part in slices for i in range(rows)[part]] == list(range(rows))
    sizes = {part.stop - part.start for part in slices}
    assert len(slices) == min(rows, count)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) > 0


def steps(make_run, count: int, total: int, **train_settings):
    run, state = make_run(total, folder=f"in-{count}", accumulation_steps=count, **train_settings)
    metrics = []
    for _ in range(total):
        batch = as_tensors(next(run.batches))
        sums = train_one_step(state, batch, run.preset.train, total)
        metrics.append({name: value.item() for name, value in sums.items()})
    return state, metrics


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_a_step_in_micro_batches_is_the_step_on_the_whole_batch(make_run, count: int) -> None:
    settings = {"ema_decay": 0.9, "grad_clip": 0.5}
    whole, of_whole = steps(make_run, 1, 12, **settings)
    parts, of_parts = steps(make_run, count, 12, **settings)
    for ours, theirs in zip(of_parts, of_whole, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
        assert ours["count"] == theirs["count"]  # the same rows halted: the same were explored
    assert parts.carry is not None
    assert whole.carry is not None
    assert torch.equal(parts.carry.steps, whole.carry.steps)
    assert torch.equal(parts.carry.halted, whole.carry.halted)
    assert torch.equal(parts.carry.current.inputs, whole.carry.current.inputs)
    assert torch.equal(parts.generator.get_state(), whole.generator.get_state())
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert parts.average is not None
    assert whole.average is not None
    for name, tensor in whole.average.parameters.items():
        torch.testing.assert_close(parts.average.parameters[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_teacher_keeps_the_targets_of_every_micro_batch_apart(make_run) -> None:
    run, state = make_run(5, folder="teacher")
    checkpoint = train(run, state).checkpoint
    losses = []
    for count in (1, 3):
        run, state = make_run(9, folder=f"student-{count}", accumulation_steps=count)
        state.teacher = load_teacher(checkpoint, run.facts, torch.device("cpu"))
        for _ in range(9):
            batch = as_tensors(next(run.batches))
            sums = train_one_step(state, batch, run.preset.train, 9)
        losses.append(sums["distill_loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_halting_on_the_whole_batch_is_refused_with_micro_batches() -> None:
    with pytest.raises(
        ConfigError, match=r"^train.accumulation_steps above 1 cannot be combined with .*per_row$"
    ):
        load_preset("nova", ["accumulation_steps=4"])
    assert load_preset("nova", ["accumulation_steps=4", "arch.nova_halting=per_row"])
