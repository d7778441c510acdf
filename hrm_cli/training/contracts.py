"""How a core is trained: what one step computes, and what its loss is. A core names its contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hrm_cli.config.schema import TrainConfig
from hrm_cli.models.act import ACTModel, Carry, PuzzleBatch
from hrm_cli.models.draws import Draws
from hrm_cli.models.losses import act_loss
from hrm_cli.models.nova import Nova


@dataclass
class Supervised:
    """One training step, ready for backward."""

    loss: Tensor
    """Summed over rows; the step divides it by the global batch size."""
    metrics: dict[str, Tensor]
    """Sums over rows: `count`, `accuracy`, `exact_accuracy`, `q_halt_accuracy`, `steps` and the loss's parts."""
    current: PuzzleBatch
    """The puzzles that the step worked on."""
    logits: Tensor
    """`[B, S, V]`"""
    fresh: Tensor
    """Rows whose puzzle is new at this step, `[B]` bool."""
    puzzle_rows: Tensor | None = None
    """The puzzle embeddings in use, a leaf that gets their gradient."""


Contract = Callable[
    [ACTModel, Carry | None, PuzzleBatch, TrainConfig, Draws], tuple[Carry | None, Supervised]
]


def deep_supervision(
    model: ACTModel,
    carry: Carry | None,
    batch: PuzzleBatch,
    config: TrainConfig,
    draws: Draws,
) -> tuple[Carry, Supervised]:
    """A loss after every ACT step; rows go on from step to step until they halt (HRM, TRM)."""
    carry, out = model.train_step(carry or model.initial_carry(batch), batch, draws)
    loss, metrics = act_loss(
        out.logits,
        carry.current.labels,
        out.q_halt,
        out.q_continue,
        out.target_q_continue,
        carry.halted,
        carry.steps,
        config.loss,
    )
    return carry, Supervised(loss, metrics, carry.current, out.logits, carry.steps == 1, out.puzzle_rows)


def whole_forward(
    model: ACTModel,
    carry: Carry | None,
    batch: PuzzleBatch,
    config: TrainConfig,
    draws: Draws,
) -> tuple[None, Supervised]:
    """One loss at the end of a forward pass through all cycles; every step takes new puzzles (nova)."""
    core = model.inner
    assert isinstance(core, Nova)
    device = batch.inputs.device
    # Dropout draws from torch's global generator: seeded here from ours, and put back, so that runs resume exactly.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(draws.seed())
        loss, metrics, logits = core.training_loss(batch.inputs, batch.labels, config.loss)
    fresh = torch.ones(len(batch.inputs), dtype=torch.bool, device=device)
    return None, Supervised(loss, metrics, batch, logits, fresh)


CONTRACTS: dict[str, Contract] = {"deep_supervision": deep_supervision, "whole_forward": whole_forward}
