"""Triton's kernels on the device give what the portable way gives, and are taken where requested."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.choices import choices
from hrm_cli.models.cuda import kernels as cuda
from hrm_cli.models.registry import build_model

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize(
    ("positions", "hidden", "heads", "gate_up"), [(82, 512, 8, 3072), (81, 256, 8, 1536)]
)
def test_the_kernels_run_and_agree(
    accelerator: torch.device, positions: int, hidden: int, heads: int, gate_up: int, monkeypatch
) -> None:
    if accelerator.type != "cuda":
        pytest.skip("Triton compiles for CUDA")
    monkeypatch.setenv(cuda.CUDA_KERNELS, "on")
    sizes = (positions, hidden, heads, gate_up)
    assert cuda.choose_cuda_kernels(accelerator, torch.bfloat16, *sizes) == "attention fused, swiglu fused"


def test_a_model_with_the_kernels_answers_as_without(accelerator: torch.device, monkeypatch) -> None:
    if accelerator.type != "cuda":
        pytest.skip("Triton compiles for CUDA")
    arch = ArchConfig(
        hidden_size=256, num_heads=4, H_layers=2, L_layers=2, puzzle_emb_ndim=0, forward_dtype="bfloat16"
    )
    inputs = torch.randint(0, 11, (64, 81), dtype=torch.int32, device=accelerator)
    found = []
    for kernels in ("on", "off"):
        monkeypatch.setenv(cuda.CUDA_KERNELS, kernels)
        model = build_model(arch, 11, 81, 1, device=accelerator, generator=torch.Generator().manual_seed(0))
        assert ("fused" in choices(model)["blocks"]) == (kernels == "on")
        step = next(iter(model.infer(inputs, inputs[:, 0], 1, adaptive=False)))
        assert step.logits is not None
        found.append(step.logits.float())
    cosine = torch.nn.functional.cosine_similarity(found[0].flatten(), found[1].flatten(), dim=0)
    assert float(cosine) > 0.99
