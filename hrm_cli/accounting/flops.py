"""FLOPs of a model's matmuls. A multiply-add counts as two.

Elementwise operations (norms, softmax, the optimizer) are not counted, as is common practice. They are less than one
percent at these sizes. The backward pass of a matmul consists of two matmuls of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrm_cli.accounting.components import components
from hrm_cli.accounting.kinds import Part
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.train import TrainConfig, depth_fractions


@dataclass(frozen=True)
class StepFlops:
    """FLOPs of one ACT step for one puzzle."""

    forward: int
    """At inference."""
    training: int
    """In training: the forward pass of all cycles, the backward pass of cycles with gradient, and the second forward
    pass for the Q target."""


def step_flops(parts: Sequence[Part]) -> StepFlops:
    """The FLOPs of one ACT step of the core with these parts."""
    return StepFlops(
        sum((part.flops + part.fixed_flops) * part.runs.inference for part in parts),
        sum(
            part.flops * (part.runs.without_gradient + 3 * part.runs.with_gradient)
            + part.fixed_flops * (part.runs.without_gradient + 2 * part.runs.with_gradient)
            for part in parts
        ),
    )


def step_flops_by_kind(parts: Sequence[Part]) -> dict[str, StepFlops]:
    """The FLOPs of one ACT step by kind of matmul, the most expensive kind in training first."""
    found = {
        kind: step_flops([part for part in parts if part.kind == kind])
        for kind in dict.fromkeys(part.kind for part in parts if part.flops)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].training))


@dataclass(frozen=True)
class RunFlops:
    """FLOPs of a complete training run, without its evaluations."""

    steps: int
    """Optimizer steps."""
    global_batch_size: int
    """Puzzles in each step."""
    training: int


def training_flops(
    arch: ArchConfig, train: TrainConfig, vocab_size: int, seq_len: int, begin: float = 0.0
) -> int:
    """FLOPs of a training step for one puzzle.

    With a depth schedule, the mean over the run from fraction `begin` on. ACT steps of warmed-up rows are included, on
    the assumption that rows take all `arch.halt_max_steps` steps; rows that halt earlier are warmed up more often.
    """
    warm_up = warm_up_steps_per_row(arch, train)

    def step_of(arch: ArchConfig) -> int:
        def step(*, reaches_back: bool) -> StepFlops:
            parts = components(
                arch, vocab_size, seq_len, objective=train.objective, gradient=train.gradient,
                reads_L=train.l_distill_weight > 0, reaches_back=reaches_back,
            )  # fmt: skip
            return step_flops(parts)

        usual, further = step(reaches_back=False), 0.0
        if train.objective == "rsm":
            further = train.reach_back * (step(reaches_back=True).training - usual.training)
        return usual.training + round(further + warm_up * usual.forward)

    if train.depth_schedule is None:
        return step_of(arch)
    total, done = 0.0, 0.0
    for H, L, fraction in depth_fractions(train.depth_schedule):
        rest = min(fraction, max(0.0, done + fraction - begin))
        done += fraction
        if rest:
            total += rest * step_of(arch.model_copy(update={"H_cycles": H, "L_cycles": L}))
    return round(total / (1 - begin))


def warm_up_steps_per_row(arch: ArchConfig, train: TrainConfig) -> float:
    """Mean number of ACT steps without gradient that `train.warm_up_rows` adds to a training step of one row."""
    fresh = 1 - train.carry_over if train.objective == "rsm" else 1 / arch.halt_max_steps
    return fresh * train.warm_up_rows * (1 + train.warm_up_steps) / 2


def run_flops(step_training: int, steps: int, global_batch_size: int) -> RunFlops:
    """The FLOPs of `steps` training steps. Each step costs `step_training` FLOPs for each row of the batch."""
    return RunFlops(steps, global_batch_size, steps * global_batch_size * step_training)
