"""The blocks: shapes, norms and rotations as their formulas say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hrm_cli.models.layers import (
    Rotary,
    attend,
    rms_norm,
    rotary_tables,
    rotate,
    swiglu_width,
    truncated_normal_,
)


@pytest.mark.parametrize("std", [0.05, 1.0])
def test_a_truncated_normal_has_the_standard_deviation_asked_for_and_ends_at_two_sigma(std: float) -> None:
    drawn = truncated_normal_(torch.empty(400_000), std, torch.Generator().manual_seed(0))
    assert drawn.std().item() == pytest.approx(std, rel=0.01)
    # σ is larger than the resulting deviation: the tails beyond 2σ are missing.
    assert drawn.abs().max().item() == pytest.approx(2 * std / 0.8796, rel=0.01)


@pytest.mark.parametrize(
    ("hidden", "expansion", "width"), [(512, 4, 1536), (128, 4, 512), (512, 3, 1024), (384, 4, 1024)]
)
def test_the_swiglu_width_is_rounded_up_to_256(hidden: int, expansion: float, width: int) -> None:
    assert swiglu_width(hidden, expansion) == width


def test_rms_norm_gives_unit_mean_square_in_the_inputs_own_dtype() -> None:
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(0)).mul(7).to(torch.bfloat16)
    normed = rms_norm(x, 1e-5)
    assert normed.dtype == torch.bfloat16
    assert normed.float().square().mean(-1).sub(1).abs().max() < 0.02


def test_rope_scores_depend_on_the_distance_of_positions_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(16, generator=generator), torch.randn(16, generator=generator)
    tables = rotary_tables(30, 16, 10000.0)
    turned_q = rotate(q.expand(1, 30, 1, 16), Rotary(*tables))[0, :, 0]
    turned_k = rotate(k.expand(1, 30, 1, 16), Rotary(*tables))[0, :, 0]
    scores = turned_q @ turned_k.T
    for distance in (0, 3, 11):
        along = torch.diagonal(scores, distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-4)


def test_attention_in_bfloat16_agrees_with_torchs_own_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 9, 3, 8, generator=generator).requires_grad_() for _ in range(3))
    wanted = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)
    assert torch.allclose(attend(q, k, v), wanted, atol=1e-6)
    found = attend(*(t.to(torch.bfloat16) for t in (q, k, v))).float()
    assert (found - wanted).abs().max() < 0.03
    wanted_gradient = torch.autograd.grad(wanted.square().sum(), q)[0]
    assert (torch.autograd.grad(found.square().sum(), q)[0] - wanted_gradient).abs().max() < 0.1


def test_scores_are_scaled_by_the_root_of_the_head_size() -> None:
    q = torch.zeros(1, 2, 1, 4)
    q[..., 0] = 2.0
    k = torch.zeros(1, 2, 1, 4)
    k[0, 0, 0, 0] = 1.0
    v = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4).contiguous()
    assert attend(q, k, v)[0, 0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-6)
