"""TRM and nova: what sets them apart from HRM, and that the same wrapper serves them."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from hrm_cli.accounting.counting import count_exactly
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.core import CoreOutput
from hrm_cli.models.nova import EncoderLayer
from hrm_cli.models.registry import build_model


def seeded(arch: ArchConfig) -> ACTModel:
    return build_model(arch, 7, 20, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def nova_arch() -> ArchConfig:
    return ArchConfig(
        core="nova", hidden_size=32, num_heads=4, H_layers=2, L_layers=1, halt_max_steps=5, puzzle_emb_ndim=0,
        forward_dtype="float32",
    )  # fmt: skip


def trm_arch(**more) -> ArchConfig:
    return ArchConfig(
        core="trm", hidden_size=512, L_layers=2, H_cycles=3, L_cycles=6, puzzle_emb_len=16, **more
    )


def test_trm_counts_are_those_of_its_paper() -> None:
    assert count_exactly(trm_arch(mlp_t=True, pos_encodings="none"), 11, 81).trainable == 5_028_866
    assert count_exactly(trm_arch(), 6, 900).trainable == 6_822_914
    assert count_exactly(trm_arch(), 12, 900).trainable == 6_829_058


@pytest.mark.parametrize(
    ("name", "shape", "trainable", "arch", "train"),
    [
        (
            "trm-sudoku", (11, 81), 5_028_866, {"mlp_t": True, "L_cycles": 6, "pos_encodings": "none"},
            {"lr": 1e-4, "puzzle_emb_lr": 1e-4, "weight_decay": 1.0, "puzzle_emb_weight_decay": 1.0, "epochs": 50_000},
        ),
        (
            "trm-maze", (6, 900), 6_822_914, {"mlp_t": False, "L_cycles": 4, "pos_encodings": "rope"},
            {"lr": 1e-4, "puzzle_emb_lr": 1e-4, "weight_decay": 1.0, "puzzle_emb_weight_decay": 1.0, "epochs": 50_000},
        ),
        (
            "trm-arc", (12, 900), 6_829_058, {"mlp_t": False, "L_cycles": 4, "pos_encodings": "rope"},
            {"lr": 1e-4, "puzzle_emb_lr": 1e-2, "weight_decay": 0.1, "puzzle_emb_weight_decay": 0.1, "epochs": 100_000},
        ),
    ],
)  # fmt: skip
def test_trm_presets_are_the_published_runs(name, shape, trainable, arch, train) -> None:
    preset = load_preset(name)
    assert count_exactly(preset.arch, *shape).trainable == trainable
    common = {"core": "trm", "hidden_size": 512, "L_layers": 2, "H_cycles": 3, "puzzle_emb_len": 16}
    for key, value in {**common, **arch}.items():
        assert getattr(preset.arch, key) == value, key
    for key, value in {**train, "global_batch_size": 768, "ema_decay": 0.999}.items():
        assert getattr(preset.train, key) == value, key


def test_trm_stores_one_module_and_has_no_q_continue(batch: PuzzleBatch) -> None:
    model = seeded(
        trm_arch(mlp_t=True, pos_encodings="none").model_copy(
            update={"hidden_size": 32, "num_heads": 4, "puzzle_emb_ndim": 32}
        )
    )
    assert not any("H_level" in name for name in model.state_dict())
    assert any("mlp_t" in name for name in model.state_dict())
    _, out = model.train_step(model.initial_carry(batch), batch)
    assert out.target_q_continue is None


def test_hrm_without_the_continue_head_saves_the_second_forward_pass(
    arch: ArchConfig, batch: PuzzleBatch
) -> None:
    model = seeded(arch.model_copy(update={"q_continue": False}))
    calls = []
    model.inner.register_forward_hook(lambda *_: calls.append(1))
    carry, out = model.train_step(model.initial_carry(batch), batch)
    assert len(calls) == 1
    assert out.target_q_continue is None
    assert not carry.halted.any()  # the bias of −5 says: do not halt yet


def test_token_mixing_is_refused_for_nova() -> None:
    with pytest.raises(ValidationError, match="mixer mlp works only with the cores hrm and trm"):
        ArchConfig(core="nova", mlp_t=True)


def test_an_hrm_with_token_mixing_has_two_modules_and_can_be_trained(batch: PuzzleBatch) -> None:
    arch = ArchConfig(
        mixer="mlp",
        hidden_size=32,
        num_heads=2,
        H_layers=1,
        L_layers=1,
        pos_encodings="none",
        halt_max_steps=4,
    )
    model = seeded(arch)
    mixing = {name.split(".")[1] for name in model.state_dict() if "mlp_t" in name}
    assert mixing == {"H_level", "L_level"}
    _, out = model.train_step(model.initial_carry(batch), batch)
    out.logits.float().logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        if "mlp_t" in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_nova_is_the_model_that_was_published_twice_under_two_counts() -> None:
    count = count_exactly(load_preset("nova").arch, 12, 900)
    assert (count.trainable, count.state_dict) == (5_667_597, 6_947_597)


def test_nova_halts_not_before_the_second_cycle_and_then_on_the_batchs_mean(nova_arch: ArchConfig) -> None:
    sure, unsure = torch.tensor([9.0, 9.0, 9.0]), torch.tensor([9.0, 9.0, -9.0])
    mean = seeded(nova_arch).core
    assert not mean.halts(1, CoreOutput(None, sure, sure)).any()
    assert mean.halts(2, CoreOutput(None, sure, sure)).all()
    assert not mean.halts(2, CoreOutput(None, unsure, unsure)).any()
    per_row = seeded(nova_arch.model_copy(update={"nova_halting": "per_row"})).core
    assert per_row.halts(2, CoreOutput(None, unsure, unsure)).tolist() == [True, True, False]


@pytest.mark.parametrize("preset", ["tiny", "nova"])
def test_the_halt_threshold_is_a_setting(preset: str) -> None:
    arch = load_preset(preset, ["arch.hidden_size=16", "arch.num_heads=2"]).arch
    more = {"nova_halting": "per_row"} if preset == "nova" else {}
    probabilities = torch.tensor([0.59, 0.61, 0.89, 0.91, 0.97, 0.99])
    for threshold, count in ((0.6, 5), (0.9, 3), (0.98, 1), (None, 3 if preset == "nova" else 1)):
        core = seeded(arch.model_copy(update={**more, "halt_threshold": threshold})).core
        assert core.halts(2, CoreOutput(None, probabilities.logit(), probabilities)).sum() == count


def test_novas_training_runs_the_same_cycles_as_its_inference(
    nova_arch: ArchConfig, batch: PuzzleBatch
) -> None:
    model = seeded(nova_arch.model_copy(update={"nova_halting": "per_row", "dropout": 0.0}))
    with torch.no_grad():
        model.inner.halt_predictor.weight.normal_(generator=torch.Generator().manual_seed(4))
        # Shifted so that half of the rows halt at the second cycle, with the threshold between two of their values.
        second = [
            step.q_halt for step in model.infer(batch.inputs, batch.puzzle_identifiers, 2, adaptive=False)
        ][1]
        model.inner.halt_predictor.bias += math.log(9) - second.sort().values[2:4].mean()
    answers = torch.empty(6, 20, dtype=torch.int64)
    steps = torch.empty(6, dtype=torch.int64)
    for step in model.infer(batch.inputs, batch.puzzle_identifiers, 5, adaptive=True):
        answers[step.rows[step.finished]] = step.predictions[step.finished]
        steps[step.rows[step.finished]] = step.step
    assert len(set(steps.tolist())) > 1
    model.train()
    _, metrics, logits = model.inner.training_loss(batch.inputs, batch.labels, "softmax_cross_entropy")
    assert torch.equal(logits.argmax(-1), answers)
    assert metrics["steps"].item() == steps.sum().item()


def test_novas_loss_adds_a_hundredth_of_the_halt_probability_and_the_bridges_on_request(
    nova_arch: ArchConfig, batch: PuzzleBatch
) -> None:
    losses = {}
    for weight in (0.0, 0.5):
        model = seeded(nova_arch.model_copy(update={"dropout": 0.0, "nova_bridge_loss_weight": weight}))
        losses[weight] = model.inner.training_loss(batch.inputs, batch.labels, "softmax_cross_entropy")
    loss, metrics, _ = losses[0.0]
    assert "bridge_loss" not in metrics
    assert 0 < metrics["halt_loss"].item() < 0.01 * 6
    assert loss.item() == pytest.approx((metrics["lm_loss"] + metrics["halt_loss"]).item(), rel=1e-6)
    with_bridges, more, _ = losses[0.5]
    assert with_bridges.item() == pytest.approx(loss.item() + 0.5 * more["bridge_loss"].item(), rel=1e-5)


def test_nova_refuses_more_cells_than_its_table_has_positions(nova_arch: ArchConfig) -> None:
    from hrm_cli.errors import ConfigError

    with pytest.raises(ConfigError, match="5000 positions"):
        build_model(nova_arch, 7, 6000, 1)


def test_novas_layers_compute_what_torchs_standard_layers_compute() -> None:
    ours = EncoderLayer(32, 4, 64, 0.0, batch_first=True)
    theirs = torch.nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)
    assert (ours(x) - x).abs().max() > 0.1


def test_novas_attention_starts_as_torchs_does(nova_arch: ArchConfig) -> None:
    attention = seeded(nova_arch).inner.h_layers[0].self_attn
    assert attention.out_proj.bias.eq(0).all()
    assert attention.in_proj_bias.eq(0).all()
    assert attention.in_proj_weight.std() > 0.01
