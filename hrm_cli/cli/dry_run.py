"""`hrm train --dry-run`: the plan of a run and its measured time; everything made for it is removed again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.cli import console
from hrm_cli.cli.devices import device_of_command
from hrm_cli.cli.planning import plan_lines, time_line
from hrm_cli.cli.preparing import PreparedRun, dataset_facts, prepare_new_run
from hrm_cli.cli.running import plan_of
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.runs.plan import MEASURED_STEPS, seconds_left
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.prefetch import Prefetcher
from hrm_cli.training.starting import freeze, start_new
from hrm_cli.training.state import Plan, TrainState, initial_state, make_plan
from hrm_cli.training.step import train_one_step

LONGEST = 60.0
"""Seconds that are measured for; slow machines take fewer steps."""


def plan_and_measure(
    preset_name: str | None,
    overrides: Sequence[str] | None,
    data: Path | None,
    output_dir: Path | None,
    checkpoint: Path | None,
    *,
    force: bool,
    json: bool,
) -> None:
    """Prints the plan. A dataset that is built for it lies in a temporary folder meanwhile."""
    with (
        tempfile.TemporaryDirectory(prefix="hrm-dry-run-") as scratch,
        prepare_new_run(
            preset_name, overrides, data, Path(scratch) / "run", checkpoint, quiet=json, force=force
        ) as prepared,
    ):
        preset, facts = prepared.preset, dataset_facts(prepared.dataset)
        plan = make_plan(preset.train, prepared.dataset)
        state = initial_state(preset, facts, device_of_command(preset.train.device))
        run_plan = plan_of(prepared, state, facts, plan, folder=output_dir or Path("runs"))
        if not json:
            for line in plan_lines(run_plan):
                console.print_line(line)
        each, steps = _measure(prepared, state, facts, plan)
    # The steps measured are not taken: the run begins at 0.
    whole, minutes = seconds_left(each, 0, plan, preset, facts), preset.train.max_minutes
    limit = None if minutes is None else 60 * minutes
    if json:
        whole = whole if limit is None else min(whole, limit)
        measured = {"step_seconds": each, "measured_steps": steps, "training_seconds": whole}
        console.print_json({"plan": {**run_plan.document(), **measured}})
    else:
        console.print_line(time_line(each, whole, steps, preset.train.global_batch_size, limit))
        console.print_line("Dry run: nothing was kept.")


def _measure(prepared: PreparedRun, state: TrainState, facts: DatasetFacts, plan: Plan) -> tuple[float, int]:
    """Seconds of a step, and how many were measured; one before them warms up."""
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
