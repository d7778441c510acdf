"""Which CPU kernels and operators this process can use. Each is tested once, by calling it.

CPU flags are not reliable: torch's, oneDNN's (`ONEDNN_MAX_CPU_ISA`) and a hypervisor's may differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.environment import CPU_KERNELS, cpu_kernels_enabled
from hrm_cli.models.cpu.kernels.launch import FORMATS, Kernel

_ROWS, _SIZE = 3, 32
_TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-4}


def fused_kernels_unavailable(dtype: torch.dtype) -> str | None:
    """Why the fused kernels cannot be used in `dtype`; None if they can.

    Raises ConfigError if `HRM_CPU_KERNELS` is neither on nor off.
    """
    if not cpu_kernels_enabled():
        return f"{CPU_KERNELS}=off"
    return _fused_kernels_fail(dtype)


def prepacking_unavailable(dtype: torch.dtype) -> str | None:
    """Why weights of `dtype` cannot be prepacked for oneDNN; None if they can."""
    return f"{CPU_KERNELS}=off" if not cpu_kernels_enabled() else _prepacking_fails(dtype)


def int8_instructions_missing() -> bool:
    """Whether this CPU has no 512-bit instructions for int8 products (AVX-512 VNNI), or oneDNN may not use them.

    Without them oneDNN's products of large int8 numbers are wrong: sums of two are cut off at 16 bits.
    """
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return probe is None or not probe() or not _onednn_takes_bfloat16()


def softmax_backward(gradient: Tensor, weights: Tensor) -> Tensor:
    """The gradient of a softmax's input over the last axis, from its output `weights` and the output's gradient."""
    if _softmax_backward_fails(weights.dtype) is None:
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    gradient, weights, dtype = gradient.float(), weights.float(), weights.dtype
    return (weights * (gradient - (gradient * weights).sum(-1, keepdim=True))).to(dtype)


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 and oneDNN uses them.

    Otherwise bfloat16 is emulated, several times slower than float32.
    """
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has_them = any(probe() for name in probes if (probe := getattr(torch.cpu, name, None)) is not None)
    return has_them and _onednn_takes_bfloat16()


def _onednn_takes_bfloat16() -> bool:
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    # Other versions of torch may lack this function; then only the CPU's instructions decide.
    answer = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return answer is None or bool(answer())


def cpu_kernels_choice(dtype: torch.dtype | None = None) -> str:
    """One line of text: what the CPU uses in the forward dtype `dtype`, or in each supported dtype if None.

    Runs the tests if they have not run yet.
    """
    if not cpu_kernels_enabled():
        return f"portable ({CPU_KERNELS}=off)"
    if dtype is not None:
        return _choice(dtype)
    return "; ".join(f"{str(one).removeprefix('torch.')}: {_choice(one)}" for one in FORMATS)


def _choice(dtype: torch.dtype) -> str:
    reason = fused_kernels_unavailable(dtype)
    if reason is not None:
        return f"portable ({reason})"
    if dtype != torch.bfloat16:
        return "fused"
    reason = prepacking_unavailable(dtype)
    if reason is None:
        return "fused, weights prepacked by oneDNN"
    return f"fused, weights not prepacked ({reason}; float32 may be faster on this CPU)"


@functools.cache
def _fused_kernels_fail(dtype: torch.dtype) -> str | None:
    if dtype not in FORMATS:
        return f"none for {str(dtype).removeprefix('torch.')}"

    def fused(x: Tensor, y: Tensor) -> Tensor:
        normed, factor = torch.empty_like(x), torch.empty(_ROWS, 1)
        row_bytes = 3 * _SIZE * x.element_size()
        Kernel("blocks.add_and_norm")(_ROWS, row_bytes, dtype, _SIZE, 1e-5, x, y, normed, factor)
        return normed

    def portable(x: Tensor, y: Tensor) -> Tensor:
        total = x + y
        return total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-5)

    return _failure(fused, portable, dtype)


@functools.cache
def _prepacking_fails(dtype: torch.dtype) -> str | None:
    if dtype != torch.bfloat16:
        return "bfloat16 only"

    def prepacked(x: Tensor, weight: Tensor) -> Tensor:
        return prepacked_linear(x, prepack(weight))

    return _failure(prepacked, F.linear, dtype)


@functools.cache
def _softmax_backward_fails(dtype: torch.dtype) -> str | None:
    def private(x: Tensor, y: Tensor) -> Tensor:
        return torch._softmax_backward_data(x, y.softmax(-1), -1, dtype)

    def portable(x: Tensor, y: Tensor) -> Tensor:
        weights = y.softmax(-1)
        return weights * (x - (x * weights).sum(-1, keepdim=True))

    return _failure(private, portable, dtype)


def prepack(weight: Tensor) -> Tensor:
    """A weight `[out, in]` in oneDNN's own layout. Call only if `prepacking_unavailable` returns None."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())


def prepacked_linear(x: Tensor, weight: Tensor) -> Tensor:
    """x·weightᵀ for `[…, in]` and a prepacked weight."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], None)


def _failure(
    operator: Callable[[Tensor, Tensor], Tensor],
    portable: Callable[[Tensor, Tensor], Tensor],
    dtype: torch.dtype,
) -> str | None:
    """Tests `operator` on small tensors against `portable`. Returns the failure in one line, or None."""
    with torch.no_grad(), torch.device("cpu"):
        x = torch.linspace(-2, 2, _ROWS * _SIZE).view(_ROWS, _SIZE)
        y = (torch.arange(_ROWS * _SIZE) % 7 / 3 - 1).view(_ROWS, _SIZE)
        expected = portable(x, y)
        try:
            found = operator(x.to(dtype), y.to(dtype))
        except Exception as error:
            # Private operators and compilers may raise any exception; each means that they cannot be used here.
            return (str(error).strip().splitlines() or [type(error).__name__])[0]
        limit = _TOLERANCE.get(dtype, 2e-2) * expected.abs().max()
        return None if (found.float() - expected).abs().max() <= limit else "wrong numbers"
