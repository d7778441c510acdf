"""The blocks of `hrm_cli.models.layers` for a CPU: the same mathematics in fewer passes over memory, no compiler.

What is done differently, each because it was measured (benchmarks/results/training_speed.txt):
- rotation pairs neighbouring numbers of a head, so that it is one complex product; the rows of the projection are put
  into that order once per step, which leaves every q·k as it was;
- attention's weights are padded to whole vectors, for torch's softmax is slow on odd lengths;
- what is only passing by is overwritten in place, and backward keeps a block's outputs, not float32 copies of them.

Letters in shapes: B batch, S positions (puzzle positions first), P positions padded, H hidden size, N heads,
D head size, I inner width of the SwiGLU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu_packing import Packed, packed, product, scaled_product
from hrm_cli.models.layers import BlockWeights, Rotary, SwiGLUWeights
from hrm_cli.models.sizes import CPU_VECTOR

Weight = Tensor | Packed


class FixedSwiGLU(NamedTuple):
    """A SwiGLU's weights for the calls without gradient."""

    gate: Weight
    up: Weight
    down: Weight


class FixedWeights(NamedTuple):
    """A block's weights for the calls without gradient; None where the block has no such part."""

    qkv: Weight | None
    out: Weight | None
    mixing: FixedSwiGLU | None
    mlp: FixedSwiGLU


class CPUBlockWeights(NamedTuple):
    """One block's weights in the forward dtype, ordered for a CPU."""

    qkv: Tensor | None
    """`[3·N·D, H]`; the rows of each q and k head in pairs that are rotated together, where there is rotation."""
    out: Tensor | None
    """`[H, N·D]`"""
    turns: Tensor | None
    """RoPE's rotations as `rotations` gives them."""
    mixing: SwiGLUWeights | None
    mlp: SwiGLUWeights
    fixed: FixedWeights


def ordered_for_cpu(weights: BlockWeights, num_heads: int, turns: Tensor | None) -> CPUBlockWeights:
    """The weights of a block as the functions here want them; gradients flow through all but `fixed`."""
    qkv, out = weights.attention or (None, None)
    if qkv is not None and turns is not None:
        hidden = qkv.shape[1]
        q_and_k, v = qkv.split((2 * hidden, hidden))
        pairs = q_and_k.view(2 * num_heads, 2, -1, hidden).transpose(1, 2)
        qkv = torch.cat((pairs.reshape(2 * hidden, hidden), v))
    with torch.no_grad():
        fixed = FixedWeights(
            None if qkv is None else packed(qkv),
            None if out is None else packed(out),
            None if weights.mixing is None else _fixed(weights.mixing),
            _fixed(weights.mlp),
        )
    return CPUBlockWeights(qkv, out, turns, weights.mixing, weights.mlp, fixed)


def _fixed(weights: SwiGLUWeights) -> FixedSwiGLU:
    # Two products, so that each half is contiguous: what follows is then one vector loop each, in place.
    gate, up = weights.gate_up.chunk(2)
    return FixedSwiGLU(packed(gate), packed(up), packed(weights.down))


