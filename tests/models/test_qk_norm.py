"""QK norm: bounded scores, a factor for every head, and refusal where there is no attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hrm_cli.accounting.counting import count_exactly
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.choices import choices
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.layers import AttentionWeights, attention_weights, rotary_tables, self_attention
from hrm_cli.models.registry import build_model

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_heads": 4, "H_layers": 1, "L_layers": 1, "halt_max_steps": 2, "forward_dtype": "float32",
    "puzzle_emb_ndim": 0, "halt_exploration_prob": 0,
}  # fmt: skip


def made(**more: Any) -> ACTModel:
    arch = ArchConfig(**{**SMALL, **more})
    return build_model(arch, 6, 16, 1, generator=torch.Generator().manual_seed(0))


def puzzles() -> PuzzleBatch:
    inputs = torch.randint(1, 6, (3, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(1))
    return PuzzleBatch(inputs, inputs, torch.zeros(3, dtype=torch.int32))


def weights(scale: torch.Tensor, size: float = 1.0) -> AttentionWeights:
    generator = torch.Generator().manual_seed(0)
    qkv = size * torch.randn(24, 8, generator=generator)
    return AttentionWeights(qkv, torch.randn(8, 8, generator=generator), scale)


@settings(max_examples=20)
@given(st.floats(0.1, 100))
def test_attention_does_not_depend_on_the_size_of_queries_and_keys(size: float) -> None:
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2))
    rotary = rotary_tables(5, 4, 10_000.0)
    expected = attention_weights(x, weights(torch.ones(2)), 2, rotary)
    assert torch.allclose(attention_weights(x, weights(torch.ones(2), size), 2, rotary), expected, atol=1e-4)


def test_a_head_with_factor_0_attends_to_all_positions_alike() -> None:
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2))
    found = attention_weights(x, weights(torch.tensor([0.0, 8.0])), 2, None)
    assert torch.allclose(found[:, 0], torch.full((2, 5, 5), 0.2))
    assert found[:, 1].amax(-1).mean() > 0.6


def test_the_weights_are_those_that_self_attention_uses() -> None:
    x, own = (
        torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2)),
        weights(torch.tensor([0.5, 2.0])),
    )
    rotary = rotary_tables(5, 4, 10_000.0)
    values = (x @ own.qkv[16:].T).view(2, 5, 2, 4)
    found = attention_weights(x, own, 2, rotary)
    mixed = torch.einsum("bnqk,bknd->bqnd", found, values).reshape(2, 5, 8) @ own.out.T
    assert torch.allclose(mixed, self_attention(x, own, 2, rotary), atol=1e-5)


@pytest.mark.parametrize("core", ["hrm", "trm"])
def test_all_other_weights_start_as_without_qk_norm(core: str) -> None:
    plain, normed = made(core=core).state_dict(), made(core=core, qk_norm=True).state_dict()
    added = {*normed} - {*plain}
    assert added == {
        f"inner.{module}_level.layers.0.self_attn.qk_scale" for module in ("HL" if core == "hrm" else "L")
    }
    assert all(torch.equal(normed[name], torch.zeros(4)) for name in added)
    assert all(torch.equal(normed[name], tensor) for name, tensor in plain.items())
    arch = ArchConfig(**{**SMALL, "core": core, "qk_norm": True})
    assert count_exactly(arch, 6, 16).state_dict == sum(t.numel() for t in normed.values())


@pytest.mark.parametrize("mode", ["on", "cudagraphs"])
def test_compiled_updates_give_the_same_gradients(mode: str) -> None:
    found = []
    for compiled in (False, True):
        model = made(qk_norm=True, position_tables=True).train()
        if compiled:
            compile_updates(model, mode, backend="eager")
        _, out = model.train_step(model.initial_carry(puzzles()), puzzles())
        out.logits.square().sum().backward()
        scale = model.inner.H_level.layers[0].self_attn.qk_scale
        found.append((out.logits.detach(), scale.grad, model.inner.position_tables.embedding_weight.grad))
        assert scale.grad.abs().min() > 0
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_model_reports_qk_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choices(made(qk_norm=True))["attention"].endswith("with QK norm")
    assert "QK norm" not in choices(made())["attention"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"core": "nova"}, "qk_norm works only with the cores hrm and trm, but core is nova"),
        ({"core": "trm", "mixer": "mlp"}, "qk_norm works only with mixer attention, but mixer is mlp"),
        ({"mixer": "units", "pos_encodings": "none"}, "qk_norm works only with mixer attention, but mixer is units"),
    ],
)  # fmt: skip
def test_models_without_attention_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArchConfig(**{**SMALL, **more, "qk_norm": True})
