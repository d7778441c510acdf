"""The `units` mixer: equivariance, one set of weights for every size, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import CoreOutput
from hrm_cli.models.registry import build_model
from hrm_cli.models.rng import StepRNG
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.training.objectives import Progress, deep_supervision

UNITS: dict[str, Any] = {
    "mixer": "units", "hidden_size": 16, "num_heads": 2, "H_layers": 1, "L_layers": 1, "L_cycles": 2,
    "pos_encodings": "none", "forward_dtype": "float32", "expansion": 1,
}  # fmt: skip


def units_model(size: int, **more: Any) -> ACTModel:
    """A model with random weights, also in its Q head."""
    domain = SudokuDomain(size)
    generator = torch.Generator().manual_seed(3)
    arch = ArchConfig(**{**UNITS, **more})
    model = build_model(arch, domain.vocab_size, domain.seq_len, 1, generator=generator)
    with torch.no_grad():
        model.inner.q_head.weight.normal_(generator=generator)
        for name, parameter in model.named_parameters():
            if name.endswith("pair_bias"):
                parameter.normal_(std=0.5, generator=generator)
    return model


def answers(model: ACTModel, tokens: np.ndarray, steps: int = 1) -> CoreOutput:
    inputs = torch.from_numpy(tokens.astype(np.int32))
    carry = model.core.initial_carry(inputs)
    with torch.no_grad():
        for _ in range(steps):
            carry, out = model.core(carry, inputs, None)
    return out


@pytest.mark.parametrize("core", ["hrm", "trm"])
@given(size=st.sampled_from([4, 6, 9]), seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_outputs_permute_with_every_symmetry_of_sudoku(core: str, size: int, seed: int) -> None:
    model, domain, rng = units_model(size, core=core), SudokuDomain(size), np.random.default_rng(seed)
    tokens = rng.integers(1, domain.vocab_size, domain.seq_len).astype(np.uint8)
    symmetries = domain.sample_symmetries(rng, 4)
    plain, moved = answers(model, tokens[None]), answers(model, symmetries.apply(tokens))
    assert plain.logits is not None
    assert moved.logits is not None
    logits = plain.logits[0].numpy()
    for row in range(len(symmetries)):
        expected = np.empty_like(logits)
        expected[:, symmetries.tokens[row]] = logits[symmetries.cells[row]]
        np.testing.assert_allclose(moved.logits[row].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(moved.q_halt, plain.q_halt.expand(4), atol=1e-5, rtol=1e-5)


def test_the_weights_of_a_units_model_load_into_a_model_of_another_size() -> None:
    nine, four = units_model(9), units_model(4)
    four.load_state_dict(nine.state_dict())
    assert four.core.seq_len == 16


def test_only_the_slow_module_of_hrm_attends_between_cells() -> None:
    names = [name for name, _ in units_model(4).named_parameters() if "o_proj" in name]
    assert names == ["inner.H_level.layers.0.units.o_proj.weight"]


def test_tokens_that_are_not_digits_are_never_in_an_answer() -> None:
    model = units_model(4)
    out = answers(model, np.ones((3, 16), np.uint8))
    assert out.logits is not None
    assert out.logits.argmax(-1).min() >= 2


def test_information_reaches_cells_that_share_no_unit_through_other_cells() -> None:
    # One round of messages goes along units; attention reaches everywhere, so it is shut here.
    model = units_model(9, H_cycles=1, L_cycles=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("o_proj.weight"):
                parameter.zero_()
    blank = np.ones((1, 81), np.uint8)
    given = blank.copy()
    given[0, 0] = 5
    # An L update and an H update are two rounds of messages: enough from row 1, column 1 to row 9, column 9.
    first = answers(model, blank, steps=1), answers(model, given, steps=1)
    assert first[0].logits is not None
    assert first[1].logits is not None
    assert not torch.allclose(first[0].logits[0, 80], first[1].logits[0, 80])


def test_the_gradient_reaches_all_updates_of_the_last_cycle_or_only_the_last_ones() -> None:
    model = units_model(4, L_cycles=3)
    tokens = torch.randint(1, 6, (2, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    batch = PuzzleBatch(tokens, tokens.clamp(min=2), torch.zeros(2, dtype=torch.int32))
    gradients = []
    for rule in ("last_updates", "last_cycle"):
        config = TrainConfig(gradient=rule)
        _, out = deep_supervision(model, None, batch, config, StepRNG(None, 2), Progress())
        model.zero_grad()
        out.loss.backward()
        gradients.append(model.inner.L_level.layers[0].mlp.down_proj.weight.grad.clone())
    assert not torch.allclose(*gradients)


def test_staggered_rows_take_new_puzzles_at_different_steps() -> None:
    model = units_model(4, halt_max_steps=8, q_continue=False)
    with torch.no_grad():
        model.inner.q_head.bias.fill_(-1e4)  # no row halts by itself
    tokens = torch.randint(1, 6, (32, 16), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    batch = PuzzleBatch(tokens, tokens.clamp(min=2), torch.zeros(32, dtype=torch.int32))
    generator = torch.Generator().manual_seed(0)
    halted = {}
    for stagger in (False, True):
        carry = None
        config, rows = TrainConfig(stagger=stagger), []
        for _ in range(8):
            carry, _ = deep_supervision(model, carry, batch, config, StepRNG(generator, 32), Progress())
            rows.append(int((carry.steps >= 8).sum()))
        halted[stagger] = rows
    assert halted[False] == [0] * 7 + [32]
    assert sum(count > 0 for count in halted[True]) >= 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"core": "nova"}, "cores hrm and trm"),
        ({"puzzle_emb_ndim": 16}, "puzzle_emb_ndim=0"),
        ({"pos_encodings": "rope"}, "pos_encodings=none"),
        ({"tied_output": True}, "tied_output=false"),
        ({"hidden_size": 20, "num_heads": 4}, "multiple of 8"),
        ({"mlp_t": True, "core": "trm"}, "mlp_t requires mixer mlp"),
    ],
)
def test_settings_that_do_not_go_with_units_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ArchConfig(**{**UNITS, **change})


def test_a_domain_without_relations_is_refused() -> None:
    with pytest.raises(ConfigError, match="units needs a domain that declares relations"):
        build_model(ArchConfig(**UNITS), 6, 900, 1)


def test_mlp_t_and_mixer_mlp_mean_the_same() -> None:
    assert ArchConfig(core="trm", mlp_t=True) == ArchConfig(core="trm", mixer="mlp")
