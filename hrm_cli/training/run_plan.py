"""What a run will take, told before it begins: steps, tokens, arithmetic, memory, disk; and its time, once measured.

Arithmetic is that of the matrix products (`hrm_cli.models.flops`), of every stage of a depth schedule as far as it is
long; evaluations are not counted.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hrm_cli.config.depth import depth_at
from hrm_cli.config.schema import ArchConfig, Preset
from hrm_cli.files import free_disk
from hrm_cli.models.anatomy import anatomy
from hrm_cli.models.flops import step_flops
from hrm_cli.models.memory import BYTES, training_memory
from hrm_cli.training.state import DatasetFacts, Plan

MEASURED_STEPS = 20
"""Steps that an estimate of the time rests on."""

_FLOAT32 = 4
_MOMENTS = 2
_SAMPLES = 200
"""Places of a run at which its depth is looked up."""


@dataclass(frozen=True)
class RunPlan:
    """The plan of a run; sizes in bytes."""

    steps: int
    epochs: float
    examples: int
    """Rows that are trained on: steps × global batch size."""
    tokens: int
    """Their cells."""
    trainable: int
    flops: int
    memory: int
    """Held while a micro-batch is trained, on each process."""
    checkpoint: int
    """One checkpoint on disk."""
    disk: int
    """All checkpoints that exist at once: those kept, the best, and the one being written."""
    free_disk: int | None
    """What there is where the run is to lie."""

    @property
    def fits_on_disk(self) -> bool:
        """Whether there is room for the checkpoints, as far as it is known."""
        return self.free_disk is None or self.disk <= self.free_disk

    def document(self) -> dict[str, Any]:
        """As `hrm train --dry-run --json` says it."""
        return {**asdict(self), "fits_on_disk": self.fits_on_disk}


def plan_run(
    preset: Preset, facts: DatasetFacts, plan: Plan, dtype: str, folder: Path, *, world_size: int = 1
) -> RunPlan:
    """The plan of a run that computes in `dtype` and is to lie in `folder`, which need not exist."""
    train = preset.train
    parts = anatomy(preset.arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers)
    trainable = sum(part.trainable for part in parts)
    stored = trainable + sum(part.buffers for part in parts)
    rows = -(-train.global_batch_size // (world_size * train.accumulation_steps))
    memory = training_memory(parts, rows, dtype, averages_weights=train.ema_decay > 0).total
    positions = facts.seq_len + preset.arch.puzzle_positions
    carry = 2 * positions * preset.arch.hidden_size * BYTES[dtype] + 2 * facts.seq_len * _FLOAT32
    checkpoint = (
        2 * _FLOAT32 * stored
        + (_MOMENTS + (train.ema_decay > 0)) * _FLOAT32 * trainable
        + train.global_batch_size * carry
    )
    examples = plan.total_steps * train.global_batch_size
    return RunPlan(
        plan.total_steps,
        plan.epoch(plan.total_steps),
        examples,
        examples * facts.seq_len,
        trainable,
        sum(work * examples // _SAMPLES for work in _work(preset, facts)),
        memory,
        checkpoint,
        checkpoint * (train.keep_checkpoints + 2),
        free_disk(folder),
    )


def seconds_left(
    step_seconds: float, first_step: int, plan: Plan, preset: Preset, facts: DatasetFacts
) -> float:
    """Training time behind `first_step`, from the seconds that a step took there.

    Steps that go deeper later on are reckoned by their arithmetic.
    """
    work = _work(preset, facts)
    begin = min(first_step * _SAMPLES // plan.total_steps, _SAMPLES - 1)
    deeper = statistics.fmean(work[begin:]) / work[begin]
    return step_seconds * deeper * (plan.total_steps - first_step)


def _work(preset: Preset, facts: DatasetFacts) -> list[int]:
    """FLOPs of one example at `_SAMPLES` places of the run."""
    known: dict[tuple[int, int], int] = {}
    work = []
    for place in range(_SAMPLES):
        depth = depth_at(place / _SAMPLES, preset.train.depth_schedule)
        cycles = (preset.arch.H_cycles, preset.arch.L_cycles) if depth is None else (depth[0], depth[1])
        if cycles not in known:
            arch: ArchConfig = preset.arch.model_copy(update={"H_cycles": cycles[0], "L_cycles": cycles[1]})
            parts = anatomy(arch, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers)
            known[cycles] = step_flops(parts).training
        work.append(known[cycles])
    return work
