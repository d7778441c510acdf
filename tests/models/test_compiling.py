"""Compiled updates: the same numbers, and a way on where there is no compiler."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.schema import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.registry import build_model


def small(core: str) -> ACTModel:
    arch = ArchConfig(
        core=core, hidden_size=32, num_heads=2, H_layers=1, L_layers=1, puzzle_emb_ndim=0, mlp_t=core == "trm",
        pos_encodings="none" if core == "trm" else "rope", forward_dtype="float32", halt_exploration_prob=0,
    )  # fmt: skip
    return build_model(arch, 7, 9, 1, generator=torch.Generator().manual_seed(0))


def trained(model: ACTModel) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randint(0, 7, (4, 9), generator=generator, dtype=torch.int32)
    batch = PuzzleBatch(inputs, inputs, torch.zeros(4, dtype=torch.int32))
    model.train()
    _, out = model.train_step(model.initial_carry(batch), batch)
    out.logits.square().sum().backward()
    return out.logits.detach(), model.inner.L_level.layers[0].mlp.down_proj.weight.grad


@pytest.mark.slow
def test_compiled_updates_give_the_same_logits_and_gradients() -> None:
    plain, compiled = small("trm"), small("trm")
    compile_updates(compiled, "on")
    for expected, found in zip(trained(plain), trained(compiled), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def no_compiler(*_: object) -> None:
    raise RuntimeError("no C++ compiler was found")


def test_where_nothing_can_be_compiled_auto_goes_on_without_and_says_so() -> None:
    model = small("hrm")
    compile_updates(model, "on")
    compiled = model.inner.compiled_update.block_update
    compiled._mode, compiled._compiled = "auto", no_compiler
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler was found.*goes on without it"):
        logits, _ = trained(model)
    torch.testing.assert_close(logits, trained(small("hrm"))[0])


def test_where_nothing_can_be_compiled_asking_for_it_is_an_error_that_names_the_key() -> None:
    model = small("hrm")
    compile_updates(model, "on")
    model.inner.compiled_update.block_update._compiled = no_compiler
    with pytest.raises(ConfigError, match=r"train\.compile: torch\.compile failed \(no C\+\+ compiler"):
        trained(model)


def test_on_a_processor_auto_compiles_nothing() -> None:
    model = small("hrm")
    compile_updates(model, "auto")
    assert model.inner.compiled_update is None
