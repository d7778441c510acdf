"""QK norm (`arch.qk_norm`) on a CPU: one pass of the RMS norm kernel over queries and keys, in front of the attention.

Letters in shapes: B batch, S positions, N heads, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hrm_cli.models.cpu.pieces import applied, normed_sum, normed_sum_backward
from hrm_cli.models.layers import QK_EPS


def with_normed_heads(qkv: Tensor, scale: Tensor) -> Tensor:
    """The projection `[B, S, 3·N·D]` with normalized queries and keys; queries are multiplied by `scale` `[N]`."""
    return applied(_NormedHeads, qkv, scale)


class _NormedHeads(torch.autograd.Function):
    """The kernel normalizes sums. x + x with 4·eps has the norm of x with eps, and twice its gradient."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, scale: Tensor) -> Tensor:
        heads = qkv.view(*qkv.shape[:2], 3, len(scale), -1)
        both = heads[:, :, :2].contiguous()
        normed, factor = normed_sum(both, both, 4 * QK_EPS)
        ctx.save_for_backward(normed, factor, scale)
        found = torch.empty_like(heads)
        torch.mul(normed[:, :, 0], scale.unsqueeze(-1), out=found[:, :, 0])
        found[:, :, 1], found[:, :, 2] = normed[:, :, 1], heads[:, :, 2]
        return found.view(qkv.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        normed, factor, scale = ctx.saved_tensors
        gradient = gradients[0].view(*normed.shape[:2], 3, *normed.shape[3:])
        for_scale = (gradient[:, :, 0].float() * normed[:, :, 0]).sum((0, 1, 3)).to(scale.dtype)
        for_both = gradient[:, :, :2].contiguous()
        for_both[:, :, 0] *= scale.unsqueeze(-1)
        for_heads = torch.empty_like(gradient)
        for_heads[:, :, :2] = 2 * normed_sum_backward(for_both, normed, factor)
        for_heads[:, :, 2] = gradient[:, :, 2]
        return for_heads.view(gradients[0].shape), for_scale
