"""What a model computes with, as text."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.models import layers
from hrm_cli.models.choices import choices, choices_line
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.registry import build_model
from hrm_cli.training.optimizers import network_optimizer, optimizer_choice


def test_a_model_reports_its_attention_blocks_and_compilation(arch: ArchConfig, monkeypatch) -> None:
    monkeypatch.setenv("HRM_CPU_KERNELS", "off")
    model = build_model(arch, 7, 20, 5)
    assert choices(model) == {
        "device": "cpu", "dtype": "float32", "attention": "torch SDPA",
        "blocks": "portable (HRM_CPU_KERNELS=off)", "compiled": "none",
    }  # fmt: skip
    for mode, words in (("on", "single blocks"), ("cudagraphs", "all cycles of a step, with CUDA graphs")):
        compile_updates(model, mode)
        assert choices(model)["compiled"] == words
        assert choices(model)["blocks"].startswith("portable in compiled training")
    line = choices_line(model, optimizer="AdamATan2")
    assert line.startswith("device cpu; dtype float32; ")
    assert line.endswith("; optimizer AdamATan2")


def test_float32_states_in_half_precision_need_portable_blocks_and_say_so(arch: ArchConfig) -> None:
    def blocks(dtype: str) -> str:
        settings = {"state_dtype": "float32", "forward_dtype": dtype}
        return choices(build_model(arch.model_copy(update=settings), 7, 20, 5))["blocks"]

    assert blocks("bfloat16") == "portable (arch.state_dtype float32)"
    assert "state_dtype" not in blocks("float32")


def test_attention_is_chosen_once_for_a_kind_of_tensors(monkeypatch) -> None:
    monkeypatch.setattr(layers, "_CHOSEN", {})
    asked: list[int] = []
    monkeypatch.setattr(layers, "_choose", lambda kind, device: asked.append(kind[3]) or "torch SDPA")
    for head_size in (16, 16, 32, 16):
        layers.choose_attention(torch.device("cpu"), torch.float32, head_size)
    assert asked == [16, 32]


@pytest.mark.parametrize(("name", "words"), [("adamw", "AdamW"), ("adam_atan2", "AdamATan2")])
def test_an_optimizer_is_reported_by_name(name: str, words: str) -> None:
    config = TrainConfig(optimizer=name)
    assert optimizer_choice(network_optimizer([torch.nn.Parameter(torch.zeros(1))], config)) == words
