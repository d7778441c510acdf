"""Building blocks for a CPU: linear layers with prepacked weights, SwiGLU, add + RMS norm, and QK norm.

Each is an autograd function that stores as little as possible. The fused elementwise operations between matmuls are
kernels of `hrm_cli.models.cpu.kernels`. In bfloat16, weights are prepacked for oneDNN once per step, for all its
forward calls, if a test call succeeds. This saves 15 % of a matmul's time (benchmarks/results/cpu_speed.txt). Weights
are not prepacked for the backward pass: the transposed layout costs twice as much and is used only a few times.
At inference, matmuls may be in int8 (`hrm_cli.models.cpu.int8`).

QK norm (`arch.qk_norm`) is one pass of the RMS norm kernel over queries and keys, in front of the attention.

Letters in shapes: I inner width of the SwiGLU, B batch, S positions, N heads, D head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu import int8
from hrm_cli.models.cpu.int8 import LEAST_INPUTS, Int8Weight
from hrm_cli.models.cpu.kernels.availability import prepack, prepacked_linear, prepacking_unavailable
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.layers import QK_EPS, SwiGLUWeights


class Prepacked:
    """A weight `[out, in]`, stored in oneDNN's own layout if this process supports it."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        usable = weight.device.type == "cpu" and prepacking_unavailable(weight.dtype) is None
        self._packed = prepack(self._weight) if usable else None

    def matmul(self, x: Tensor) -> Tensor:
        """x·weightᵀ for `[…, in]`."""
        return F.linear(x, self._weight) if self._packed is None else prepacked_linear(x, self._packed)


_add_and_norm = Kernel("blocks.add_and_norm")
_norm_backward = Kernel("blocks.norm_backward")
_silu_mul = Kernel("blocks.silu_mul")
_silu_mul_backward = Kernel("blocks.silu_mul_backward")


class CPUWeight(NamedTuple):
    """A weight `[out, in]` in the forward dtype."""

    plain: Tensor
    """The weight in the autograd graph; gradients flow to it."""
    fixed: Prepacked | Int8Weight
    """The same weight, detached, in the form that the forward matmuls take."""


class CPUSwiGLU(NamedTuple):
    """A SwiGLU's weights."""

    gate_up: CPUWeight
    down: CPUWeight


def prepacked(weight: Tensor, *, int8: bool) -> CPUWeight:
    """A weight in the form that the functions of this module take. `int8` is for inference only."""
    if int8 and weight.shape[1] >= LEAST_INPUTS:
        return CPUWeight(weight, Int8Weight(weight))
    return CPUWeight(weight, Prepacked(weight))


def swiglu_weights(weights: SwiGLUWeights, *, int8: bool) -> CPUSwiGLU:
    """A SwiGLU's weights in the form that the functions of this module take. `int8` is for inference only."""
    return CPUSwiGLU(prepacked(weights.gate_up, int8=int8), prepacked(weights.down, int8=int8))


class _NoContext:
    """Replaces autograd's context if no gradient is needed: it stores nothing."""

    def __setattr__(self, name: str, value: object) -> None:
        pass

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Stores nothing."""


def applied(function: type[torch.autograd.Function], *given: Any) -> Any:
    """Calls an autograd function, recording it only if gradients are enabled."""
    # `apply` takes as long as a small kernel even if it records nothing.
    return function.apply(*given) if torch.is_grad_enabled() else function.forward(_NoContext(), *given)


def linear(x: Tensor, weight: CPUWeight) -> Tensor:
    """x·weightᵀ for `[…, in]`."""
    return applied(_Linear, x, weight.plain, weight.fixed)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plain: Tensor, fixed: Prepacked | Int8Weight) -> Tensor:
        ctx.save_for_backward(x, plain)
        return fixed.matmul(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, plain = ctx.saved_tensors
        return gradients[0] @ plain, _outer(gradients[0], x), None


def swiglu(x: Tensor, weights: CPUSwiGLU) -> Tensor:
    """down(silu(gate) · up) over the last axis."""
    gate_up, down = weights
    first, second = gate_up.fixed, down.fixed
    if isinstance(first, Int8Weight) and isinstance(second, Int8Weight) and not torch.is_grad_enabled():
        return int8.swiglu(x, first, second)
    return applied(_SwiGLU, x, gate_up.plain, down.plain, gate_up.fixed, down.fixed)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gate_up: Tensor,
        down: Tensor,
        gate_up_fixed: Prepacked | Int8Weight,
        down_fixed: Prepacked | Int8Weight,
    ) -> Tensor:
        both, size = gate_up_fixed.matmul(x), down.shape[1]
        ctx.save_for_backward(x, gate_up, down, both)
        gated = x.new_empty(*x.shape[:-1], size)
        _silu_mul(gated.numel() // size, 3 * size * x.element_size(), x.dtype, size, both, gated)
        return down_fixed.matmul(gated)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, gate_up, down, both = ctx.saved_tensors
        (gradient,) = gradients
        gated, for_both = gradient @ down, torch.empty_like(both)
        size = down.shape[1]
        rows, row_bytes = gated.numel() // size, 6 * size * x.element_size()
        # Overwrites the gradient of `silu(gate) · up` with the recomputed `silu(gate) · up`.
        _silu_mul_backward(rows, row_bytes, x.dtype, size, both, gated, for_both)
        return for_both @ gate_up, _outer(for_both, x), _outer(gradient, gated), None, None


def _outer(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient `[out, in]` of a weight: outer products of gradients `[…, out]` and inputs `[…, in]`, summed."""
    gradient, x = gradient.flatten(0, -2), x.flatten(0, -2)
    # A third faster for 128 × 512 with the longer side first.
    return gradient.T @ x if gradient.shape[1] >= x.shape[1] else (x.T @ gradient).T


def add_swiglu_and_norm(x: Tensor, weights: CPUSwiGLU, eps: float) -> Tensor:
    """The RMS norm of x + swiglu(x) over the last axis, for contiguous x."""
    gate_up, down = weights.gate_up.fixed, weights.down.fixed
    if isinstance(gate_up, Int8Weight) and isinstance(down, Int8Weight) and not torch.is_grad_enabled():
        return int8.add_swiglu_and_norm(x, gate_up, down, eps)
    return add_and_norm(x, swiglu(x, weights), eps)


def add_and_norm(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The RMS norm of x + y over the last axis, computed in float32, returned in the inputs' dtype."""
    return applied(_AddAndNorm, x, y, eps)


class _AddAndNorm(torch.autograd.Function):
    """RMS norm of a sum. The backward pass uses its output, which the next layer stores anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
        normed, factor = normed_sum(x, y, eps)
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        both = normed_sum_backward(gradients[0].contiguous(), *ctx.saved_tensors)
        return both, both, None


def normed_sum(x: Tensor, y: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The RMS norm of x + y over the last axis, for contiguous tensors, and its factors (1 on the last axis)."""
    size = x.shape[-1]
    normed, factor = torch.empty_like(x), torch.empty(*x.shape[:-1], 1)
    _add_and_norm(factor.numel(), 3 * size * x.element_size(), x.dtype, size, eps, x, y, normed, factor)
    return normed, factor


def normed_sum_backward(gradient: Tensor, normed: Tensor, factor: Tensor) -> Tensor:
    """The gradient of x + y, from that of their norm and the results of `normed_sum`; all contiguous."""
    size = normed.shape[-1]
    both, row_bytes = torch.empty_like(normed), 3 * size * normed.element_size()
    _norm_backward(factor.numel(), row_bytes, normed.dtype, size, gradient, normed, factor, both)
    return both


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
