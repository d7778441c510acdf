"""The layers that blocks are made of (hrm-spec "Blocks").

Modules only hold parameters, under the reference's names. The computations are pure functions of tensors. A core
casts its weights to the forward dtype once per step (`cast`) and reuses the cast tensors in every iteration of its
recurrence.

Attention is bidirectional and full: flash-attn if it is installed and works on the device, else torch's SDPA. The
choice is made once, when a model is built (`choose_attention`), so that nothing is imported or tested while a step is
computed or traced by a compiler. On a CPU in bfloat16, attention is explicit (unfused): the backward pass of torch's
fused kernel is 1.2 (900 tokens) to 9 (16 tokens) times slower than two batched matmuls and a softmax.

Letters in shapes: B batch, S positions (puzzle positions first), H hidden size, N heads, D head size,
I inner width of the SwiGLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hrm_cli.config.arch import swiglu_width

if TYPE_CHECKING:
    from hrm_cli.models.size_adapters import SizeAdapter

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
    return None if sound else "its results are not finite"


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


# The standard deviation of a unit normal truncated at ±2.
_CUT = 2.0
_STD_AFTER_CUT = math.sqrt(
    1 - 2 * _CUT * math.exp(-_CUT * _CUT / 2) / math.sqrt(2 * math.pi) / math.erf(_CUT / math.sqrt(2))
)


def truncated_normal_(tensor: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    """Fills `tensor` from a normal truncated at ±2σ, where σ gives a *resulting* standard deviation of `std`."""
    if std == 0:
        return nn.init.zeros_(tensor)
    sigma = std / _STD_AFTER_CUT
    return nn.init.trunc_normal_(tensor, std=sigma, a=-_CUT * sigma, b=_CUT * sigma, generator=generator)


class Linear(nn.Module):
    """A linear layer's parameters, float32: weight `[out, in]` of std 1/√in, no bias unless requested."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None
        self.size_adapter: SizeAdapter | None = None
        """Set by `hrm_cli.models.size_adapters.add_size_adapters`."""

    def cast(self, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`, with its size adapter applied; gradients flow back to the float32 parameters."""
        adapter = self.size_adapter
        return (self.weight if adapter is None else adapter.applied_to(self.weight)).to(dtype)

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes the weight at random; the bias starts at zero."""
        truncated_normal_(self.weight.data, 1 / math.sqrt(self.weight.shape[1]), generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Embedding(nn.Module):
    """An embedding's parameters, float32: `[entries, H]` of std 1/√H."""

    def __init__(self, entries: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding_weight = nn.Parameter(torch.empty(entries, hidden_size))

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes the table at random."""
        truncated_normal_(
            self.embedding_weight.data, 1 / math.sqrt(self.embedding_weight.shape[1]), generator
        )


class AttentionWeights(NamedTuple):
    """One attention's weights in the forward dtype."""

    qkv: Tensor
    """`[3·N·D, H]`: query, key, value, each a contiguous block of N·D rows."""
    out: Tensor
    """`[H, N·D]`"""
    scale: Tensor | None = None
    """With `arch.qk_norm`: the factor of each head's scores, `[N]`."""


class SwiGLUWeights(NamedTuple):
    """One SwiGLU's weights in the forward dtype."""

    gate_up: Tensor
    """`[2·I, H]`: gate first, then up."""
    down: Tensor
    """`[H, I]`"""


class Attention(nn.Module):
    """Parameters of an attention: one fused projection, one output projection.

    With `normed_heads`, queries and keys are normalized per head and their scores multiplied by a factor per head. It
    is stored minus 1, so that weight decay pulls it to 1.
    """

    def __init__(self, hidden_size: int, normed_heads: int | None = None) -> None:
        super().__init__()
        self.qkv_proj = Linear(hidden_size, 3 * hidden_size)
        self.o_proj = Linear(hidden_size, hidden_size)
        self.qk_scale = None if normed_heads is None else nn.Parameter(torch.zeros(normed_heads))

    def cast(self, dtype: torch.dtype) -> AttentionWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        scale = None if self.qk_scale is None else (1 + self.qk_scale).to(dtype)
        return AttentionWeights(self.qkv_proj.cast(dtype), self.o_proj.cast(dtype), scale)


class SwiGLU(nn.Module):
    """Parameters of a SwiGLU over an axis of length `size`."""

    def __init__(self, size: int, expansion: float, multiple: int = 256) -> None:
        super().__init__()
        inner = swiglu_width(size, expansion, multiple)
        self.gate_up_proj = Linear(size, 2 * inner)
        self.down_proj = Linear(inner, size)

    def cast(self, dtype: torch.dtype) -> SwiGLUWeights:
        """The weights in `dtype`; gradients flow back to the float32 parameters."""
        return SwiGLUWeights(self.gate_up_proj.cast(dtype), self.down_proj.cast(dtype))


class Rotary(NamedTuple):
    """RoPE tables `[S, D]`, float32."""

    cos: Tensor
    sin: Tensor


def rotary_tables(positions: int, head_dim: int, theta: float) -> Rotary:
    """RoPE's cosines and sines for positions 0..positions−1, halves repeated (half-split rotation)."""
    here = torch.get_default_device()
    if here.type == "meta":
        # Computes nothing: tables for a million positions would take gigabytes.
        return Rotary(torch.empty(positions, head_dim), torch.empty(positions, head_dim))
    with torch.device("cpu"):
        frequencies = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
        angles = torch.cat((angles, angles), dim=-1)
    return Rotary(angles.cos().to(here), angles.sin().to(here))


def rotate(x: Tensor, rotary: Rotary) -> Tensor:
    """RoPE on `[B, S, N, D]`, computed in float32, returned in the input's dtype."""
    wide = x.float()
    first, second = wide.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (wide * rotary.cos.unsqueeze(-2) + turned * rotary.sin.unsqueeze(-2)).to(x.dtype)


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """x · rsqrt(mean(x²) + eps) over the last axis, computed in float32, returned in the input's dtype."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


QK_EPS = 1e-6
"""Added to the mean square of queries and keys in `arch.qk_norm`."""


def _queries_and_keys(
    q: Tensor, k: Tensor, weights: AttentionWeights, rotary: Rotary | None
) -> tuple[Tensor, Tensor]:
    """Queries and keys `[B, S, N, D]`, normalized per head if the weights have a scale, then rotated."""
    if weights.scale is not None:
        q, k = rms_norm(q, QK_EPS) * weights.scale.unsqueeze(-1), rms_norm(k, QK_EPS)
    return (q, k) if rotary is None else (rotate(q, rotary), rotate(k, rotary))


def self_attention(x: Tensor, weights: AttentionWeights, num_heads: int, rotary: Rotary | None) -> Tensor:
    """Multi-head attention over all positions of `[B, S, H]`."""
    batch, positions, _ = x.shape
    qkv = F.linear(x, weights.qkv)
    q, k, v = qkv.view(batch, positions, 3, num_heads, -1).unbind(2)
    q, k = _queries_and_keys(q, k, weights, rotary)
    return F.linear(attend(q, k, v).reshape(batch, positions, -1), weights.out)


def attention_weights(x: Tensor, weights: AttentionWeights, num_heads: int, rotary: Rotary | None) -> Tensor:
    """The attention weights that `self_attention` uses for `[B, S, H]`, `[B, N, S, S]` float32; rows sum to 1."""
    q, k, _ = F.linear(x, weights.qkv).view(*x.shape[:2], 3, num_heads, -1).unbind(2)
    q, k = _queries_and_keys(q, k, weights, rotary)
    scores = torch.einsum("bqnd,bknd->bnqk", q.float(), k.float()) * q.shape[-1] ** -0.5
    return scores.softmax(-1)


def swiglu(x: Tensor, weights: SwiGLUWeights) -> Tensor:
    """down(silu(gate) · up) over the last axis."""
    gate, up = F.linear(x, weights.gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, weights.down)


class NoInitWeights(TorchFunctionMode):
    """Within this context, torch's own layers leave their weights undefined.

    On the meta device, initializing a weight would import torch's compiler, which takes seconds. On other devices the
    weights are overwritten anyway, and initializing them would advance the global generator.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls `func`, unless it initializes a tensor."""
        given = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


class PuzzleEmbedding(nn.Module):
    """A table `[num_puzzle_identifiers, puzzle_emb_ndim]`, initialized to zero.

    It is a buffer, not a parameter: the table can hold millions of rows, and a step uses only those of its batch, so a
    dense gradient would be wasteful. A training step copies the rows it uses (`rows`), and
    `hrm_cli.training.optimizers.SignDescent` writes the updated rows back.
    """

    weights: Tensor

    def __init__(self, num_puzzle_identifiers: int, ndim: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_puzzle_identifiers, ndim))

    def rows(self, puzzle_identifiers: Tensor, *, requires_grad: bool = False) -> Tensor:
        """Copies of the rows of `puzzle_identifiers` `[B]`: `[B, puzzle_emb_ndim]` float32, a leaf tensor."""
        return self.weights[puzzle_identifiers.long()].detach().requires_grad_(requires_grad)

    @torch.no_grad()
    def ablate(self) -> None:
        """Gives every puzzle identifier the vector of the blank one (row 0), so puzzles are no longer distinguished."""
        self.weights[1:] = self.weights[0].clone()


def as_positions(rows: Tensor, positions: int, hidden_size: int) -> Tensor:
    """Rows `[B, puzzle_emb_ndim]`, zero-padded to P·H and reshaped to P positions `[B, P, H]`."""
    padding = positions * hidden_size - rows.shape[-1]
    return F.pad(rows, (0, padding)).view(-1, positions, hidden_size)


def mean_table(table: Tensor, rows: int) -> Tensor:
    """A table `[rows, puzzle_emb_ndim]` for new puzzles. As in the reference, every row is the mean of the old rows."""
    return table.mean(dim=0, keepdim=True).expand(rows, -1).contiguous()
