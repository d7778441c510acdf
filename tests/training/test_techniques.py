"""Schedules, optimizers, frozen weights, activation checkpointing: what each changes, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.training.loop import train
from hrm_cli.training.optimizers import rate_factor
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.starting import freeze, start_new
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step


def rates(**settings) -> list[float]:
    config = TrainConfig(lr_warmup_steps=10, **settings)
    return [round(rate_factor(step, 110, config), 4) for step in (5, 10, 35, 60, 110)]


def test_a_linear_schedule_falls_evenly_from_the_warm_up_to_its_last_rate() -> None:
    assert rates(lr_schedule="linear", lr_min_ratio=0.2) == [0.5, 1.0, 0.8, 0.6, 0.2]
    assert rates(lr_schedule="linear", lr_min_ratio=0) == [0.5, 1.0, 0.75, 0.5, 0.0]


def test_a_schedule_without_a_last_rate_falls_to_a_tenth_and_a_constant_one_never() -> None:
    assert rates(lr_schedule="cosine")[-1] == rates(lr_schedule="linear")[-1] == 0.1
    assert rates(lr_schedule="constant") == rates(lr_schedule="constant", lr_min_ratio=0.1) == rates()
    assert rates() == [0.5, 1, 1, 1, 1]


def test_configurations_written_before_there_were_schedules_mean_what_they_did() -> None:
    assert rates(lr_min_ratio=0.1) == rates(lr_schedule="cosine", lr_min_ratio=0.1)
    assert rates(lr_min_ratio=1.0) == rates(lr_schedule="constant")
    assert load_preset("sudoku-extreme").train.schedule == ("constant", 1.0)
    assert load_preset("sudoku-extreme", ["lr_min_ratio=0.1"]).train.schedule == ("cosine", 0.1)
    assert load_preset("base").train.schedule == ("cosine", 0.1)


def test_adamw_is_torchs_own_with_the_runs_rates_and_resumes_exactly(make_run) -> None:
    whole, state = make_run(12, folder="whole", optimizer="adamw")
    assert type(state.network) is torch.optim.AdamW
    expected = load_file(train(whole, state).checkpoint / "training.safetensors")
    first, state = make_run(5, folder="parts", optimizer="adamw")
    train(first, state)
    second, state = make_run(12, folder="parts", optimizer="adamw")
    second.batches.position = load_training_state(second.folder, state)["position"]
    found = load_file(train(second, state).checkpoint / "training.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_optimizers_differ_in_the_update_alone(make_run) -> None:
    ends = {}
    for name in ("adam_atan2", "adamw"):
        run, state = make_run(1, folder=name, optimizer=name, lr_warmup_steps=0)
        before = state.model.inner.lm_head.weight.detach().clone()
        train(run, state)
        ends[name] = state.model.inner.lm_head.weight.detach() - before
        assert state.network.param_groups[0]["weight_decay"] == 0.1
    # With m = (1 − β1)·g and v such that √v is |g|, the first update is ± lr·atan(0.1)/0.1 for one, ± lr for the other.
    moved = ends["adamw"].abs().median() / ends["adam_atan2"].abs().median()
    assert moved.item() == pytest.approx(0.1 / math.atan(0.1), rel=1e-4)


@pytest.mark.parametrize("core", ["hrm", "trm", "nova"])
def test_activation_checkpointing_changes_no_gradient_dropout_included(make_run, core: str) -> None:
    ends = []
    for on in (False, True):
        run, _ = make_run(4, folder=f"{core}-{on}", activation_checkpointing=on)
        arch = {**run.preset.arch.model_dump(), "core": core, "H_layers": 2, "L_layers": 2, "L_cycles": 2}
        if core == "nova":
            arch["puzzle_emb_ndim"] = 0
        run.preset = run.preset.model_copy(update={"arch": ArchConfig(**arch)})
        state = initial_state(run.preset, run.facts, torch.device("cpu"))
        for _ in range(4):
            train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 4)
        ends.append(state.model.state_dict())
    for name, tensor in ends[0].items():
        assert torch.equal(ends[1][name], tensor), name


def bytes_kept(run, state) -> int:
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        train_one_step(state, as_tensors(next(run.batches)), run.preset.train, 4)
    return kept


def test_activation_checkpointing_keeps_less_for_the_backward_pass(make_run) -> None:
    kept = [
        bytes_kept(*make_run(4, folder=f"kept-{on}", activation_checkpointing=on)) for on in (False, True)
    ]
    assert kept[1] < 0.5 * kept[0]


@pytest.fixture
def trained(make_run):
    run, state = make_run(30, folder="trained", lr=5e-3)
    return run, train(run, state).checkpoint


def test_a_frozen_network_stays_bit_for_bit_while_its_puzzle_embeddings_learn(make_run, trained) -> None:
    run, _ = trained
    _, state = make_run(50, folder="trained", freeze="network", puzzle_emb_lr=1e-2, weight_decay=0.5)
    longer, _ = make_run(50, folder="trained", freeze="network", puzzle_emb_lr=1e-2, weight_decay=0.5)
    longer.batches.position = load_training_state(run.folder, state)["position"]
    freeze(state, longer.preset.train)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    train(longer, state)
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name != "inner.puzzle_emb.weights"), name


def test_frozen_embeddings_are_fitted_to_the_averaged_weights_that_are_published(make_run) -> None:
    run, state = make_run(20, ema_decay=0.9, freeze="network")
    state.average.parameters["inner.lm_head.weight"].fill_(0.5)
    freeze(state, run.preset.train)
    assert (state.model.inner.lm_head.weight == 0.5).all()
    train(run, state)
    assert (state.average.parameters["inner.lm_head.weight"] == 0.5).all()


def test_a_run_starts_from_a_checkpoints_weights_and_its_average_too(make_run, trained) -> None:
    _, checkpoint = trained
    _, state = make_run(5, folder="next", init_from=str(checkpoint), ema_decay=0.9)
    facts = DatasetFacts(vocab_size=6, seq_len=9, num_puzzle_identifiers=3, domain={})
    start_new(state, make_run(5, init_from=str(checkpoint))[0].preset.train, facts)
    published = load_file(checkpoint / "model.safetensors")
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, published[name]), name
    for name, tensor in state.average.parameters.items():
        assert torch.equal(tensor, published[name]), name


def test_new_puzzle_identifiers_start_at_the_mean_of_the_known_ones(make_run, trained) -> None:
    run, checkpoint = trained
    known = load_file(checkpoint / "model.safetensors")["inner.puzzle_emb.weights"]
    facts = DatasetFacts(vocab_size=6, seq_len=9, num_puzzle_identifiers=8, domain={})
    config = run.preset.train.model_copy(update={"init_from": str(checkpoint)})
    state = initial_state(run.preset, facts, torch.device("cpu"))
    start_new(state, config, facts)
    table = state.model.inner.puzzle_emb.weights
    assert torch.equal(table[1:], known[1:].mean(0).expand(7, -1))
    assert (table[0] == 0).all()


def test_invalid_init_from_and_freeze_settings_are_refused_with_an_alternative(make_run, trained) -> None:
    run, checkpoint = trained
    _, fresh = make_run(5, folder="fresh", freeze="network")
    frozen = run.preset.train.model_copy(update={"freeze": "network"})
    with pytest.raises(ConfigError, match=r"random weights.*train.init_from"):
        start_new(fresh, frozen, run.facts)
    fresh.sparse = None
    with pytest.raises(ConfigError, match="puzzle_emb_ndim above 0"):
        freeze(fresh, frozen)
    other = DatasetFacts(vocab_size=9, seq_len=9, num_puzzle_identifiers=3, domain={})
    state = initial_state(run.preset, other, torch.device("cpu"))
    config = run.preset.train.model_copy(update={"init_from": str(checkpoint)})
    with pytest.raises(CheckpointError, match=r"embed_tokens.* has shape \[6, 16\], expected \[9, 16\]"):
        start_new(state, config, other)
