"""`hrm train --dry-run`: the plan of a run and its measured speed. Everything created for it is removed afterwards."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.errors import ConfigError
from hrm_cli.models.device import resolve_device
from hrm_cli.reporting import Reporter
from hrm_cli.runs.execution import FindDevice, plan_of
from hrm_cli.runs.plan import MEASURED_STEPS, RunPlan, seconds_left, time_line
from hrm_cli.runs.preparing import PreparedRun, dataset_facts, prepare_run
from hrm_cli.runs.request import TrainRequest
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.prefetch import Prefetcher
from hrm_cli.training.starting import freeze, start_new
from hrm_cli.training.state import Plan, TrainState, initial_state, make_plan
from hrm_cli.training.step import train_one_step

LONGEST = 60.0
"""Maximum seconds of measurement; slow machines measure fewer steps."""


@dataclass(frozen=True)
class DryRun:
    """The plan of a run, and how long its steps take here."""

    plan: RunPlan
    step_seconds: float
    measured_steps: int
    training_seconds: float
    """Estimated training time of the whole plan, without evaluations."""
    batch: int

    @property
    def limit(self) -> float | None:
        """The time limit `train.max_minutes`, in seconds."""
        return None if self.plan.max_minutes is None else 60 * self.plan.max_minutes

    def time_line(self) -> str:
        """The measured time, as one line of text."""
        return time_line(
            self.step_seconds, self.training_seconds, self.measured_steps, self.batch, self.limit
        )

    def document(self) -> dict[str, Any]:
        """The JSON document of `hrm train --dry-run --json`."""
        seconds = self.training_seconds if self.limit is None else min(self.training_seconds, self.limit)
        measured = {
            "step_seconds": self.step_seconds,
            "measured_steps": self.measured_steps,
            "training_seconds": seconds,
        }
        return {"plan": {**self.plan.document(), **measured}}


def plan_and_measure(
    request: TrainRequest,
    reporter: Reporter | None = None,
    *,
    on_plan: Callable[[RunPlan], None] | None = None,
    find_device: FindDevice = resolve_device,
) -> DryRun:
    """Plans the run and measures its first steps; `on_plan` is passed the plan before that.

    A dataset that is built for it lies in a temporary folder meanwhile. Raises what `prepare_run` raises, and
    ConfigError for a run that is resumed.
    """
    if request.resume is not None:
        raise ConfigError("--dry-run: plans a new run; omit --resume")
    with (
        tempfile.TemporaryDirectory(prefix="hrm-dry-run-") as scratch,
        prepare_run(replace(request, output_dir=Path(scratch) / "run"), reporter) as prepared,
    ):
        preset, facts = prepared.preset, dataset_facts(prepared.dataset)
        plan = make_plan(preset.train, prepared.dataset)
        state = initial_state(preset, facts, find_device(preset.train.device))
        run_plan = plan_of(prepared, state, facts, plan, folder=request.output_dir or Path("runs"))
        if on_plan is not None:
            on_plan(run_plan)
        each, steps = _measure(prepared, state, facts, plan)
    # The measured steps are not part of the run, which begins at step 0.
    whole = seconds_left(each, 0, plan, preset, facts)
    return DryRun(run_plan, each, steps, whole, preset.train.global_batch_size)


def _measure(prepared: PreparedRun, state: TrainState, facts: DatasetFacts, plan: Plan) -> tuple[float, int]:
    """Seconds per step, and how many steps were measured, after one warm-up step."""
    preset = prepared.preset
    config = preset.train
    if config.distill_from is not None:
        state.teacher = load_teacher(Path(config.distill_from), facts, state.model.device)
    start_new(state, config, facts)
    freeze(state, config)
    batches = TrainingBatches(prepared.dataset, config.global_batch_size, seed=config.seed)
    with Prefetcher(batches, state.model.device) as ahead:

        def step() -> None:
            for value in train_one_step(state, next(ahead), config, plan.total_steps).values():
                value.sum().item()  # waits for an accelerator

        step()
        started = time.perf_counter()
        taken, seconds = 0, 0.0
        while taken < MEASURED_STEPS and seconds < LONGEST:
            step()
            taken += 1
            seconds = time.perf_counter() - started
    return seconds / taken, taken
