"""The HRM core: a slow H-module and a fast L-module in a recurrence (arXiv 2506.21734; hrm-spec "Input", "Recursion").

Letters in shapes: B batch, S tokens of a puzzle, P puzzle positions in front of them, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.schema import ArchConfig
from hrm_cli.models.core import CoreOutput, InnerCarry
from hrm_cli.models.layers import (
    BlockWeights,
    Embedding,
    Linear,
    ReasoningModule,
    Rotary,
    reason,
    rotary_tables,
    truncated_normal_,
)
from hrm_cli.models.puzzle_embedding import PuzzleEmbedding, as_positions

# sigmoid(-5): at the start the model neither halts early nor pretends to know anything.
_Q_HEAD_BIAS = -5.0


class HRMWeights(NamedTuple):
    """Every weight of the core in the forward dtype, cast once per step."""

    embed_tokens: Tensor
    embed_pos: Tensor | None
    lm_head: Tensor
    q_head: Tensor
    q_head_bias: Tensor
    H_level: list[BlockWeights]
    L_level: list[BlockWeights]


class HRM(nn.Module):
    """Two reasoning modules over puzzle and token positions; gradient reaches the last update of each only."""

    H_init: Tensor
    L_init: Tensor
    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(self, arch: ArchConfig, vocab_size: int, seq_len: int, num_puzzle_identifiers: int) -> None:
        super().__init__()
        self.arch, self.vocab_size, self.seq_len = arch, vocab_size, seq_len
        self.dtype = torch.float32
        hidden, positions = arch.hidden_size, arch.puzzle_emb_len + seq_len

        self.embed_tokens = Embedding(vocab_size, hidden)
        self.lm_head = Linear(hidden, vocab_size)
        self.q_head = Linear(hidden, 2, bias=True)
        if arch.puzzle_emb_size:
            self.puzzle_emb = PuzzleEmbedding(num_puzzle_identifiers, arch.puzzle_emb_size)
        if arch.pos_encodings == "learned":
            self.embed_pos = Embedding(positions, hidden)
        elif arch.pos_encodings == "rope":
            # Derived from the configuration, so not stored; a buffer so that it moves with the model.
            rotary = rotary_tables(positions, arch.head_dim, arch.rope_theta)
            self.register_buffer("rope_cos", rotary.cos, persistent=False)
            self.register_buffer("rope_sin", rotary.sin, persistent=False)
        self.H_level = ReasoningModule(hidden, arch.H_layers, arch.expansion)
        self.L_level = ReasoningModule(hidden, arch.L_layers, arch.expansion)
        self.register_buffer("H_init", torch.empty(hidden))
        self.register_buffer("L_init", torch.empty(hidden))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Draws every parameter and the two fixed initial states; the Q head starts at zero with bias −5."""
        for module in self.modules():
            if isinstance(module, Linear | Embedding):
                module.initialise(generator)
        nn.init.zeros_(self.q_head.weight)
        nn.init.constant_(self.q_head.bias, _Q_HEAD_BIAS)  # type: ignore[arg-type]
        truncated_normal_(self.H_init, 1.0, generator)
        truncated_normal_(self.L_init, 1.0, generator)

    def cast_weights(self) -> HRMWeights:
        """The weights in the forward dtype."""
        dtype = self.dtype
        learned = self.arch.pos_encodings == "learned"
        return HRMWeights(
            self.embed_tokens.embedding_weight.to(dtype),
            self.embed_pos.embedding_weight.to(dtype) if learned else None,
            self.lm_head.weight.to(dtype),
            self.q_head.weight.to(dtype),
            self.q_head.bias.to(dtype),  # type: ignore[union-attr]
            self.H_level.cast(dtype),
            self.L_level.cast(dtype),
        )

    def initial_carry(self, batch_size: int) -> InnerCarry:
        """H_init and L_init, broadcast over `batch_size` rows and all positions."""
        shape = (batch_size, self.arch.puzzle_emb_len + self.seq_len, self.arch.hidden_size)
        return InnerCarry(*(z.to(self.dtype).expand(shape) for z in (self.H_init, self.L_init)))

    def reset(self, carry: InnerCarry, rows: Tensor) -> InnerCarry:
        """`carry` with the initial states in the rows where the mask `[B]` is set."""
        mask = rows.view(-1, 1, 1)
        return InnerCarry(
            torch.where(mask, self.H_init.to(carry.z_H.dtype), carry.z_H),
            torch.where(mask, self.L_init.to(carry.z_L.dtype), carry.z_L),
        )

    def embed(self, inputs: Tensor, puzzle_rows: Tensor | None, weights: HRMWeights) -> Tensor:
        """Input embedding e: puzzle positions, then tokens, plus learned positions, times √H. `[B, P+S, H]`."""
        hidden = self.arch.hidden_size
        embedding = F.embedding(inputs, weights.embed_tokens)
        if puzzle_rows is not None:
            prefix = as_positions(puzzle_rows.to(self.dtype), self.arch.puzzle_emb_len, hidden)
            embedding = torch.cat((prefix, embedding), dim=-2)
        if weights.embed_pos is not None:
            # (e + pos)/√2 keeps the variance of e.
            embedding = (embedding + weights.embed_pos) * math.sqrt(0.5)
        return embedding * math.sqrt(hidden)

    def forward(
        self,
        carry: InnerCarry,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: HRMWeights | None = None,
        *,
        with_logits: bool = True,
    ) -> tuple[InnerCarry, CoreOutput]:
        """One ACT step: H_cycles × (L_cycles × L, then H); only the last L and the last H carry gradient."""
        arch = self.arch
        weights = weights or self.cast_weights()
        rotary = Rotary(self.rope_cos, self.rope_sin) if arch.pos_encodings == "rope" else None
        shared = (arch.num_heads, rotary, arch.rms_norm_eps)
        embedding = self.embed(inputs, puzzle_rows, weights)
        z_H, z_L = carry.z_H, carry.z_L

        with torch.no_grad():
            for h in range(arch.H_cycles):
                last_cycle = h == arch.H_cycles - 1
                for _ in range(arch.L_cycles - last_cycle):
                    z_L = reason(z_L, z_H + embedding, weights.L_level, *shared)
                if not last_cycle:
                    z_H = reason(z_H, z_L, weights.H_level, *shared)
        z_L = reason(z_L, z_H + embedding, weights.L_level, *shared)
        z_H = reason(z_H, z_L, weights.H_level, *shared)

        logits = F.linear(z_H[:, arch.puzzle_emb_len :], weights.lm_head) if with_logits else None
        q_values = F.linear(z_H[:, 0], weights.q_head, weights.q_head_bias).float()
        return InnerCarry(z_H.detach(), z_L.detach()), CoreOutput(logits, q_values[:, 0], q_values[:, 1])
