"""A forward pass in float16: small gradients survive, overflowing steps are skipped, and a resumed run is the same."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from hrm_cli.config.arch import ArchConfig
from hrm_cli.errors import TrainingDiverged
from hrm_cli.training.loop import train
from hrm_cli.training.optimizers import GROWTH_INTERVAL, LossScale, unscale
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step


def in_float16(made, core: str = "hrm"):
    run, _ = made
    arch = {**run.preset.arch.model_dump(), "forward_dtype": "float16", "core": core}
    if core == "nova":
        arch["puzzle_emb_ndim"] = 0
    run.preset = run.preset.model_copy(update={"arch": ArchConfig(**arch)})
    return run, initial_state(run.preset, run.facts, torch.device("cpu"))


def test_the_scale_halves_when_a_step_overflows_and_doubles_after_many_that_do_not() -> None:
    scale = LossScale(scale=1024.0)
    for _ in range(GROWTH_INTERVAL - 1):
        scale.succeeded()
    assert scale.scale == 1024
    scale.succeeded()
    assert (scale.scale, scale.good_steps) == (2048, 0)
    scale.overflowed()
    assert (scale.scale, scale.good_steps, scale.skipped_steps) == (1024, 0, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_unscaling_divides_all_gradients_and_finds_one_that_is_not_finite(bad: float) -> None:
    gradients = [torch.tensor([8.0, -2.0]), torch.tensor([[4.0]])]
    assert unscale(gradients, 4.0)
    assert [g.flatten().tolist() for g in gradients] == [[2.0, -0.5], [1.0]]
    gradients[1][0, 0] = bad
    assert not unscale(gradients, 4.0)


@pytest.mark.parametrize("core", ["hrm", "trm", "nova"])
def test_every_core_learns_in_float16_as_it_does_in_float32(make_run, core: str) -> None:
    losses = {}
    for dtype in ("float16", "float32"):
        run, state = in_float16(make_run(60, folder=f"{core}-{dtype}", lr=3e-3), core)
        if dtype == "float32":
            run.preset = run.preset.model_copy(
                update={"arch": run.preset.arch.model_copy(update={"forward_dtype": "float32"})}
            )
            state = initial_state(run.preset, run.facts, torch.device("cpu"))
        assert (state.loss_scale is not None) == (dtype == "float16")
        found = []
        for _ in range(60):
            sums = train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 60)
            found.append(sums["lm_loss"].item())
        losses[dtype] = sum(found[-20:]) / 20
    assert losses["float16"] == pytest.approx(losses["float32"], rel=0.03)


def test_gradients_that_float16_cannot_hold_come_through_by_the_scale(make_run) -> None:
    run, state = in_float16(make_run(1, lr_warmup_steps=0))
    state.loss_scale = None
    batch = as_tensors(next(run.batches))
    small = run.preset.train.model_copy(update={"global_batch_size": 10**7})

    def lost(scale: LossScale | None) -> float:
        _, fresh = in_float16(make_run(1, lr_warmup_steps=0))
        fresh.loss_scale = scale
        gradients = {}
        fresh.network.step = lambda: gradients.update(
            {n: p.grad.clone() for n, p in fresh.model.named_parameters() if p.grad is not None}
        )
        train_one_step(fresh, batch, small, 1)
        weight = gradients["inner.L_level.layers.0.mlp.down_proj.weight"]
        return (weight == 0).float().mean().item()

    assert lost(None) > 0.9
    assert lost(LossScale()) < 0.5


def test_a_step_that_overflows_is_skipped_counted_and_reported(make_run, recorder_class) -> None:
    recorder = recorder_class()
    run, state = in_float16(make_run(10, listeners=(recorder,), ema_decay=0.9))
    state.loss_scale.scale = 2.0**40
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    sums = train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 10)
    assert sums == {}
    assert state.step == 1
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for name, tensor in state.average.parameters.items():
        assert torch.equal(tensor, before[name]), name
    assert not state.network.state
    assert (state.loss_scale.scale, state.loss_scale.skipped_steps) == (2.0**39, 1)
    state.loss_scale.scale = 2.0**16
    train(run, state)
    assert recorder.records[-1]["loss_scale"] == 2.0**16
    assert recorder.records[-1]["skipped_steps"] == 1


def test_rows_with_non_finite_states_take_a_new_puzzle_at_the_next_step(make_run) -> None:
    run, state = in_float16(make_run(10))
    config = run.preset.train
    train_one_step(state, as_tensors(next(run.batches)), config, 10)
    state.carry.halted[:] = False
    state.carry.inner.z_H[2] = float("nan")
    assert train_one_step(state, as_tensors(next(run.batches)), config, 10) == {}
    assert state.carry.halted[2]
    assert train_one_step(state, as_tensors(next(run.batches)), config, 10)
    assert state.carry.inner.z_H.isfinite().all()


def test_gradients_that_overflow_at_any_scale_end_the_run(make_run) -> None:
    run, state = in_float16(make_run(50))
    with torch.no_grad():
        state.model.inner.lm_head.weight.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match="not finite even without a loss scale"):
        train(run, state)


def test_a_resumed_run_keeps_its_loss_scale(make_run) -> None:
    whole, state = in_float16(make_run(12, folder="whole"))
    state.loss_scale.scale = 2.0**30
    expected = train(whole, state).checkpoint
    first, state = in_float16(make_run(5, folder="parts"))
    state.loss_scale.scale = 2.0**30
    train(first, state)
    second, state = in_float16(make_run(12, folder="parts"))
    second.batches.position = load_training_state(second.folder, state)["position"]
    found = train(second, state).checkpoint
    facts = [json.loads((folder / "training.json").read_text()) for folder in (expected, found)]
    assert facts[0]["loss_scale"] == facts[1]["loss_scale"]
    assert facts[0]["loss_scale"]["skipped_steps"] > 0
    theirs, ours = (load_file(folder / "training.safetensors") for folder in (expected, found))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
