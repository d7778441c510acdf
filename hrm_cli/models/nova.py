"""The nova core: two stacks of standard encoder layers with bridges in both directions (parameter ledger).

This is not a smaller HRM but a different architecture. It runs all cycles in one forward pass, backpropagates through
all of them, and reads its answer from the L-state. h and l both start as the token embedding plus fixed sinusoidal
positions. Each cycle computes h ← norm(H(h)); l ← norm(L(l + h_to_l(h))); h ← h + l_to_h(l); and the halt probability
σ(predictor(mean h, mean l)).

Letters in shapes: B batch, S tokens of a puzzle, H hidden size, V vocabulary.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import NOVA_POSITIONS, ArchConfig, encoder_width
from hrm_cli.errors import ConfigError
from hrm_cli.models.core import CoreOutput, InnerCarry
from hrm_cli.models.layers import attend
from hrm_cli.models.losses import TOKEN_LOSSES, compare
from hrm_cli.models.recomputing import recomputed
from hrm_cli.models.rng import forked_rng

FEWEST_CYCLES = 2
HALT_LOSS_WEIGHT = 0.01


def sinusoidal_positions(positions: int, hidden_size: int) -> Tensor:
    """The fixed table `[positions, H]`: sines in even columns, cosines in odd ones, wavelengths up to 10000·2π."""
    frequencies = torch.exp(torch.arange(0, hidden_size, 2) * (-math.log(10000.0) / hidden_size))
    angles = torch.arange(positions).unsqueeze(1) * frequencies
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :hidden_size]


class EncoderLayer(nn.TransformerEncoderLayer):
    """torch's standard layer with our attention: torch's own is several times slower in bfloat16 on a CPU."""

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        attention = self.self_attn
        fused = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = fused.unflatten(-1, (3, attention.num_heads, -1)).unbind(2)
        mixed = attend(q, k, v, attention.dropout if self.training else 0.0)
        return self.dropout1(attention.out_proj(mixed.flatten(-2)))


class Nova(nn.Module):
    """The published architecture with 6.95M parameters. It has no puzzle embeddings and no outer carry."""

    objective: ClassVar[str] = "whole_forward"

    positions: Tensor

    def __init__(self, arch: ArchConfig, vocab_size: int, seq_len: int, num_puzzle_identifiers: int) -> None:
        super().__init__()
        if seq_len > NOVA_POSITIONS:
            raise ConfigError(
                f"core nova has {NOVA_POSITIONS} positions, but the puzzles have {seq_len} cells"
            )
        if arch.hidden_size % 2:
            raise ConfigError(f"core nova needs an even arch.hidden_size, found {arch.hidden_size}")
        self.arch, self.vocab_size, self.seq_len = arch, vocab_size, seq_len
        self.dtype = torch.float32
        self.recomputes_activations = False
        hidden = arch.hidden_size
        self.token_embedding = nn.Embedding(vocab_size, hidden)
        self.register_buffer("positions", torch.empty(NOVA_POSITIONS, hidden))
        self.h_layers = nn.ModuleList(self._layer() for _ in range(arch.H_layers))
        self.l_layers = nn.ModuleList(self._layer() for _ in range(arch.L_layers))
        self.h_norm, self.l_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.h_to_l, self.l_to_h = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.halt_predictor = nn.Linear(2 * hidden, 1)
        self.output = nn.Linear(hidden, vocab_size)

    def _layer(self) -> EncoderLayer:
        arch = self.arch
        width = encoder_width(arch.hidden_size, arch.expansion)
        return EncoderLayer(
            arch.hidden_size, arch.num_heads, width, arch.dropout, batch_first=True, norm_first=False
        )

    @property
    def halts_together(self) -> bool:
        """Whether the batch's mean halt probability decides (`arch.nova_halting` is `mean`)."""
        return self.arch.nova_halting == "mean"

    @property
    def trains_q_continue(self) -> bool:
        """Always False: nova predicts only a halt probability."""
        return False

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes every parameter as torch's layers do, using `generator`, and fills the position table."""
        seed = torch.randint(2**62, (), generator=generator).item()
        with forked_rng(torch.device("cpu"), int(seed)):
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm):
                    module.reset_parameters()
            # This must follow the loop above: it sets the bias of the output projection to zero.
            for module in self.modules():
                if isinstance(module, nn.MultiheadAttention):
                    module._reset_parameters()
            for stack in (self.h_layers, self.l_layers):
                for matrix in (p for p in stack.parameters() if p.dim() > 1):
                    nn.init.xavier_uniform_(matrix)
        self.positions.copy_(sinusoidal_positions(NOVA_POSITIONS, self.arch.hidden_size))

    def cast_weights(self) -> None:
        """Returns None: the layers are torch's own and are cast by autocast."""

    def initial_carry(self, inputs: Tensor) -> InnerCarry:
        """Both states start as the embedded puzzle, `[B, S, H]`."""
        embedded = self.token_embedding(inputs) + self.positions[: inputs.shape[1]]
        embedded = F.dropout(embedded, self.arch.dropout, self.training)
        return InnerCarry(embedded, embedded)

    def reset(self, carry: InnerCarry, rows: Tensor) -> InnerCarry:
        """Raises RuntimeError: a row cannot be replaced in the middle of a forward pass."""
        raise RuntimeError("nova's states start with the puzzle; there is no row to reset")

    def cycle(self, carry: InnerCarry) -> tuple[InnerCarry, Tensor]:
        """One cycle: both states and the halt logits `[B]`, with gradient."""
        h, low = carry.z_H, carry.z_L
        h = self._through(self.h_layers, h)
        h = self.h_norm(h)
        low = low + self.h_to_l(h)
        low = self._through(self.l_layers, low)
        low = self.l_norm(low)
        h = h + self.l_to_h(low)
        pooled = torch.cat((h.mean(dim=1), low.mean(dim=1)), dim=-1)
        return InnerCarry(h, low), self.halt_predictor(pooled).squeeze(-1).float()

    def _through(self, layers: nn.ModuleList, state: Tensor) -> Tensor:
        recomputes = self.recomputes_activations and torch.is_grad_enabled()
        for layer in layers:
            state = recomputed(layer, state, uses_rng=True) if recomputes else layer(state)
        return state

    def forward(
        self,
        carry: InnerCarry,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: None = None,
        *,
        with_logits: bool = True,
        depth: None = None,
    ) -> tuple[InnerCarry, CoreOutput]:
        """One cycle at inference, which is one ACT step of this core. The states already contain `inputs`."""
        with self._autocast(inputs.device):
            carry, halt = self.cycle(carry)
            logits = self.output(carry.z_L) if with_logits else None
        return carry, CoreOutput(logits, halt, torch.zeros_like(halt))

    def halts(self, step: int | Tensor, out: CoreOutput) -> Tensor:
        """Rows halt from the second cycle on when the halt probability (batch mean or per row) exceeds `arch.halts_at`.

        That is 0.9 unless set.
        """
        probability = out.q_halt.sigmoid()
        if self.arch.nova_halting == "mean":
            probability = probability.mean().expand_as(probability)
        return (probability > self.arch.halts_at) & (step >= FEWEST_CYCLES)

    def training_loss(
        self, inputs: Tensor, labels: Tensor, token_loss: str
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The published loss of a whole forward pass, summed over rows; also the metrics' sums and the last logits.

        The loss is token cross-entropy + 0.01 · halt probability of the last cycle (+ bridge loss weight × mean squared
        error between each state and the other bridge's prediction of it, over positions and width).
        """
        with self._autocast(inputs.device):
            running = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
            carry = self.initial_carry(inputs)
            halt = torch.zeros(len(inputs), device=inputs.device)
            steps = torch.zeros(len(inputs), dtype=torch.int32, device=inputs.device)
            for step in range(1, self.arch.halt_max_steps + 1):
                following, logit = self.cycle(carry)
                # A row that has halted keeps its states, as if it had been removed from the batch.
                mask = running.view(-1, 1, 1)
                carry = InnerCarry(
                    torch.where(mask, following.z_H, carry.z_H), torch.where(mask, following.z_L, carry.z_L)
                )
                halt = torch.where(running, logit, halt)
                steps = steps + running
                running = running & ~self.halts(step, CoreOutput(None, logit.detach(), logit.detach()))
                # On an accelerator the host would wait for the answer; the results of halted rows are discarded.
                if running.device.type == "cpu" and not running.any():
                    break
            logits = self.output(carry.z_L)
        rows = compare(logits.argmax(-1), labels)
        token = (TOKEN_LOSSES[token_loss](logits, labels) / rows.labeled.clamp(min=1).unsqueeze(-1)).sum()
        halting = halt.sigmoid().sum()
        loss = token + HALT_LOSS_WEIGHT * halting
        counted = rows.labeled > 0
        metrics = {
            "count": counted.sum(),
            "accuracy": torch.where(counted, rows.accuracy, 0.0).sum(),
            "exact_accuracy": (counted & rows.correct).sum(),
            "q_halt_accuracy": (counted & ((halt >= 0) == rows.correct)).sum(),
            "steps": torch.where(counted, steps, 0).sum(),
            "lm_loss": token.detach(),
            "halt_loss": halting.detach() * HALT_LOSS_WEIGHT,
        }
        if self.arch.nova_bridge_loss_weight:
            bridges = self._bridge_loss(carry)
            loss = loss + self.arch.nova_bridge_loss_weight * bridges
            metrics["bridge_loss"] = bridges.detach()
        return loss, metrics, logits

    def _bridge_loss(self, carry: InnerCarry) -> Tensor:
        # Follows the sketch in the published document: each state predicts the other, which is a fixed target.
        down = (self.h_to_l(carry.z_H) - carry.z_L.detach()).float().square().mean(dim=(1, 2))
        up = (self.l_to_h(carry.z_L) - carry.z_H.detach()).float().square().mean(dim=(1, 2))
        return (down + up).sum()

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(device.type, self.dtype)
