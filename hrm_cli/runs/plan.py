"""The plan of a run, printed before it begins: steps, tokens, FLOPs, memory and disk space. Also its estimated time.

Steps, FLOPs and memory use the same formulas as `hrm params` (`hrm_cli.data.batches`, `hrm_cli.accounting.flops` and
`hrm_cli.accounting.memory`). Evaluations are not counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import run_flops, training_flops
from hrm_cli.accounting.memory import BYTES, memory_in_training, moment_numbers
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import depth_at
from hrm_cli.files import free_disk
from hrm_cli.printable import amount, clock, counted
from hrm_cli.training.state import Plan

MEASURED_STEPS = 20
"""Number of steps measured for a time estimate."""

_FLOAT32 = 4


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run. Sizes are in bytes."""

    steps: int
    epochs: float
    examples: int
    """Number of rows trained on: steps × global batch size."""
    tokens: int
    """Tokens in these rows."""
    trainable: int
    flops: int
    memory: int
    """Memory per process while training on a micro-batch."""
    checkpoint: int
    """Size of one checkpoint on disk."""
    disk: int
    """Size of all checkpoints that exist at the same time: those kept, the best, and the one being written."""
    free_disk: int | None
    """Free space on the disk of the run's folder; None if unknown."""
    max_minutes: float | None = None
    """The time limit, if any. The run may then end before its last step."""

    @property
    def fits_on_disk(self) -> bool:
        """Whether the checkpoints fit on the disk; True if its free space is unknown."""
        return self.free_disk is None or self.disk <= self.free_disk

    def document(self) -> dict[str, Any]:
        """The object `plan` in the output of `hrm train --dry-run --json`."""
        return {**asdict(self), "fits_on_disk": self.fits_on_disk}


@dataclass(frozen=True)
class RunCost:
    """Memory and disk space that a run needs, independent of its length, in bytes."""

    trainable: int
    memory: int
    checkpoint: int
    disk: int


def cost_of_run(
    preset: Preset, facts: DatasetFacts, dtype: str, device_type: str, *, world_size: int = 1
) -> RunCost:
    """The cost of a run that computes in `dtype` on devices of this type."""
    arch, train = preset.arch, preset.train
    parts = components(
        arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, domain=facts.domain
    )
    trainable = sum(part.trainable for part in parts)
    stored = trainable + sum(part.buffers for part in parts)
    rows = -(-train.global_batch_size // world_size)
    memory = memory_in_training(
        arch, train, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, rows, dtype
    )
    positions = facts.seq_len + arch.puzzle_positions
    state = BYTES["float32" if arch.state_dtype == "float32" else dtype]
    carry = 2 * positions * arch.hidden_size * state + 2 * facts.seq_len * _FLOAT32
    checkpoint = (
        2 * _FLOAT32 * stored
        + _FLOAT32 * (moment_numbers(parts, train.optimizer) + (train.ema_decay > 0) * trainable)
        + train.global_batch_size * carry
    )
    return RunCost(trainable, memory.on(device_type), checkpoint, checkpoint * (train.keep_checkpoints + 2))


def plan_run(
    preset: Preset,
    facts: DatasetFacts,
    plan: Plan,
    dtype: str,
    folder: Path,
    *,
    device_type: str = "cpu",
    world_size: int = 1,
) -> RunPlan:
    """The plan of a run with forward dtype `dtype` in `folder`, which may not exist yet."""
    train = preset.train
    cost = cost_of_run(preset, facts, dtype, device_type, world_size=world_size)
    per_example = training_flops(preset.arch, train, facts.vocab_size, facts.seq_len)
    examples = plan.total_steps * train.global_batch_size
    return RunPlan(
        plan.total_steps,
        plan.epoch(plan.total_steps),
        examples,
        examples * facts.seq_len,
        cost.trainable,
        run_flops(per_example, plan.total_steps, train.global_batch_size).training,
        cost.memory,
        cost.checkpoint,
        cost.disk,
        free_disk(folder),
        train.max_minutes,
    )


def seconds_left(
    step_seconds: float, first_step: int, plan: Plan, preset: Preset, facts: DatasetFacts
) -> float:
    """The remaining training time after `first_step`, from the measured seconds per step.

    Deeper steps later in a depth schedule are scaled by their FLOPs.
    """
    if first_step >= plan.total_steps:
        return 0.0
    done = first_step / plan.total_steps
    rest = training_flops(preset.arch, preset.train, facts.vocab_size, facts.seq_len, done)
    depth = depth_at(done, preset.train.depth_schedule)
    now = preset.arch.model_copy(update={} if depth is None else {"H_cycles": depth[0], "L_cycles": depth[1]})
    level = preset.train.model_copy(update={"depth_schedule": None})
    step = training_flops(now, level, facts.vocab_size, facts.seq_len)
    return step_seconds * rest / step * (plan.total_steps - first_step)


def plan_lines(plan: RunPlan) -> list[str]:
    """The plan as lines of text."""
    lines = [
        f"Plan: {'at most ' if plan.max_minutes else ''}{counted(plan.steps, 'step')}, {plan.epochs:.1f} epochs, "
        f"{counted(plan.examples, 'example')}, {plan.tokens:,} tokens; "
        f"{amount(plan.flops, 'FLOP')} without evaluations",
        f"Memory while training: about {amount(plan.memory, 'B')} (weights, optimizer, activations). "
        f"Disk: {amount(plan.disk, 'B')} for checkpoints of {amount(plan.checkpoint, 'B')}",
    ]
    if plan.max_minutes is not None:
        lines.append(
            f"Time: {clock(60 * plan.max_minutes)} at most (train.max_minutes), evaluations included; "
            f"the learning-rate schedule adapts to the steps that fit"
        )
    return lines


_CLOCK_DAYS = 4
"""From this many days, a duration is given in days and not as hours, minutes and seconds."""


def time_line(
    step_seconds: float,
    left: float,
    steps: int,
    batch: int,
    limit: float | None = None,
    rows: int | None = None,
) -> str:
    """The estimated duration as text.

    `limit` is the remaining time limit in seconds. `rows` is given if the measured steps had fewer rows than `batch`.
    """
    days = left / 86400
    long = clock(left) if days < _CLOCK_DAYS else f"{days:,.0f} days"
    remaining = f"about {long} to go without evaluations"
    if limit is not None and limit < left:
        more = round(limit / step_seconds)
        remaining = f"{clock(limit)} to go, enough for about {more:,} steps"
    measured = f"measured over {counted(steps, 'step')}"
    if rows is not None:
        measured = f"extrapolated from a step of {rows} puzzles"
    rate = batch / step_seconds
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"Time: {remaining}, {step_seconds:.3g} s per step ({speed} examples/s), {measured}"
