"""Muon: which parameters it trains, its rates, its state in a checkpoint, and old versions of torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from hrm_cli.accounting.components import components
from hrm_cli.accounting.memory import moment_numbers
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.registry import build_model
from hrm_cli.training import muon
from hrm_cli.training.loop import train
from hrm_cli.training.muon import MuonWithAdamATan2, block_matrices, check_muon
from hrm_cli.training.optimizers import AdamATan2, network_optimizer, optimizer_choice
from hrm_cli.training.resuming import load_training_state

needs_muon = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is new in torch 2.9"
)
SMALL: dict[str, Any] = {"hidden_size": 16, "num_heads": 2, "H_layers": 1, "L_layers": 1}


def pair(lr: float = 0.01, **more: Any) -> tuple[torch.nn.Parameter, torch.nn.Parameter, MuonWithAdamATan2]:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn(6, 4, generator=generator))
    vector = torch.nn.Parameter(torch.randn(3, generator=generator))
    config = TrainConfig(optimizer="muon", lr=lr, **more)
    optimizer = network_optimizer([matrix, vector], config, [matrix])
    assert isinstance(optimizer, MuonWithAdamATan2)
    return matrix, vector, optimizer


@pytest.mark.parametrize(
    "more",
    [
        {"qk_norm": True, "position_tables": True},
        {"core": "trm", "mlp_t": True, "pos_encodings": "none"},
        {"mixer": "units", "pos_encodings": "none"},
        {"core": "nova"},
        {"middle_cycles": [2], "fusion": "gated"},
    ],
)
def test_the_matrices_are_those_of_blocks_alone(more: dict[str, Any]) -> None:
    model = build_model(ArchConfig(**{**SMALL, **more}), 6, 16, 1)
    found = {id(p) for p in block_matrices(model)}
    names = {name for name, p in model.named_parameters() if id(p) in found}
    assert all("_level.layers.0." in name or "_layers.0." in name for name in names)
    others = [name for name, _ in model.named_parameters() if name not in names]
    assert not any(name.endswith(("proj.weight", "linear1.weight", "linear2.weight")) for name in others)
    assert any("embed" in name for name in others)


@needs_muon
@settings(max_examples=20, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_an_update_of_a_matrix_is_orthogonal_whatever_the_size_of_its_gradient(size: float) -> None:
    matrix, vector, optimizer = pair(lr=0.01, weight_decay=0)
    before = matrix.detach().clone()
    matrix.grad = size * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    vector.grad = torch.ones(3)
    optimizer.step()
    moved = (before - matrix.detach()) / (0.01 * 0.2 * 6**0.5)
    # Five Newton-Schulz steps bring the singular values to about 1, not to 1.
    assert ((torch.linalg.svdvals(moved) - 1).abs() < 0.45).all()


@needs_muon
def test_rate_and_weight_decay_apply_to_both() -> None:
    matrix, vector, optimizer = pair(weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = matrix.detach().clone(), vector.detach().clone()
    matrix.grad, vector.grad = torch.zeros(6, 4), torch.zeros(3)
    optimizer.step()
    for parameter, old in zip((matrix, vector), before, strict=True):
        assert torch.allclose(parameter.detach(), old * (1 - 0.1 * 0.5))


@needs_muon
def test_the_optimizer_reports_both_names() -> None:
    _, _, optimizer = pair()
    assert optimizer_choice(optimizer) == "Muon for 1 matrices of blocks, AdamATan2 for the rest"


@needs_muon
def test_a_run_with_muon_resumes_exactly(make_run) -> None:
    whole, state = make_run(8, folder="whole", optimizer="muon")
    expected = load_file(train(whole, state).checkpoint / "training.safetensors")
    assert any(name.endswith("momentum_buffer") for name in expected)
    first, state = make_run(3, folder="parts", optimizer="muon")
    train(first, state)
    second, state = make_run(8, folder="parts", optimizer="muon")
    second.batches.position = load_training_state(second.folder, state)["position"]
    found = load_file(train(second, state).checkpoint / "training.safetensors")
    assert {*found} == {*expected}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@needs_muon
@pytest.mark.parametrize(
    ("before", "after"), [("adam_atan2", "muon"), ("muon", "adam_atan2"), ("muon", "adamw")]
)
def test_a_resumed_run_may_change_the_optimizer(make_run, before: str, after: str) -> None:
    run, state = make_run(2, folder="changed", optimizer=before)
    train(run, state)
    run, state = make_run(4, folder="changed", optimizer=after)
    run.batches.position = load_training_state(run.folder, state)["position"]
    train(run, state)
    kinds = {kind for entry in state.network.state.values() for kind in entry}
    assert ("momentum_buffer" in kinds) == (after == "muon")
    assert all(p.isfinite().all() for p in state.model.parameters())


def test_an_older_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    check_muon(TrainConfig())
    with pytest.raises(
        ConfigError, match=r"muon needs torch 2\.9 or newer, found .*train\.optimizer=adam_atan2"
    ):
        check_muon(TrainConfig(optimizer="muon"))


@needs_muon
def test_a_core_without_matrices_of_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="this core has none"):
        network_optimizer([torch.nn.Parameter(torch.zeros(2))], TrainConfig(optimizer="muon"))


@needs_muon
def test_the_ledger_counts_the_moments_of_muon() -> None:
    arch = ArchConfig(**SMALL)
    model = build_model(arch, 6, 16, 1, generator=torch.Generator().manual_seed(0))
    parts = components(arch, 6, 16)
    for name in ("muon", "adam_atan2"):
        config = TrainConfig(optimizer=name)
        matrices = block_matrices(model) if name == "muon" else ()
        optimizer = network_optimizer(list(model.parameters()), config, matrices)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        stored = sum(
            tensor.numel()
            for entry in optimizer.state.values()
            for kind, tensor in entry.items()
            if kind != "step"
        )
        assert moment_numbers(parts, name) == stored
    assert isinstance(optimizer, AdamATan2)
    assert muon.MOMENTUM == 0.95
