"""Full bidirectional attention: flash-attn if it is installed and works on the device, else torch's SDPA.

The choice is made once, when a model is built (`choose_attention`), so that nothing is imported or tested while a step
is computed or traced by a compiler. On a CPU in bfloat16, attention is explicit (unfused): the backward pass of
torch's fused kernel is 1.2 (900 tokens) to 9 (16 tokens) times slower than two batched matmuls and a softmax.

Letters in shapes: B batch, S positions, N heads, D head size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_Kind = tuple[str, int | None, torch.dtype, int]
"""Device type and index, dtype, head size."""

_FLASH: dict[_Kind, Callable[..., Any]] = {}
"""The flash-attn function, for each kind of tensor on which it has been tested successfully."""
_CHOSEN: dict[_Kind, str] = {}
_HALF = (torch.bfloat16, torch.float16)


def choose_attention(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    """Chooses the implementation that `attend` uses for such tensors. Returns its name, and why flash-attn fails if so.

    flash-attn is tested with a small forward and backward pass: it may be built for another torch or another GPU, and
    it supports neither float32 nor head sizes above 256.
    """
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    kind = (device.type, device.index, dtype, head_size)
    if kind not in _CHOSEN:
        _CHOSEN[kind] = _choose(kind, device)
    return _CHOSEN[kind]


def _choose(kind: _Kind, device: torch.device) -> str:
    if device.type == "cpu" and kind[2] == torch.bfloat16:
        return "batched matmul"
    if device.type != "cuda" or kind[2] not in _HALF:
        return "torch SDPA"
    try:
        from flash_attn import flash_attn_func
    except (ImportError, OSError, RuntimeError):  # a build for another torch fails in any of these ways
        return "torch SDPA"
    problem = flash_failure(flash_attn_func, device, kind[2], kind[3])
    if problem is not None:
        return f"torch SDPA (flash-attn is installed but does not run: {problem})"
    _FLASH[kind] = flash_attn_func
    return "flash-attn"


def flash_failure(
    flash: Callable[..., Any], device: torch.device, dtype: torch.dtype, head_size: int
) -> str | None:
    """Why flash-attn fails on such tensors; None if forward and backward run and the results are finite."""
    try:
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.ones(1, 2, 1, head_size, device=device, dtype=dtype, requires_grad=True)
            out = _output(flash(x, x, x, dropout_p=0.0, causal=False))
            out.sum().backward()
            sound = out.shape == x.shape and bool(out.isfinite().all()) and x.grad is not None
    except Exception as error:  # any exception means that it cannot be used here
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None if sound else "it gives numbers that are not finite"


def _output(found: Any) -> Tensor:
    out: Tensor = found[0] if isinstance(found, tuple) else found
    return out


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q kᵀ / √D) v without a mask; `dropout` is the probability of dropping an attention weight.

    q, k, v and the result are `[B, S, N, D]`.
    """
    flash = _FLASH.get((q.device.type, q.device.index, q.dtype, q.shape[-1])) if _FLASH else None
    if flash is not None:
        return _output(flash(q, k, v, dropout_p=dropout, causal=False))
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
        mixed = F.dropout(weights, dropout) @ v if dropout else weights @ v
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    return mixed.transpose(1, 2)
