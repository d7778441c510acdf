"""A CPU's own blocks give what the blocks of `layers` give: outputs and gradients, in every arrangement."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import is_structured
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.cpu.pieces import Prepacked
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.registry import build_model

VOCABULARY, CELLS, ROWS = 7, 21, 24
UNITS = {"mixer": "units", "pos_encodings": "none", "num_heads": 3}
ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "rope": {"puzzle_emb_ndim": 40},
    "no rotation": {"pos_encodings": "learned", "puzzle_emb_ndim": 0},
    "heads of odd size": {"pos_encodings": "learned", "hidden_size": 45},
    "QK norm": {"qk_norm": True},
    "QK norm, no rotation": {"qk_norm": True, "pos_encodings": "learned", "hidden_size": 45, "core": "trm"},
    "several blocks": {"H_layers": 3, "L_layers": 2},
    "token mixing": {"core": "trm", "mlp_t": True, "pos_encodings": "none"},
    "token mixing in hrm": {"mixer": "mlp", "pos_encodings": "none", "H_cycles": 2},
    "units": {**UNITS, "H_cycles": 2},
    "units everywhere with attention": {**UNITS, "core": "trm", "L_cycles": 2},
    "units, several blocks": {**UNITS, "H_layers": 2, "L_layers": 2},
    "neighbors": {"mixer": "neighbors", "pos_encodings": "none", "H_cycles": 2},
    "neighbors in trm": {"mixer": "neighbors", "pos_encodings": "none", "core": "trm", "L_cycles": 2},
    "edges": {"mixer": "edges", "pos_encodings": "none", "H_cycles": 2},
    "edges in trm": {"mixer": "edges", "pos_encodings": "none", "core": "trm", "L_cycles": 2},
    "grid in trm": {"mixer": "grid", "pos_encodings": "none", "core": "trm", "L_cycles": 2},
    "trm with attention": {"core": "trm", "H_cycles": 2, "L_cycles": 2},
}


def made(settings: dict[str, Any], dtype: str) -> ACTModel:
    arch = ArchConfig(
        **{
            "hidden_size": 48,
            "num_heads": 3,
            "H_layers": 1,
            "L_layers": 1,
            "forward_dtype": dtype,
            **settings,
        }
    )
    # Units and grids are those of Sudoku, 6×6.
    vocabulary, cells = (8, 36) if is_structured(arch.mixer) else (VOCABULARY, CELLS)
    model = build_model(arch, vocabulary, cells, 4, generator=torch.Generator().manual_seed(0))
    if arch.halting == "q_learning":
        # A head of zeros, as it starts, would hide every difference.
        torch.nn.init.normal_(model.inner.q_head.weight, generator=torch.Generator().manual_seed(3))
    for name, parameter in model.named_parameters():
        if name.endswith(("pair_bias", "qk_scale")):
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(4))
    return model.train()


def puzzles(model: ACTModel) -> PuzzleBatch:
    generator, core = torch.Generator().manual_seed(1), model.inner
    shape = (ROWS, core.seq_len)
    inputs = torch.randint(1, core.vocab_size, shape, generator=generator, dtype=torch.int32)
    return PuzzleBatch(inputs, inputs, torch.arange(ROWS, dtype=torch.int32) % 4)


def step(model: ACTModel) -> dict[str, Tensor]:
    """Outputs and gradients of one training step."""
    batch = puzzles(model)
    _, out = model.train_step(model.initial_carry(batch), batch)
    weights = torch.randn(out.logits.shape, generator=torch.Generator().manual_seed(2))
    ((out.logits.float() * weights).sum() + out.q_halt.sum() + out.q_continue.sum()).backward()
    found = {"logits": out.logits, "q_halt": out.q_halt}
    if out.target_q_continue is not None:
        found["target of going on"] = out.target_q_continue
    return found | {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("settings", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_fused_blocks_in_float32_have_the_outputs_and_gradients_of_the_portable_ones(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = step(made(settings, "float32"))
    monkeypatch.setattr(RecurrentCore, "_has_cpu_blocks", False)
    expected = step(made(settings, "float32"))
    assert found.keys() == expected.keys()
    for name, theirs in expected.items():
        assert (found[name] - theirs).norm() <= 2e-5 * theirs.norm(), name


@pytest.mark.parametrize("settings", ARRANGEMENTS.values(), ids=ARRANGEMENTS)
def test_fused_blocks_in_bfloat16_are_as_close_to_float32_as_the_portable_ones(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, found = step(made(settings, "float32")), step(made(settings, "bfloat16"))
    monkeypatch.setattr(RecurrentCore, "_has_cpu_blocks", False)
    portable = step(made(settings, "bfloat16"))
    for name, truth in exact.items():
        ours, theirs = ((one[name].float() - truth).norm() for one in (found, portable))
        few = truth.numel() == ROWS  # of few numbers the rounding of some decides
        assert ours <= (3 if few else 1.5) * theirs + 0.01 * truth.norm(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_prepacked_weights_multiply_like_plain_ones(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator).to(dtype) for shape in ((2, 5, 64), (96, 64)))
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    exact = x.double() @ weight.double().T
    torch.testing.assert_close(Prepacked(weight).matmul(x).double(), exact, **tolerance)


@pytest.mark.parametrize("settings", [ARRANGEMENTS[one] for one in ("rope", "several blocks", "units")])
def test_computing_only_q_values_gives_those_of_the_whole_step(settings: dict[str, Any]) -> None:
    model = made(settings, "float32")
    batch = puzzles(model)
    with torch.no_grad():
        carry, rows = model.core.initial_carry(batch.inputs), model.puzzle_rows(batch.puzzle_identifiers)
        _, whole = model.core(carry, batch.inputs, rows)
        _, values = model.core(carry, batch.inputs, rows, with_logits=False)
    assert values.logits is None
    torch.testing.assert_close(values.q_halt, whole.q_halt)
    torch.testing.assert_close(values.q_continue, whole.q_continue)
