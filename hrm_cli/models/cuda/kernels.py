"""Fused CUDA kernels for passes without gradient. The kernels to use are chosen when a model is built.

Without gradient, neither the rotated queries and keys nor the gate and up projections of a SwiGLU need to be stored.
`HRM_CUDA_KERNELS` selects the kernels that may be used: off (the default), on, attention, or swiglu.
"""

import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.errors import ConfigError

CUDA_KERNELS = "HRM_CUDA_KERNELS"
_NAMES = {
    "": (),
    "off": (),
    "on": ("attention", "swiglu"),
    "attention": ("attention",),
    "swiglu": ("swiglu",),
}
_HALF = (torch.bfloat16, torch.float16)
_MOST_POSITIONS = 128
_HEAD_SIZES = (32, 64, 128)
_TOLERANCE = 2e-2

_ACTIVE: set[tuple[object, ...]] = set()
_CHOSEN: dict[tuple[object, ...], str] = {}


@torch.library.custom_op("hrm::attention", mutates_args=())
def attention(qkv: Tensor, cos: Tensor | None, sin: Tensor | None, heads: int) -> Tensor:
    """Attention on qkv `[B, S, 3·N·D]`, with queries and keys rotated by tables `[S, D]`. Returns `[B, S, N·D]`."""
    from hrm_cli.models.cuda import triton_source

    return triton_source.attention(qkv.contiguous(), cos, sin, heads)


@attention.register_fake
def _(qkv: Tensor, cos: Tensor | None, sin: Tensor | None, heads: int) -> Tensor:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3)


@torch.library.custom_op("hrm::gated", mutates_args=())
def gated(x: Tensor, gate_up: Tensor) -> Tensor:
    """silu(gate) · up for rows `[…, K]` and a weight `[2I, K]` with the gate first. Returns `[…, I]`."""
    from hrm_cli.models.cuda import triton_source

    return triton_source.gated(x.contiguous(), gate_up.contiguous())


@gated.register_fake
def _(x: Tensor, gate_up: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], gate_up.shape[0] // 2)


def takes_attention(qkv: Tensor, heads: int) -> bool:
    """Whether the fused `attention` can be used for these queries, keys and values `[B, S, 3·N·D]`."""
    if not _ACTIVE or torch.is_grad_enabled():
        return False
    return ("attention", *_kind(qkv), qkv.shape[1], qkv.shape[2], heads) in _ACTIVE


def takes_gated(x: Tensor, gate_up: Tensor) -> bool:
    """Whether the fused `gated` can be used for these rows `[…, K]` and this weight `[2I, K]`."""
    if not _ACTIVE or torch.is_grad_enabled():
        return False
    return ("swiglu", *_kind(x), x.shape[-1], gate_up.shape[0]) in _ACTIVE


def choose_cuda_kernels(
    device: torch.device, dtype: torch.dtype, positions: int, hidden: int, heads: int, gate_up: int
) -> str:
    """Tests the kernels for a model of these sizes. Returns as text which are used, and why the others are not.

    Raises ConfigError if `HRM_CUDA_KERNELS` has an unknown value.
    """
    wanted = wanted_kernels()
    if not wanted:
        _ACTIVE.clear()
        _CHOSEN.clear()
        return f"portable ({CUDA_KERNELS}=off)"
    if device.type != "cuda" or dtype not in _HALF:
        return "portable"
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    key = (device, dtype, positions, hidden, heads, gate_up, wanted)
    if key not in _CHOSEN:
        said = []
        for name in wanted:
            try_out = _try_attention if name == "attention" else _try_gated
            try:
                problem = try_out(device, dtype, positions, hidden, heads, gate_up)
            except (
                Exception
            ) as error:  # a compiler may raise any exception; the portable code is used instead
                problem = (str(error).strip() or type(error).__name__).partition("\n")[0]
            said.append(f"{name} fused" if problem is None else f"{name} portable ({problem})")
        _CHOSEN[key] = ", ".join(said)
    return _CHOSEN[key]


def wanted_kernels() -> tuple[str, ...]:
    """The kernels that `HRM_CUDA_KERNELS` allows. Raises ConfigError for an unknown value."""
    value = os.environ.get(CUDA_KERNELS, "").strip().lower()
    if value not in _NAMES:
        raise ConfigError(
            f"environment variable {CUDA_KERNELS}: expected off, on, attention or swiglu, got {value!r}"
        )
    return _NAMES[value]


def _kind(x: Tensor) -> tuple[object, ...]:
    return x.device.type, x.device.index, x.dtype


def _try_attention(
    device: torch.device, dtype: torch.dtype, positions: int, hidden: int, heads: int, gate_up: int
) -> str | None:
    size = hidden // heads
    if positions > _MOST_POSITIONS or size not in _HEAD_SIZES:
        return f"{positions} positions, head size {size}"
    qkv = _numbers(8, positions, 3 * hidden, device=device).to(dtype)
    angles = 3 * _numbers(positions, size // 2, device=device).repeat(1, 2)

    def portable() -> Tensor:
        q, k, v = qkv.float().view(8, positions, 3, heads, size).transpose(1, 3).unbind(2)
        q, k = (_rotated(x, angles.cos(), angles.sin()) for x in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(8, positions, hidden)

    problem = _problem(lambda: attention(qkv, angles.cos(), angles.sin(), heads), portable)
    if problem is None:
        _ACTIVE.add(("attention", *_kind(qkv), positions, 3 * hidden, heads))
    return problem


def _numbers(*shape: int, device: torch.device) -> Tensor:
    # Uses its own generator: a run's random numbers must not depend on which kernels were tested.
    return torch.randn(*shape, device=device, generator=torch.Generator(device).manual_seed(0))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def _try_gated(
    device: torch.device, dtype: torch.dtype, positions: int, hidden: int, heads: int, gate_up: int
) -> str | None:
    if hidden % 64 or gate_up % 256:
        return f"widths {hidden} and {gate_up // 2}"
    # As many rows as in a large batch, because the kernel's tile sizes are autotuned on these rows.
    x = _numbers(32768, hidden, device=device).to(dtype)
    weight = (_numbers(gate_up, hidden, device=device) / hidden**0.5).to(dtype)

    def portable() -> Tensor:
        gate, up = F.linear(x, weight).chunk(2, dim=-1)
        return F.silu(gate.float()) * up.float()

    problem = _problem(lambda: gated(x, weight), portable)
    if problem is None:
        _ACTIVE.add(("swiglu", *_kind(x), hidden, gate_up))
    return problem


def _problem(fused: Callable[[], Tensor], portable: Callable[[], Tensor]) -> str | None:
    with torch.inference_mode(False), torch.no_grad():
        found, expected = fused().float(), portable().float()
        off = float((found - expected).abs().max() / expected.abs().max())
    return None if off <= _TOLERANCE else f"wrong numbers: off by {off:.2g} of the largest"
