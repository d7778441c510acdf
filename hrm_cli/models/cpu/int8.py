"""Int8 matmuls for inference on a CPU (`arch.inference_dtype=int8`), several times faster than bfloat16 or float32.

Rows of activations and of weights are stored as int8 with one scale each, computed when they are needed. So nothing is
calibrated, and a row's result does not depend on the other rows. Products are exact int32 sums, by oneDNN through
torch. Between two matmuls, one kernel turns sums into the next int8 rows. States, norms and attention keep their dtype.

Rows are computed in parts, because the int32 sums are twice as large as bfloat16.

Letters in shapes: R rows, I inner width of the SwiGLU.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from hrm_cli.environment import CPU_INT8, CPU_KERNELS, cpu_int8_switch, cpu_kernels_enabled
from hrm_cli.models.cpu.kernels.availability import fused_kernels_unavailable, int8_instructions_missing
from hrm_cli.models.cpu.kernels.launch import Kernel

_quantize = Kernel("int8.quantize")
_silu_mul = Kernel("int8.silu_mul")
_rescale = Kernel("int8.rescale")
_add_and_norm = Kernel("int8.add_and_norm")
_BYTES_OF_SUMS = 1 << 22
"""Bytes of int32 sums that one thread computes at a time. Smaller parts cost more to start than the cache saves."""
_LEAST_SCALE = 1e-30
LEAST_INPUTS = 16
"""Narrower weights stay in the forward dtype: they gain nothing, and oneDNN 3.12's int8 products of one column are
wrong."""


def multiplies_int8(inference_dtype: str, dtype: torch.dtype) -> bool:
    """Whether weight matmuls are in int8 now, given `arch.inference_dtype` and the forward dtype.

    Never where gradients are recorded.
    """
    return not torch.is_grad_enabled() and wants_int8(inference_dtype) and int8_unavailable(dtype) is None


def wants_int8(inference_dtype: str) -> bool:
    """Whether the model or `HRM_CPU_INT8=on` asks for int8 matmuls at inference."""
    return inference_dtype == "int8" or cpu_int8_switch() is True


def int8_unavailable(dtype: torch.dtype) -> str | None:
    """Why int8 matmuls cannot be used between states of `dtype`; None if they can."""
    if not cpu_kernels_enabled():
        return f"{CPU_KERNELS}=off"
    if cpu_int8_switch() is False:
        return f"{CPU_INT8}=off"
    if int8_instructions_missing():
        return "this CPU has no instructions for it, or oneDNN may not use them"
    return fused_kernels_unavailable(dtype) or _products_fail()


@functools.cache
def _products_fail() -> str | None:
    """Tests torch's int8 products with numbers whose sums are as large as possible. Returns the failure in one line."""
    x = torch.full((3, 64), 127, dtype=torch.int8, device="cpu")
    weight = (
        torch.where(torch.arange(64, device="cpu") % 3 == 0, -127, 127)
        .to(torch.int8)
        .expand(32, 64)
        .contiguous()
    )
    try:
        found = torch._int_mm(x, weight.T)
    except Exception as error:
        # A private operator may raise any exception; each means that it cannot be used here.
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None if torch.equal(found, x.int() @ weight.int().T) else "wrong numbers"


class Int8Weight:
    """A weight `[out, in]` as int8 with one scale per output."""

    def __init__(self, weight: Tensor) -> None:
        weight = weight.detach().float()
        self.scales = weight.abs().amax(1).clamp_min(_LEAST_SCALE) / 127
        """`[out]` float32"""
        self.values = (weight / self.scales.unsqueeze(1)).round().to(torch.int8).T
        """`[in, out]`"""

    def matmul(self, x: Tensor) -> Tensor:
        """x·weightᵀ for `[…, in]`, in x's dtype."""
        flat, width = _rows(x), len(self.scales)
        out = flat.new_empty(len(flat), width)
        for part, to in _in_parts(width, flat, out):
            values, scales = quantized(part)
            sums = torch._int_mm(values, self.values)
            _rescale(len(part), 6 * width, x.dtype, width, sums, scales, self.scales, to)
        return out.view(*x.shape[:-1], width)


def swiglu(x: Tensor, gate_up: Int8Weight, down: Int8Weight) -> Tensor:
    """down(silu(gate) · up) over the last axis, in x's dtype."""
    flat, width = _rows(x), len(down.scales)
    out = flat.new_empty(len(flat), width)
    for part, to in _in_parts(len(gate_up.scales), flat, out):
        sums, scales = _swiglu_sums(part, gate_up, down)
        _rescale(len(part), 6 * width, x.dtype, width, sums, scales, down.scales, to)
    return out.view(*x.shape[:-1], width)


def add_swiglu_and_norm(x: Tensor, gate_up: Int8Weight, down: Int8Weight, eps: float) -> Tensor:
    """The RMS norm of x + down(silu(gate) · up) over the last axis, in x's dtype."""
    flat = _rows(x)
    out, width = torch.empty_like(flat), flat.shape[1]
    for part, to in _in_parts(len(gate_up.scales), flat, out):
        sums, scales = _swiglu_sums(part, gate_up, down)
        _add_and_norm(len(part), 8 * width, x.dtype, width, eps, part, sums, scales, down.scales, to)
    return out.view(x.shape)


def quantized(x: Tensor) -> tuple[Tensor, Tensor]:
    """Contiguous rows `[R, size]` as int8, and their scales `[R]`."""
    rows, size = x.shape
    values, scales = torch.empty(rows, size, dtype=torch.int8), torch.empty(rows)
    _quantize(rows, 3 * size, x.dtype, size, x, values, scales)
    return values, scales


def _swiglu_sums(x: Tensor, gate_up: Int8Weight, down: Int8Weight) -> tuple[Tensor, Tensor]:
    """The int32 sums of `down`, `[R, out]`, and the scales of its rows."""
    values, scales = quantized(x)
    both, inner = torch._int_mm(values, gate_up.values), len(gate_up.scales) // 2
    gated, gated_scales = torch.empty(len(x), inner, dtype=torch.int8), torch.empty(len(x))
    _silu_mul(len(x), 9 * inner, x.dtype, inner, both, scales, gate_up.scales, gated, gated_scales)
    return torch._int_mm(gated, down.values), gated_scales


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1]).contiguous()


def _in_parts(width: int, x: Tensor, out: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Equal parts of the rows of x and `out`, with `width` int32 sums for each row."""
    most = max(1, _BYTES_OF_SUMS * torch.get_num_threads() // (4 * width))
    each = -(-len(x) // max(1, -(-len(x) // most)))
    return zip(x.split(max(each, 1)), out.split(max(each, 1)), strict=True)
