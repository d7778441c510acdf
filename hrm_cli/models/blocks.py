"""One post-norm block: a mixer over positions (`arch.mixer`), then a SwiGLU, each with a norm (hrm-spec "Blocks").

Letters in shapes: B batch, S positions (puzzle positions first), H hidden size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
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
from hrm_cli.models.units import RelationTables, Units, UnitsWeights, mix_units
from hrm_cli.puzzles.relations import Relations


class BlockWeights(NamedTuple):
    """One block's weights in the forward dtype. One of `attention`, `mixing` and `units` is set."""

    attention: AttentionWeights | None
    mixing: SwiGLUWeights | None
    mlp: SwiGLUWeights
    units: UnitsWeights | None = None
    """Weights of the `units` mixer."""


class Block(nn.Module):
    """Parameters of one post-norm block: a mixer over positions, then a SwiGLU. RMS norm has no parameters."""

    def __init__(
        self, arch: ArchConfig, positions: int, relations: Relations | None = None, *, attends: bool = True
    ) -> None:
        super().__init__()
        if arch.mixer == "units":
            assert relations is not None
            self.units = Units(arch.hidden_size, arch.num_heads, relations, attends=attends)
        elif arch.mlp_t:
            self.mlp_t = SwiGLU(positions, arch.expansion)
        else:
            self.self_attn = Attention(arch.hidden_size)
        self.mlp = SwiGLU(arch.hidden_size, arch.expansion)

    def cast(self, dtype: torch.dtype) -> BlockWeights:
        """The weights in `dtype`."""
        mixers = self._modules
        return BlockWeights(
            self.self_attn.cast(dtype) if "self_attn" in mixers else None,
            self.mlp_t.cast(dtype) if "mlp_t" in mixers else None,
            self.mlp.cast(dtype),
            self.units.cast(dtype) if "units" in mixers else None,
        )


class ReasoningModule(nn.Module):
    """The H-module or the L-module: a stack of blocks. `attends` gives the `units` mixer attention between cells."""

    def __init__(
        self,
        arch: ArchConfig,
        num_layers: int,
        positions: int,
        relations: Relations | None = None,
        *,
        attends: bool = True,
    ) -> None:
        super().__init__()
        blocks = (Block(arch, positions, relations, attends=attends) for _ in range(num_layers))
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
    tables: RelationTables | None = None,
) -> Tensor:
    """One post-norm block: x ← norm(x + attention(x)); x ← norm(x + swiglu(x)).

    With token mixing, the first half is xᵀ ← norm(xᵀ + swiglu(xᵀ)), with the norm over positions (arXiv 2510.04871).
    With the `units` mixer, it is x ← norm(x + mix_units(x)).
    """
    if weights.attention is not None:
        x = rms_norm(x + self_attention(x, weights.attention, num_heads, rotary), eps)
    if weights.units is not None:
        assert tables is not None
        x = rms_norm(x + mix_units(x, weights.units, tables), eps)
    if weights.mixing is not None:
        turned = x.transpose(1, 2)
        x = rms_norm(turned + swiglu(turned, weights.mixing), eps).transpose(1, 2)
    return rms_norm(x + swiglu(x, weights.mlp), eps)
