"""Training objectives: what one step computes, and its loss. Every core names its default objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from hrm_cli.config.train import TrainConfig, depth_at
from hrm_cli.models.act import ACTModel, Carry, PuzzleBatch
from hrm_cli.models.core import Depth
from hrm_cli.models.losses import act_loss, divergence, log_probabilities
from hrm_cli.models.rng import StepRNG, forked_rng
from hrm_cli.training.row_starts import row_starts


@dataclass
class Supervised:
    """The result of one training step, ready for the backward pass."""

    loss: Tensor
    """Summed over rows; the step divides it by the global batch size."""
    metrics: dict[str, Tensor]
    """Sums over rows: `count`, `accuracy`, `exact_accuracy`, `q_halt_accuracy`, `steps` and the loss's parts."""
    current: PuzzleBatch
    """The puzzles of this step."""
    logits: Tensor
    """`[B, S, V]`"""
    fresh: Tensor
    """Rows that took a new puzzle at this step, `[B]` bool."""
    puzzle_rows: Tensor | None = None
    """The puzzle embeddings used, a leaf tensor that receives their gradient."""
    l_logits: Tensor | None = None
    """What the output head reads from L's state, `[B, S, V]`, with `train.l_distill_weight`."""

    def l_distillation(self, token_loss: str) -> Tensor | None:
        """KL(H's answer ‖ L's), without gradient to H's; averaged over labeled tokens, summed over rows."""
        if self.l_logits is None:
            return None
        targets = log_probabilities(self.logits.detach(), token_loss)
        return divergence(targets, self.l_logits, self.current.labels, token_loss)


@dataclass(frozen=True)
class Progress:
    """The progress of a run."""

    step: int = 0
    """Optimizer steps done."""
    total_steps: int = 1

    @property
    def share(self) -> float:
        """Fraction of the run that is done, 0..1."""
        return self.step / self.total_steps


class Objective(Protocol):
    """What one step computes: the carry after it, and its loss."""

    def __call__(
        self,
        model: ACTModel,
        carry: Carry | None,
        batch: PuzzleBatch,
        config: TrainConfig,
        rng: StepRNG,
        progress: Progress,
        weights: Any = None,
        /,
    ) -> tuple[Carry | None, Supervised]:
        """`weights` is the result of `core.cast_weights`, which is called if it is None."""


def deep_supervision(
    model: ACTModel,
    carry: Carry | None,
    batch: PuzzleBatch,
    config: TrainConfig,
    rng: StepRNG,
    progress: Progress,
    weights: Any = None,
) -> tuple[Carry, Supervised]:
    """A loss after every ACT step; rows continue from step to step until they halt (HRM, TRM).

    With a depth schedule and `supervision_decay`, this is CGAR (arXiv 2511.08653).
    """
    cycles = depth_at(progress.share, config.depth_schedule) or (model.arch.H_cycles, model.arch.L_cycles)
    depth = Depth(
        *cycles,
        trains_last_cycle=config.gradient == "last_cycle",
        trains_all_cycles=config.gradient == "all_cycles",
    )
    begins = carry is None
    starts = row_starts(model, config, rng, depth)
    carry, out = model.train_step(
        carry or model.initial_carry(batch),
        batch,
        rng,
        depth,
        weights,
        None if starts is None else starts.prepare,
    )
    loss, metrics = (model.compiled_loss or act_loss)(
        out.logits,
        carry.current.labels,
        out.q_halt,
        out.q_continue,
        out.target_q_continue,
        carry.halted,
        carry.steps,
        config.loss,
        _supervision_weights(carry.steps, config.supervision_decay, model.arch.halt_max_steps),
    )
    done = Supervised(
        loss, metrics, carry.current, out.logits, carry.steps == 1, out.puzzle_rows, out.l_logits
    )
    if begins and config.stagger:
        offsets = (rng.shares(carry.steps.device) * model.arch.halt_max_steps).to(carry.steps.dtype)
        carry = replace(carry, steps=carry.steps + offsets)
    return carry, done


def _supervision_weights(steps: Tensor, decay: float, most: int) -> Tensor | None:
    # w_t = N·λ^(t−1) ÷ Σ λ^(s−1), so that the mean weight over a puzzle's N steps is 1.
    if decay == 1:
        return None
    return decay ** (steps - 1).float() * (most * (1 - decay) / (1 - decay**most))