def rotations(rotary: Rotary) -> Tensor:
    """RoPE's tables `[S, D]` as complex numbers `[S, 2, 1, D/2]`, one for each pair of q and k; q is scaled by 1/√D."""
    size = rotary.cos.shape[-1]
    turns = torch.complex(rotary.cos[:, : size // 2], rotary.sin[:, : size // 2])
    return torch.stack((turns * size**-0.5, turns), dim=1).unsqueeze(2)


def cpu_block(x: Tensor, weights: CPUBlockWeights, num_heads: int, eps: float) -> Tensor:
    """One post-norm block on `[B, S, H]`, as `hrm_cli.models.layers.block`."""
    if not torch.is_grad_enabled():
        return _block_without_gradient(x, x, weights, num_heads, eps)
    if weights.qkv is not None and weights.out is not None:
        mixed = _attention(F.linear(x, weights.qkv), num_heads, weights.turns)
        x = add_and_norm(x, F.linear(mixed, weights.out), eps)
    if weights.mixing is not None:
        x = _mix_positions(x, weights.mixing, eps)
    return add_and_norm(x, swiglu(x, weights.mlp), eps)


def cpu_block_at_first(x: Tensor, weights: CPUBlockWeights, num_heads: int, eps: float) -> Tensor:
    """What `cpu_block` gives at the first position, `[B, 1, H]`, without gradient: all that the Q head reads."""
    return _block_without_gradient(x, x[:, :1], weights, num_heads, eps)


def _block_without_gradient(
    x: Tensor, wanted: Tensor, weights: CPUBlockWeights, num_heads: int, eps: float
) -> Tensor:
    """The block at the positions `wanted` `[B, s, H]`, the first of those of x."""
    fixed, count = weights.fixed, wanted.shape[1]
    if fixed.qkv is not None and fixed.out is not None:
        mixed = _attention(product(x, fixed.qkv), num_heads, weights.turns, count)
        wanted = _norm(product(mixed, fixed.out, wanted), eps)[0]
    if fixed.mixing is not None:
        turned = x.transpose(1, 2).contiguous()
        turned = _norm(_swiglu_plus(turned, fixed.mixing, turned), eps)[0]
        wanted = turned[:, :, :count].transpose(1, 2).contiguous()
    return _norm(_swiglu_plus(wanted, fixed.mlp, wanted), eps)[0]


def _swiglu_plus(x: Tensor, weights: FixedSwiGLU, plus: Tensor) -> Tensor:
    """down(silu(gate) · up) + plus over the last axis."""
    opened = F.silu(product(x, weights.gate), inplace=True)
    return product(scaled_product(x, weights.up, opened), weights.down, plus)


def _mix_positions(x: Tensor, weights: SwiGLUWeights, eps: float) -> Tensor:
    turned = x.transpose(1, 2).contiguous()
    return add_and_norm(turned, swiglu(turned, weights), eps).transpose(1, 2).contiguous()


def _attention(qkv: Tensor, num_heads: int, turns: Tensor | None, queries: int | None = None) -> Tensor:
    """Attention on the projection `[B, S, 3·N·D]`; without gradient only of the first `queries` positions."""
    batch, positions, _ = qkv.shape
    heads = qkv.view(batch, positions, 3, num_heads, -1)
    if torch.is_grad_enabled():
        q, k, v = _Heads.apply(heads, turns)
        attended = _WrittenOut.apply if qkv.dtype == torch.bfloat16 else _fused
    else:
        q, k, v = _split(heads, turns)
        q = q[:, :, :queries]
        attended = _attend if qkv.dtype == torch.bfloat16 else _fused
    return attended(q, k, v, positions).transpose(1, 2).reshape(batch, q.shape[2], -1)


def _split(heads: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """`[B, S, 3, N, D]` → q, k and v `[B, N, S, D]`, q and k rotated in float32, q scaled by 1/√D.

    In bfloat16 k and v are padded to whole vectors, `[B, N, P, D]`.
    """
    batch, positions, _, num_heads, size = heads.shape
    q_and_k = heads[:, :, :2]
    if turns is not None:
        wide = q_and_k.to(torch.float32, copy=True)
        _pairs(wide).mul_(turns)
        q_and_k = wide
    padded = positions + (-positions % CPU_VECTOR if heads.dtype == torch.bfloat16 else 0)
    q = heads.new_empty(batch, num_heads, positions, size)
    k, v = heads.new_empty(2, batch, num_heads, padded, size)
    q.copy_(q_and_k[:, :, 0].transpose(1, 2))
    if turns is None:
        q.mul_(size**-0.5)
    for target, source in ((k, q_and_k[:, :, 1]), (v, heads[:, :, 2])):
        target[:, :, :positions].copy_(source.transpose(1, 2))
        target[:, :, positions:] = 0
    return q, k, v


def _pairs(numbers: Tensor) -> Tensor:
    return torch.view_as_complex(numbers.unflatten(-1, (-1, 2)))


def _fused(q: Tensor, k: Tensor, v: Tensor, positions: int) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


class _Heads(torch.autograd.Function):
    """`_split`, and back by the opposite rotation."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor, turns: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        ctx.turns = turns
        return _split(heads, turns)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        q, k, v = (gradient.transpose(1, 2) for gradient in gradients)
        batch, positions, num_heads, size = q.shape
        heads = q.new_empty(batch, positions, 3, num_heads, size)
        heads[:, :, 2] = v[:, :positions]
        if ctx.turns is None:
            torch.mul(q, size**-0.5, out=heads[:, :, 0])
            heads[:, :, 1] = k[:, :positions]
            return heads, None
        wide = torch.empty(batch, positions, 2, num_heads, size)
        wide[:, :, 0], wide[:, :, 1] = q, k[:, :positions]
        _pairs(wide).mul_(ctx.turns.conj())
        heads[:, :, :2] = wide
        return heads, None


def _attend(q: Tensor, k: Tensor, v: Tensor, positions: int) -> Tensor:
    """softmax(q kᵀ) v for q `[B, N, s, D]` and k and v `[B, N, P, D]`, of which `positions` are no padding."""
    return _weights(q, k, positions) @ v


def _weights(q: Tensor, k: Tensor, positions: int) -> Tensor:
    """`[B, N, s, P]`, zero at the padding."""
    scores = q @ k.transpose(-1, -2)
    scores[..., positions:] = -torch.inf
    return torch.softmax(scores, dim=-1)


class _WrittenOut(torch.autograd.Function):
    """`_attend`, and its backward on padded weights as well."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, positions: int) -> Tensor:
        weights = _weights(q, k, positions)
        ctx.save_for_backward(q, k, v, weights)
        return weights @ v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        (gradient,) = gradients
        for_weights = gradient @ v.transpose(-1, -2)
        scores = torch._softmax_backward_data(for_weights, weights, -1, q.dtype)
        return scores @ k, scores.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ gradient, None


def swiglu(x: Tensor, weights: SwiGLUWeights) -> Tensor:
    """down(silu(gate) · up) over the last axis."""
    return _SwiGLU.apply(x, weights.gate_up, weights.down)


class _SwiGLU(torch.autograd.Function):
    """SwiGLU over the last axis; gate and up apart, so that every pass over them is over contiguous numbers."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        gate, up = (F.linear(x, half) for half in gate_up.chunk(2))
        opened = F.silu(gate)
        product = opened * up
        ctx.save_for_backward(x, gate_up, down, gate, up, opened, product)
        return F.linear(product, down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, gate_up, down, gate, up, opened, product = ctx.saved_tensors
        (gradient,) = gradients
        for_product = gradient @ down
        for_up = for_product * opened
        for_gate = torch.ops.aten.silu_backward(for_product.mul_(up), gate)
        to_gate, to_up = gate_up.chunk(2)
        for_x = (for_gate @ to_gate).flatten(0, -2).addmm_(for_up.flatten(0, -2), to_up).view_as(x)
        for_weights = torch.cat((_outer(for_gate, x), _outer(for_up, x)))
        return for_x, for_weights, _outer(gradient, product)


def _outer(gradient: Tensor, x: Tensor) -> Tensor:
    """The gradient `[out, in]` of a weight: gradients `[…, out]` times inputs `[…, in]`, summed."""
    return gradient.flatten(0, -2).T @ x.flatten(0, -2)


def add_and_norm(x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The RMS norm of x + y over the last axis, computed in float32, returned in the inputs' dtype."""
    return _AddAndNorm.apply(x, y, eps)


def _norm(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The RMS norm of x, which may be overwritten; and the factor of each vector, `[…, 1]` float32."""
    wide = x.float()
    mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    factor = mean_square.add_(eps).rsqrt_()
    return wide.mul_(factor).to(x.dtype), factor


class _AddAndNorm(torch.autograd.Function):
    """RMS norm of a sum; backward goes by its output, which the next layer keeps in any case."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, eps: float) -> Tensor:
        normed, factor = _norm(x + y, eps)
        ctx.save_for_backward(normed, factor)
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, factor = ctx.saved_tensors
        gradient = gradients[0].to(torch.float32, copy=True)
        wide = normed.to(torch.float32, copy=True)
        # x̂ = f·x with f from the mean square: dx = f·(dx̂ − x̂·mean(dx̂·x̂)).
        along = torch.linalg.vecdot(gradient, wide).div_(wide.shape[-1]).unsqueeze(-1)
        both = gradient.sub_(wide.mul_(along)).mul_(factor).to(normed.dtype)
        return both, both, None
