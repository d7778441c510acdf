"""One post-norm block: a mixer over positions (`arch.mixer`), then a SwiGLU, each with a norm (hrm-spec "Blocks").

Letters in shapes: B batch, S positions (puzzle positions first), H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import mixer_entry
from hrm_cli.models.layers import (
    Attention,
    AttentionWeights,
    Rotary,
    SwiGLU,
    SwiGLUWeights,
    rms_norm,
    self_attention,
    swiglu,
)

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure


class BlockWeights(NamedTuple):
    """One block's weights in the forward dtype. One of `attention`, `mixing` and `structured` is set."""

    attention: AttentionWeights | None
    mixing: SwiGLUWeights | None
    mlp: SwiGLUWeights
    structured: Any = None
    """Weights of a mixer built on a structure, in its own form."""


class Block(nn.Module):
    """Parameters of one post-norm block: a mixer over positions, then a SwiGLU. RMS norm has no parameters."""

    def __init__(
        self, arch: ArchConfig, positions: int, structure: Structure | None = None, *, attends: bool = True
    ) -> None:
        super().__init__()
        entry = mixer_entry(arch.mixer or "attention")
        self.structured = entry.kind
        if structure is not None:
            self.add_module(entry.kind, structure.parameters(arch, attends=attends))
        elif arch.mlp_t:
            self.mlp_t = SwiGLU(positions, arch.expansion)
        else:
            self.self_attn = Attention(arch.hidden_size, arch.num_heads if arch.qk_norm else None)
        self.mlp = SwiGLU(arch.hidden_size, arch.expansion, entry.width_multiple)

    def finish_initialization(self) -> None:
        """Lets a structured mixer adjust the weights of a new block, after its linear layers have been initialized."""
        if self.structured:
            self.get_submodule(self.structured).finish_initialization(self.mlp)  # type: ignore[operator]

    def cast(self, dtype: torch.dtype) -> BlockWeights:
        """The weights in `dtype`."""
        mixers = self._modules
        return BlockWeights(
            self.self_attn.cast(dtype) if "self_attn" in mixers else None,
            self.mlp_t.cast(dtype) if "mlp_t" in mixers else None,
            self.mlp.cast(dtype),
            self.get_submodule(self.structured).cast(dtype) if self.structured else None,  # type: ignore[operator]
        )


class ReasoningModule(nn.Module):
    """The H-module or the L-module: a stack of blocks. `attends` is for structured mixers that have attention."""

    def __init__(
        self,
        arch: ArchConfig,
        num_layers: int,
        positions: int,
        structure: Structure | None = None,
        *,
        attends: bool = True,
    ) -> None:
        super().__init__()
        blocks = (Block(arch, positions, structure, attends=attends) for _ in range(num_layers))
        self.layers = nn.ModuleList(blocks)

    def cast(self, dtype: torch.dtype) -> list[BlockWeights]:
        """Every block's weights in `dtype`."""
        return [layer.cast(dtype) for layer in self.layers]  # type: ignore[operator]


def block(
    x: Tensor,
    weights: BlockWeights,
    num_heads: int,
    rotary: Rotary | None,
    eps: float,
    structure: Structure | None = None,
    tables: Any = None,
) -> Tensor:
    """One post-norm block: x ← norm(x + attention(x)); x ← norm(x + swiglu(x)).

    With token mixing, the first half is xᵀ ← norm(xᵀ + swiglu(xᵀ)), with the norm over positions (arXiv 2510.04871).
    With a structured mixer, it is x ← norm(x + structure.mix(x)).
    If x is float32 and the weights are not (`arch.state_dtype`), sums and norms stay in float32.
    """
    dtype = weights.mlp.down.dtype
    if weights.attention is not None:
        x = rms_norm(x + self_attention(x.to(dtype), weights.attention, num_heads, rotary), eps)
    if structure is not None:
        x = rms_norm(x + structure.mix(x.to(dtype), weights.structured, tables), eps)
    if weights.mixing is not None:
        turned = x.transpose(1, 2)
        x = rms_norm(turned + swiglu(turned.to(dtype), weights.mixing), eps).transpose(1, 2)
    return rms_norm(x + swiglu(x.to(dtype), weights.mlp), eps)
