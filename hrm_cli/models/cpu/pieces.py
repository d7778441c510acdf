"""Pieces of the blocks for a CPU: matrix multiplications with prepacked weights, a SwiGLU, a norm of a sum.

Each is an autograd function of its own that stores as little as it can; the fused elementwise operations between the
matrix multiplications are kernels of `hrm_cli.models.cpu.kernels`. Weights are prepacked for oneDNN once for all
forward calls of a step: which saves 15 % of a matmul (benchmarks/results/cpu_speed.txt). Not in backward, where the
transposed layout costs twice as much and is used once or a few times. In bfloat16 only, and only where a call has
shown that it works.

Letters in shapes: I inner width of the SwiGLU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu.kernels.availability import prepack, prepacked_linear, prepacking_unavailable
from hrm_cli.models.cpu.kernels.launching import Kernel
from hrm_cli.models.layers import SwiGLUWeights


class Prepacked:
    """A weight `[out, in]`, in oneDNN's own layout where this process can use it."""

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
    """Gradients flow back through it."""
    fixed: Prepacked
    """The same numbers, prepacked for the forward matmuls."""


class CPUSwiGLU(NamedTuple):
    """A SwiGLU's weights."""

    gate_up: CPUWeight
    down: CPUWeight


def prepacked(weight: Tensor) -> CPUWeight:
    """A weight as the functions here want it."""
    return CPUWeight(weight, Prepacked(weight.detach()))


def swiglu_weights(weights: SwiGLUWeights) -> CPUSwiGLU:
    """A SwiGLU's weights as the functions here want them."""
    return CPUSwiGLU(prepacked(weights.gate_up), prepacked(weights.down))


class _Forgetful:
    """Takes the place of autograd's context where there is nothing to go back to."""

    def __setattr__(self, name: str, value: object) -> None:
        pass

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps nothing."""


def applied(function: type[torch.autograd.Function], *given: Any) -> Any:
    """What an autograd function gives, recorded where gradients are expected."""
    # Autograd's own call takes as long as a small kernel, even where it records nothing.
    return function.apply(*given) if torch.is_grad_enabled() else function.forward(_Forgetful(), *given)


def linear(x: Tensor, weight: CPUWeight) -> Tensor:
    """x·weightᵀ for `[…, in]`."""
    return applied(_Linear, x, weight.plain, weight.fixed)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plain: Tensor, fixed: Prepacked) -> Tensor:
        ctx.save_for_backward(x, plain)
        return fixed.matmul(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        x, plain = ctx.saved_tensors
        return gradients[0] @ plain, _outer(gradients[0], x), None


def swiglu(x: Tensor, weights: CPUSwiGLU) -> Tensor:
    """down(silu(gate) · up) over the last axis."""
    gate_up, down = weights
    return applied(_SwiGLU, x, gate_up.plain, down.plain, gate_up.fixed, down.fixed)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor, gate_up_fixed: Prepacked, down_fixed: Prepacked
    ) -> Tensor:
        both, size = gate_up_fixed.matmul(x), down.shape[1]
        ctx.save_for_backward(x, gate_up, down, both)
        opened = x.new_empty(*x.shape[:-1], size)
        _silu_mul(opened.numel() // size, 3 * size * x.element_size(), x.dtype, size, both, opened)
        return down_fixed.matmul(opened)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, gate_up, down, both = ctx.saved_tensors
        (gradient,) = gradients
        opened, for_both = gradient @ down, torch.empty_like(both)
        size = down.shape[1]
        rows, row_bytes = opened.numel() // size, 6 * size * x.element_size()
        # Takes the gradient of what was opened, and leaves in its place what was opened.
        _silu_mul_backward(rows, row_bytes, x.dtype, size, both, opened, for_both)
        return for_both @ gate_up, _outer(for_both, x), _outer(gradient, opened), None, None


def _outer(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient `[out, in]` of a weight: gradients `[…, out]` times inputs `[…, in]`, summed."""
    gradient, x = gradient.flatten(0, -2), x.flatten(0, -2)
    # A third faster for 128 × 512 with the longer side first.
    return gradient.T @ x if gradient.shape[1] >= x.shape[1] else (x.T @ gradient).T


def add_and_norm(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The RMS norm of x + y over the last axis, computed in float32, returned in the inputs' dtype."""
    return applied(_AddAndNorm, x, y, eps)


class _AddAndNorm(torch.autograd.Function):
    """RMS norm of a sum; backward goes by its output, which the next layer keeps in any case."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
        size = x.shape[-1]
        normed, factor = torch.empty_like(x), torch.empty(*x.shape[:-1], 1)
        _add_and_norm(factor.numel(), 3 * size * x.element_size(), x.dtype, size, eps, x, y, normed, factor)
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, factor = ctx.saved_tensors
        size = normed.shape[-1]
        both, gradient = torch.empty_like(normed), gradients[0].contiguous()
        row_bytes = 3 * size * normed.element_size()
        _norm_backward(factor.numel(), row_bytes, normed.dtype, size, gradient, normed, factor, both)
        return both, both, None
