"""Gates between levels, and levels between L and H."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from hrm_cli.accounting.components import trainable_in_closed_form
from hrm_cli.accounting.counting import count_exactly
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.levels import blocks_in_step, level_names, level_updates, update_order
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.core import Depth, InnerCarry
from hrm_cli.models.hrm import HRM
from hrm_cli.models.leveled import LeveledHRM
from hrm_cli.models.registry import build_model

ROWS, VOCABULARY, CELLS = 3, 6, 16
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_heads": 2, "H_layers": 1, "L_layers": 1, "H_cycles": 2, "L_cycles": 3, "expansion": 1,
    "forward_dtype": "float32", "puzzle_emb_ndim": 0,
}  # fmt: skip
KINDS = {
    "gates": {"fusion": "gated"},
    "three levels": {"middle_cycles": [2]},
    "four levels with gates": {"fusion": "gated", "middle_cycles": [2, 3], "middle_layers": 2},
    "three levels of units with gates": {
        "fusion": "gated", "middle_cycles": [2], "mixer": "units", "pos_encodings": "none",
    },
}  # fmt: skip


def built(**settings: Any) -> ACTModel:
    return build_model(
        ArchConfig(**{**SMALL, **settings}), VOCABULARY, CELLS, 1, generator=torch.Generator().manual_seed(0)
    )


def batch() -> PuzzleBatch:
    inputs = torch.randint(1, VOCABULARY, (ROWS, CELLS), generator=torch.Generator().manual_seed(1)).int()
    return PuzzleBatch(inputs, inputs, torch.zeros(ROWS, dtype=torch.int32))


def trained(model: ACTModel, depth: Depth | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits of a training step and the gradients of their sum of squares."""
    model.train()
    model.zero_grad()
    _, out = model.train_step(model.initial_carry(batch()), batch(), depth=depth)
    out.logits.float().square().sum().backward()
    return out.logits.detach(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def as_leveled(model: ACTModel) -> ACTModel:
    """The same HRM, computed by the code for any number of levels."""
    core = LeveledHRM(model.arch, VOCABULARY, CELLS, 1)
    core.load_state_dict(model.inner.state_dict())
    return ACTModel(core)


def open_gates(model: ACTModel) -> None:
    """Gives the gates weights of their own."""
    for name, parameter in model.named_parameters():
        if "_gate." in name:
            torch.nn.init.normal_(parameter.data, std=0.3, generator=torch.Generator().manual_seed(len(name)))


@pytest.mark.parametrize(
    "depth",
    [
        None,
        Depth(2, 3, trains_last_cycle=True),
        Depth(3, 2, trains_last_cycle=True, reaches_back=True),
        Depth(3, 2, trains_all_cycles=True),
    ],
)
def test_two_levels_without_gates_are_hrm_bit_for_bit(depth: Depth | None) -> None:
    model = built()
    assert type(model.inner) is HRM
    logits, gradients = trained(model, depth)
    same, theirs = trained(as_leveled(model), depth)
    assert torch.equal(logits, same)
    assert gradients.keys() == theirs.keys()
    assert all(torch.equal(gradients[name], theirs[name]) for name in gradients)


def test_a_new_gated_model_is_the_plain_model_bit_for_bit_and_its_gates_learn() -> None:
    plain, gated = built(), built(fusion="gated")
    logits, _ = trained(plain)
    same, gradients = trained(gated)
    assert torch.equal(logits, same)
    gates = [name for name in gradients if "_gate." in name]
    assert len(gates) == 6
    assert all(gradients[name].abs().sum() > 0 for name in gates)


def test_gates_weigh_what_a_level_is_handed() -> None:
    model = built(fusion="gated", L_cycles=1, H_cycles=1)
    core = model.inner
    with torch.no_grad():
        core.L_gate.bias.fill_(-100.0)
    inputs = batch().inputs
    carry = core.initial_carry(inputs)
    other = InnerCarry(carry.z_H + 1, carry.z_L)
    # A closed gate: what H hands over no longer reaches L. An open one: it does.
    assert torch.equal(core(carry, inputs, None)[0].z_L, core(other, inputs, None)[0].z_L)
    with torch.no_grad():
        core.L_gate.bias.zero_()
    assert not torch.equal(core(carry, inputs, None)[0].z_L, core(other, inputs, None)[0].z_L)


def test_each_level_is_updated_once_for_so_many_updates_of_the_level_below() -> None:
    assert update_order((2, 2)) == [0, 0, 1, 0, 0, 1]
    assert update_order((2, 1, 2)) == [0, 0, 1, 2, 0, 0, 1, 2]
    assert update_order((1, 2, 3, 1)) == [0, 1, 0, 1, 2] * 3 + [3]


def test_a_step_makes_the_updates_that_the_configuration_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(middle_cycles=[2, 3], middle_layers=2)
    core, arch = model.inner, model.arch
    assert level_updates(arch) == {"L": 36, "M1": 12, "M2": 6, "H": 2}
    updated: list[int] = []
    monkeypatch.setattr(
        core, "module_update", lambda z, injection, blocks: updated.append(len(blocks)) or z + 0 * injection
    )
    core(core.initial_carry(batch().inputs), batch().inputs, None)
    assert len(updated) == 36 + 12 + 6 + 2
    assert sum(updated) == blocks_in_step(arch) == 36 + 2 * (12 + 6) + 2


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_last_update_of_every_level_is_trained(settings: dict[str, Any]) -> None:
    model = built(**settings)
    _, gradients = trained(model)
    unused = {"inner.q_head.weight", "inner.q_head.bias"}
    assert gradients.keys() == {name for name, _ in model.named_parameters()} - unused
    level = {name: g for name, g in gradients.items() if "_level.layers.0.mlp.down" in name}
    assert len(level) == len(level_names(model.arch))
    assert all(g.abs().sum() > 0 for g in level.values())


def test_one_update_of_each_level_is_trained_or_the_whole_last_cycle_or_all_cycles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = built(middle_cycles=[2])
    core = model.inner
    update = core.module_update
    with_gradient: list[bool] = []

    def counted(z: Tensor, injection: Tensor, blocks: Any) -> Tensor:
        with_gradient.append(torch.is_grad_enabled())
        return update(z, injection, blocks)

    monkeypatch.setattr(core, "module_update", counted)
    counts = []
    for depth in (
        Depth(2, 3),
        Depth(2, 3, trains_last_cycle=True),
        Depth(2, 3, trains_all_cycles=True),
    ):
        with_gradient.clear()
        trained(model, depth)
        counts.append(sum(with_gradient))
    assert counts == [3, 2 * 3 + 2 + 1, 2 * (2 * 3 + 2 + 1)]


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_every_number_is_counted(settings: dict[str, Any]) -> None:
    arch = ArchConfig(**{**SMALL, **settings})
    model = built(**settings)
    exact = count_exactly(arch, VOCABULARY, CELLS)
    assert exact.trainable == sum(p.numel() for p in model.parameters())
    assert exact.trainable == trainable_in_closed_form(arch, VOCABULARY, CELLS)
    assert exact.buffers == len(level_names(arch)) * arch.hidden_size
    kinds = {group.name: group.trainable for group in exact.kinds}
    gates = 2 + 2 * len(arch.middle_cycles)
    assert kinds.get("gates", 0) == (gates * (2 * arch.hidden_size + 1) if arch.fusion == "gated" else 0)


def test_middle_states_are_carried_reset_selected_and_joined() -> None:
    model = built(middle_cycles=[2, 2])
    core, inputs = model.inner, batch().inputs
    start = core.initial_carry(inputs)
    assert start.z_M is not None
    assert start.z_M.shape == (ROWS, 2, CELLS, 16)
    assert torch.equal(start.z_M[0, 1, 0], core.M2_init)
    after, _ = core(start, inputs, None)
    assert after.z_M is not None
    assert not torch.equal(after.z_M, start.z_M)
    again = core.reset(after, torch.tensor([False, True, False]))
    assert torch.equal(again.z_M[1], start.z_M[1])
    assert torch.equal(again.z_M[0], after.z_M[0])
    parts = [after.select(slice(0, 1)), after.select(torch.tensor([1, 2]))]
    assert torch.equal(InnerCarry.joined(parts).z_M, after.z_M)
    # What the middle levels know decides the next step.
    blank = InnerCarry(after.z_H, after.z_L, torch.zeros_like(after.z_M))
    assert not torch.equal(core(after, inputs, None)[1].logits, core(blank, inputs, None)[1].logits)


@pytest.mark.parametrize("mode", ["on", "cudagraphs"])
def test_a_compiled_step_agrees(mode: str) -> None:
    model = built(fusion="gated", middle_cycles=[2], L_cycles=1, H_cycles=1, q_continue=False)
    open_gates(model)
    expected, gradients = trained(model)
    compile_updates(model, mode, backend="eager")
    found, theirs = trained(model)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(theirs, gradients, rtol=1e-3, atol=1e-3)


def test_activation_checkpointing_does_not_change_the_gradient() -> None:
    model = built(**KINDS["four levels with gates"])
    open_gates(model)
    _, gradients = trained(model)
    model.core.recomputes_activations = True
    _, theirs = trained(model)
    torch.testing.assert_close(theirs, gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"core": "trm", "fusion": "gated"}, "fusion works only with core hrm"),
        ({"core": "nova", "middle_cycles": [2]}, "middle_cycles works only with core hrm"),
        ({"middle_cycles": [0]}, "every number must be 1 to 1,024"),
        ({"middle_layers": 2}, "there is no middle level"),
        ({"middle_cycles": [1000, 1000]}, "blocks in one ACT step"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ArchConfig(**{**SMALL, **settings})


def test_numbers_of_cycles_are_read_as_users_write_them() -> None:
    for written in (2, "2", [2], "[2]"[1:-1], (2,)):
        assert ArchConfig(**SMALL, middle_cycles=written).middle_cycles == (2,)
    assert ArchConfig(**SMALL, middle_cycles="2,3").middle_cycles == (2, 3)
    assert ArchConfig(**SMALL, middle_cycles=None).middle_cycles == ()