def rsm(
    model: ACTModel,
    carry: Carry | None,
    batch: PuzzleBatch,
    config: TrainConfig,
    rng: StepRNG,
    progress: Progress,
    weights: Any = None,
) -> tuple[Carry | None, Supervised]:
    """One loss at the end of a recursion that starts from the initial states for every batch (arXiv 2603.15641).

    All outer steps except the last run without gradient, unless `train.gradient` is all_cycles. If the core has a Q
    head, it learns whether the final answer is correct.

    With `carry_over` p, a fraction p of the rows keeps its puzzle and continues from the detached state of the
    previous step, so a row continues for n further steps with probability pⁿ. The loss then covers states of every
    depth, including solved ones, and the model learns to work at depths beyond the recursion of one step.
    """
    core = model.core
    every = torch.ones(len(batch.inputs), dtype=torch.bool, device=batch.inputs.device)
    fresh = every
    if config.carry_over:
        carry = carry or model.initial_carry(batch)
        fresh = carry.halted | (rng.shares(every.device) >= config.carry_over)
        batch = carry.current.where_not(fresh, batch)
        before = core.reset(carry.inner, fresh)
        steps = torch.where(fresh, 0, carry.steps) + 1
    else:
        before = core.initial_carry(batch.inputs)
        steps = torch.full_like(every, 1, dtype=torch.int32)
    puzzle_rows = model.puzzle_rows(batch.puzzle_identifiers, requires_grad=True)
    depth = _rsm_depth(model, config, progress)
    starts = row_starts(model, config, rng, depth)
    if starts is not None:
        weights = weights or core.cast_weights()
        before = starts.prepare(before, batch, fresh, puzzle_rows, weights)
    after, out = core(before, batch.inputs, puzzle_rows, weights, depth=depth)
    assert out.logits is not None
    q_halt = out.q_halt if model.arch.halting == "q_learning" else None
    loss, metrics = (model.compiled_loss or act_loss)(
        out.logits, batch.labels, q_halt, None, None, every, steps, config.loss
    )
    kept = Carry(after, steps, torch.zeros_like(every), batch) if config.carry_over else None
    return kept, Supervised(loss, metrics, batch, out.logits, fresh, puzzle_rows, out.l_logits)


def _rsm_depth(model: ACTModel, config: TrainConfig, progress: Progress) -> Depth:
    # Sampled on the host: reading a number from the accelerator would make every step wait for it.
    reaches_back = np.random.default_rng([config.seed, progress.step]).random() < config.reach_back
    cycles = depth_at(progress.share, config.depth_schedule) or (model.arch.H_cycles, model.arch.L_cycles)
    return Depth(
        *cycles,
        trains_last_cycle=True,
        reaches_back=bool(reaches_back),
        trains_all_cycles=config.gradient == "all_cycles",
    )


@runtime_checkable
class WholeForwardCore(Protocol):
    """A core with a loss of its own for a whole forward pass, such as nova."""

    def training_loss(
        self, inputs: Tensor, labels: Tensor, token_loss: str
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """The loss of puzzles `[B, S]` summed over rows, sums of metrics, and the logits."""


def whole_forward(
    model: ACTModel,
    carry: Carry | None,
    batch: PuzzleBatch,
    config: TrainConfig,
    rng: StepRNG,
    progress: Progress,
    weights: Any = None,
) -> tuple[None, Supervised]:
    """One loss at the end of a forward pass through all cycles; every step takes new puzzles (nova)."""
    core = model.inner
    assert isinstance(core, WholeForwardCore)
    device = batch.inputs.device
    # Dropout uses torch's global generator. It is seeded from ours and restored, so that runs resume exactly.
    with forked_rng(device, rng.seed()):
        loss, metrics, logits = core.training_loss(batch.inputs, batch.labels, config.loss)
    fresh = torch.ones(len(batch.inputs), dtype=torch.bool, device=device)
    return None, Supervised(loss, metrics, batch, logits, fresh)


OBJECTIVES: dict[str, Objective] = {
    "deep_supervision": deep_supervision,
    "rsm": rsm,
    "whole_forward": whole_forward,
}


def objective_of(model: ACTModel, config: TrainConfig) -> Objective:
    """The objective that a run trains with: `train.objective`, or the core's default."""
    return OBJECTIVES[config.objective or model.core.objective]
