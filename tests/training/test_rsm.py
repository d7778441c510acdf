"""The RSM objective and CGAR: which updates are trained, at which depth, and how a settled state ends a puzzle."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.core import Depth
from hrm_cli.models.rng import StepRNG
from hrm_cli.training.loop import train
from hrm_cli.training.objectives import OBJECTIVES, Progress
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.state import initial_state

RSM = {"objective": "rsm", "depth_schedule": "2x1@0 3x2@0.5"}


def rsm_run(
    make_run, *, steps: int = 12, folder: str = "run", core: str = "trm", carry_over: float = 0.0, **arch
):
    run, _ = make_run(steps, folder=folder, carry_over=carry_over, **RSM)
    update = {"core": core, "halting": "settle", "tied_output": True, "puzzle_emb_ndim": 0, **arch}
    run.preset = run.preset.model_copy(
        update={"arch": ArchConfig(**{**run.preset.arch.model_dump(), **update})}
    )
    return run, initial_state(run.preset, run.facts, torch.device("cpu"))


def gradient_of(core, batch, depth: Depth) -> torch.Tensor:
    core.zero_grad()
    _, out = core(core.initial_carry(batch.inputs), batch.inputs, None, depth=depth)
    out.logits.float().square().sum().backward()
    return core.L_level.layers[0].mlp.down_proj.weight.grad.clone()


def test_only_the_last_cycle_is_trained_except_in_steps_that_reach_further_back(make_run) -> None:
    run, state = rsm_run(make_run)
    core, batch = state.model.inner, as_tensors(next(run.batches))
    # The last cycle alone, started from the detached states of the two before it.
    core.eval()
    with torch.no_grad():
        before, _ = core(core.initial_carry(batch.inputs), batch.inputs, None, depth=Depth(2, 2))
    core.zero_grad()
    _, out = core(before, batch.inputs, None, depth=Depth(1, 2, trains_last_cycle=True))
    out.logits.float().square().sum().backward()
    alone = core.L_level.layers[0].mlp.down_proj.weight.grad.clone()
    whole = gradient_of(core, batch, Depth(3, 2, trains_last_cycle=True))
    torch.testing.assert_close(whole, alone)
    further = gradient_of(core, batch, Depth(3, 2, trains_last_cycle=True, reaches_back=True))
    assert not torch.allclose(further, whole, rtol=1e-3)


@pytest.mark.parametrize("core", ["trm", "hrm"])
def test_all_cycles_get_the_gradient_of_a_chain_of_single_cycles(make_run, core: str) -> None:
    run, state = rsm_run(make_run, core=core)
    core_, batch = state.model.inner, as_tensors(next(run.batches))
    core_.train()
    core_.zero_grad()
    carry, weights = core_.initial_carry(batch.inputs), core_.cast_weights()
    z_H, z_L = carry.z_H, carry.z_L
    for _ in range(3):
        # Not detached between cycles, as ACT steps are.
        z_H, z_L, logits, *_ = core_.step(
            z_H, z_L, batch.inputs, None, weights, Depth(1, 2, trains_last_cycle=True)
        )
    logits.float().square().sum().backward()
    expected = {name: p.grad.clone() for name, p in core_.named_parameters() if p.grad is not None}
    gradient_of(core_, batch, Depth(3, 2, trains_all_cycles=True))
    for name, gradient in expected.items():
        torch.testing.assert_close(core_.get_parameter(name).grad, gradient)
    assert not torch.allclose(
        gradient_of(core_, batch, Depth(3, 2, trains_last_cycle=True)),
        expected["L_level.layers.0.mlp.down_proj.weight"],
        rtol=1e-3,
    )


@pytest.mark.parametrize("objective", ["rsm", "deep_supervision"])
def test_the_settings_decide_how_many_updates_are_trained(
    make_run, monkeypatch: pytest.MonkeyPatch, objective: str
) -> None:
    run, state = rsm_run(make_run, core="hrm", H_cycles=2)
    core, batch = state.model.inner, as_tensors(next(run.batches))
    with_gradient: list[bool] = []
    update = core.module_update

    def counted(z, injection, blocks):
        with_gradient.append(torch.is_grad_enabled())
        return update(z, injection, blocks)

    monkeypatch.setattr(core, "module_update", counted)
    cycles = core.arch.H_cycles * (core.arch.L_cycles + 1)
    last = core.arch.L_cycles + 1
    reached = last + 1 if objective == "rsm" else last
    for gradient, reach_back, expected in (
        ("last_cycle", 0, last),
        ("last_cycle", 1, reached),
        ("all_cycles", 0, cycles),
    ):
        with_gradient.clear()
        changes = {
            "gradient": gradient,
            "reach_back": reach_back,
            "depth_schedule": None,
            "objective": objective,
        }
        config = run.preset.train.model_copy(update=changes)
        OBJECTIVES[objective](
            state.model, None, batch, config, StepRNG(torch.Generator(), len(batch.inputs)), Progress(step=1)
        )
        assert sum(with_gradient) == expected


@pytest.mark.parametrize("carry_over", [0.0, 0.5])
@pytest.mark.parametrize("core", ["trm", "hrm"])
def test_every_recursive_core_trains_with_rsm_and_resumes_bit_identically(
    make_run, core: str, carry_over: float
) -> None:
    # Stopped in the second stage of its depth schedule.
    run, state = rsm_run(make_run, folder="whole", core=core, carry_over=carry_over)
    train(run, state)
    first, half = rsm_run(make_run, folder="parts", core=core, carry_over=carry_over)
    config = first.preset.train.model_copy(update={"checkpoint_interval": 10})
    first.preset = first.preset.model_copy(update={"train": config})
    train(first, half)
    second, resumed = rsm_run(make_run, folder="parts", core=core, carry_over=carry_over)
    (second.folder / "latest").write_text("checkpoints/step-000000010")
    second.batches.position = load_training_state(second.folder, resumed)["position"]
    assert resumed.step == 10
    train(second, resumed)
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name


def test_a_checkpoint_right_after_a_logged_step_holds_the_sums_of_one_step(make_run) -> None:
    # Without a Q head the loss has one part only.
    run, state = rsm_run(make_run, steps=6)
    config = run.preset.train.model_copy(update={"checkpoint_interval": 3, "log_interval": 2})
    run.preset = run.preset.model_copy(update={"train": config})
    train(run, state)
    _, resumed = rsm_run(make_run)
    (run.folder / "latest").write_text("checkpoints/step-000000003")
    load_training_state(run.folder, resumed)
    assert resumed.sums["loss"] == resumed.sums["lm_loss"]


def test_continuing_rows_keep_their_puzzle_and_start_from_their_last_state(make_run) -> None:
    run, state = rsm_run(make_run, carry_over=0.5)
    core, config, step = state.model.inner, run.preset.train, OBJECTIVES["rsm"]
    first, second = (as_tensors(next(run.batches)) for _ in range(2))
    with torch.no_grad():
        carry, out = step(state.model, None, first, config, StepRNG(state.generator, 8), Progress())
        assert bool(out.fresh.all()), "there is nothing yet to go on with"
        after, out = step(state.model, carry, second, config, StepRNG(state.generator, 8), Progress())
        went_on = ~out.fresh
        assert 0 < int(went_on.sum()) < 8
        puzzles = torch.where(went_on[:, None], first.inputs, second.inputs)
        assert torch.equal(out.current.inputs, puzzles)
        assert torch.equal(after.steps, torch.where(went_on, 2, 1))
        # The same two starts, each computed by itself.
        depth = Depth(2, 1, trains_last_cycle=True)
        _, further = core(carry.inner, first.inputs, None, depth=depth)
        _, afresh = core(core.initial_carry(second.inputs), second.inputs, None, depth=depth)
    expected = torch.where(went_on[:, None, None], further.logits, afresh.logits)
    torch.testing.assert_close(out.logits, expected)


def test_a_model_with_a_q_head_learns_whether_its_answer_is_right_under_rsm_too(make_run) -> None:
    run, state = rsm_run(make_run, halting="q_learning", tied_output=False)
    step = OBJECTIVES["rsm"]
    _, out = step(
        state.model,
        None,
        as_tensors(next(run.batches)),
        run.preset.train,
        StepRNG(state.generator, 8),
        Progress(),
    )
    out.loss.backward()
    assert out.metrics["q_halt_loss"] > 0
    assert state.model.inner.q_head.bias.grad[0].abs() > 0


def test_a_state_that_no_longer_changes_ends_its_puzzle(make_run) -> None:
    run, state = rsm_run(make_run, H_cycles=1)
    model, batch = state.model, as_tensors(next(run.batches))
    for weight in model.inner.L_level.parameters():
        weight.data.zero_()  # norm(x + injection) alone, which converges
    steps = list(model.infer(batch.inputs, batch.puzzle_identifiers, 200, adaptive=True))
    assert 2 < len(steps) < 60
    assert bool(steps[-1].halts.all())


@pytest.mark.parametrize("threshold", [None, 0.9])
def test_certain_rows_finish_once_every_cell_has_a_token_of_high_probability(make_run, threshold) -> None:
    run, state = rsm_run(make_run, halting="certain", H_cycles=1, halt_threshold=threshold)
    model, batch = state.model, as_tensors(next(run.batches))
    # Larger embeddings, tied to the output, make some rows certain from the start and leave others in doubt.
    model.inner.embed_tokens.embedding_weight.data.mul_(17)
    seen = 0
    for step in model.infer(batch.inputs, batch.puzzle_identifiers, 4, adaptive=True):
        least = step.logits.softmax(-1).amax(-1).amin(-1)
        torch.testing.assert_close(step.q_halt.sigmoid(), least, atol=1e-4, rtol=1e-3)
        assert torch.equal(step.halts, least >= (threshold or 0.98))
        seen += int(step.halts.sum())
    assert 0 < seen < 8


def test_cgar_weighs_earlier_supervision_steps_more_and_keeps_the_mean(make_run) -> None:
    run, state = make_run(30, depth_schedule="cgar", supervision_decay=0.5)
    deep = OBJECTIVES["deep_supervision"]
    plain = run.preset.train.model_copy(update={"supervision_decay": 1.0, "depth_schedule": None})
    batch = as_tensors(next(run.batches))
    _, weighted = deep(
        state.model, None, batch, run.preset.train, StepRNG(state.generator, 8), Progress(29, 30)
    )
    state.generator.manual_seed(run.preset.train.seed + 1)
    # One cycle each in this model: at the schedule's first stage only the second L update differs.
    _, even = deep(state.model, None, batch, plain, StepRNG(state.generator, 8), Progress(0, 30))
    # Three supervision steps: 1, ½ and ¼ scaled to a mean of 1 make 12/7 of the first.
    shallow = run.preset.train.model_copy(update={"depth_schedule": "1x1@0"})
    state.generator.manual_seed(run.preset.train.seed + 1)
    _, first = deep(state.model, None, batch, shallow, StepRNG(state.generator, 8), Progress(0, 30))
    assert first.metrics["lm_loss"].item() == pytest.approx(even.metrics["lm_loss"].item() * 12 / 7, rel=1e-5)
    assert weighted.metrics["lm_loss"].item() != pytest.approx(first.metrics["lm_loss"].item(), rel=1e-6)
