"""`train.l_distill_weight`: L's state is trained toward H's answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.training.objectives import Progress, Supervised, objective_of

VOCABULARY, CELLS = 6, 16


def term(core: str = "hrm", objective: str = "deep_supervision") -> tuple[Any, Tensor | None, Tensor]:
    """A model, the term of a training step, and the logits of that step."""
    arch = ArchConfig(
        core=core,
        hidden_size=16,
        num_heads=2,
        H_layers=1,
        L_layers=1,
        puzzle_emb_ndim=0,
        forward_dtype="float32",
    )
    model = build_model(arch, VOCABULARY, CELLS, 1, generator=torch.Generator().manual_seed(0)).train()
    model.inner.reads_L = True
    inputs = torch.randint(1, VOCABULARY, (3, CELLS), generator=torch.Generator().manual_seed(1)).int()
    batch = PuzzleBatch(inputs, inputs, torch.zeros(3, dtype=torch.int32))
    config = TrainConfig(objective=objective, l_distill_weight=1.0)
    rng = StepRNG(torch.Generator().manual_seed(2), 3)
    _, out = objective_of(model, config)(model, None, batch, config, rng, Progress())
    return model, out.l_distillation(config.loss), out.logits


@pytest.mark.parametrize("objective", ["deep_supervision", "rsm"])
def test_the_term_trains_the_fast_module_alone(objective: str) -> None:
    model, loss, _ = term(objective=objective)
    assert loss is not None
    assert loss > 0
    loss.backward()
    core = model.inner
    assert core.L_level.layers[0].mlp.down_proj.weight.grad.abs().sum() > 0
    assert core.lm_head.weight.grad is None
    if objective == "deep_supervision":
        assert all(p.grad is None for p in core.H_level.parameters())


def test_a_shared_module_learns_it_too() -> None:
    model, loss, _ = term("trm")
    assert loss is not None
    loss.backward()
    assert model.inner.L_level.layers[0].mlp.down_proj.weight.grad.abs().sum() > 0


def test_the_term_is_zero_if_both_answers_are_equal() -> None:
    _, _, logits = term()
    config = TrainConfig()
    inputs = torch.ones(3, CELLS, dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(3, dtype=torch.int32))
    same = Supervised(logits.sum(), {}, batch, logits, torch.ones(3), None, logits.detach())
    assert same.l_distillation(config.loss).abs() < 1e-6


def test_nothing_is_read_from_the_fast_state_at_inference_or_by_default() -> None:
    model, _, _ = term()
    model.eval()
    inputs = torch.ones(2, CELLS, dtype=torch.int32)
    core = model.inner
    assert core(core.initial_carry(inputs), inputs, None)[1].l_logits is None
    model.train()
    assert core(core.initial_carry(inputs), inputs, None)[1].l_logits is not None
    core.reads_L = False
    assert core(core.initial_carry(inputs), inputs, None)[1].l_logits is None


def test_it_is_refused_for_other_cores() -> None:
    with pytest.raises(ValidationError, match="works only with the cores hrm and trm"):
        Preset.model_validate(
            {"arch": {"core": "nova", "puzzle_emb_ndim": 0}, "train": {"l_distill_weight": 0.1}}
        )
