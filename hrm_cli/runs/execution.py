"""Trains a prepared run: builds the model, restores checkpoints, evaluates during training, reports and writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.pointers import has_checkpoint
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import Drift, Evaluation, evaluate
from hrm_cli.models.act import ACTModel
from hrm_cli.models.device import resolve_device
from hrm_cli.models.out_of_memory import memory_errors_reported, training_settings
from hrm_cli.reporting import Reporter, Silent
from hrm_cli.runs.plan import RunPlan, plan_lines, plan_run
from hrm_cli.runs.preparing import PreparedRun, dataset_facts, prepare_run, write_configuration
from hrm_cli.runs.progress import ProgressListener, TimeEstimate, describe_run
from hrm_cli.runs.request import TrainRequest
from hrm_cli.runs.status import RunStatus
from hrm_cli.runs.trackers import make_trackers
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.loggers import Listener, MetricsFile
from hrm_cli.training.loop import TrainResult, train
from hrm_cli.training.resuming import go_on_from, load_training_state
from hrm_cli.training.run import Run
from hrm_cli.training.starting import freeze, start_new
from hrm_cli.training.state import Plan, TrainState, initial_state, make_plan

FindDevice = Callable[[str], torch.device]
"""Resolves a device name (`train.device`)."""


@dataclass(frozen=True)
class RunOutcome:
    """A run that has ended."""

    folder: Path
    plan: Plan
    global_batch_size: int
    result: TrainResult
    steps_here: int
    """Steps taken by this command, without those of earlier sessions."""
    seconds_here: float
    drift: Drift | None = None
    """Fewer steps that were clearly better in this command's last evaluation."""

    def document(self) -> dict[str, Any]:
        """The JSON document of `hrm train --json`."""
        result = self.result
        return {
            "run": str(self.folder),
            "steps": result.step,
            "epochs": self.plan.epoch(result.step),
            "seconds": result.seconds,
            "examples_per_second": self.steps_here * self.global_batch_size / max(self.seconds_here, 1e-9),
            "best": asdict(result.best) if result.best else None,
            "checkpoint": str(result.checkpoint),
            "reason": result.reason,
            "drift": None if self.drift is None else asdict(self.drift),
        }


def train_run(
    request: TrainRequest, reporter: Reporter | None = None, *, find_device: FindDevice = resolve_device
) -> RunOutcome:
    """Prepares the requested run and trains it in this process."""
    with prepare_run(request, reporter) as prepared:
        return run_training(prepared, reporter, find_device=find_device)


def run_training(
    prepared: PreparedRun,
    reporter: Reporter | None = None,
    *,
    world: World = ALONE,
    device: torch.device | None = None,
    find_device: FindDevice = resolve_device,
) -> RunOutcome:
    """Trains, with metrics.jsonl in the run's folder; `reporter` gets notes and progress.

    Every rank of `world` calls it, with a device of its own; rank 0 alone reports and writes.
    """
    preset, dataset = prepared.preset, prepared.dataset
    reporter = (reporter or Reporter()) if world.is_first else Silent()
    facts = dataset_facts(dataset)
    device = find_device(preset.train.device) if device is None else device
    if prepared.fitting is not None and device.type == "cuda":
        prepared.fitting.check(preset, facts, device, prepared.folder)
    state = initial_state(preset, facts, device)
    if preset.train.distill_from is not None:
        state.teacher = load_teacher(Path(preset.train.distill_from), facts, state.model.device)
    batches = TrainingBatches(
        dataset,
        preset.train.global_batch_size,
        seed=preset.train.seed,
        rank=world.rank,
        world_size=world.size,
    )
    is_begun = prepared.resumed and world.first_says(
        lambda: prepared.named is not None or has_checkpoint(prepared.folder)
    )
    if is_begun:
        position = load_training_state(
            prepared.folder,
            state,
            world,
            named=prepared.named,
            rows=preset.train.global_batch_size,
            warn=reporter.warn,
        )
        batches.load_state_dict(position)
    else:
        if prepared.resumed:
            reporter.note(f"{prepared.folder}: no checkpoint yet; starts from the beginning")
        start_new(state, preset.train, facts)
        averages = {} if state.average is None else state.average.parameters
        world.start_alike(state.model.state_dict(), averages)
        if preset.train.init_from is not None:
            reporter.note(f"Starts from the weights of {preset.train.init_from}.")
    freeze(state, preset.train)
    plan = make_plan(preset.train, dataset)
    _check_length(prepared, state, plan, reporter)
    describe_run(preset, state, plan, reporter)
    if not prepared.resumed:
        for line in plan_lines(plan_of(prepared, state, facts, plan, world_size=world.size)):
            reporter.note(line)
    first_step, seconds_before = state.step, state.seconds
    if is_begun:
        go_on_from(prepared.folder, state, world)
    if prepared.resumed and world.is_first:
        # Written last, when no check can fail any more. Overrides then also apply to later resumes.
        write_configuration(prepared.folder, preset)
    with reporter.progress("training", plan.total_steps, start=state.step) as display:
        listeners: list[Listener] = [
            MetricsFile(prepared.folder / "metrics.jsonl", reporter.warn),
            *(make_trackers(prepared.folder, preset, reporter.warn) if world.is_first else ()),
            ProgressListener(display, state, reporter),
            TimeEstimate(state, preset, facts, reporter),
        ]
        watching = listeners if world.is_first else []
        evaluated: list[Evaluation] = []
        evaluation = _evaluation(prepared, world, evaluated.append)
        if evaluation is None and (prepared.dataset.directory / "test").is_dir():
            reporter.note(
                "Note: the test puzzles have no answers: nothing is evaluated, and the run has no best checkpoint"
            )
        run = Run(prepared.folder, preset, facts, plan, batches, evaluation, watching, world)
        with RunStatus(prepared.folder, plan.total_steps) if world.is_first else nullcontext() as status:
            rows = preset.train.global_batch_size // world.size
            with memory_errors_reported(state.model.device, lambda: training_settings(preset.train, rows)):
                result = train(run, state)
            if status is not None:
                status.ended(result.reason)
    return RunOutcome(
        prepared.folder,
        plan,
        preset.train.global_batch_size,
        result,
        result.step - first_step,
        result.seconds - seconds_before,
        evaluated[-1].drift if evaluated else None,
    )


def _check_length(prepared: PreparedRun, state: TrainState, plan: Plan, reporter: Reporter) -> None:
    """Raises ConfigError if a resumed run is already past the last step of its settings."""
    config, step, end = prepared.preset.train, state.step, plan.total_steps
    if step > end:
        short = config.max_steps == end
        setting = f"train.max_steps={end}" if short else f"train.epochs={config.epochs} (step {end})"
        raise ConfigError(
            f"{prepared.folder}: is already at step {step}, past the end set by {setting}; raise it, or go back "
            "to an earlier checkpoint (--resume RUN/checkpoints/step-…)"
        )
    if step == end and not state.awaits_evaluation:
        reporter.note(
            f"{prepared.folder}: step {step} of {end}, nothing is left to train; raise train.max_steps or train.epochs"
        )


def plan_of(
    prepared: PreparedRun,
    state: TrainState,
    facts: DatasetFacts,
    plan: Plan,
    *,
    folder: Path | None = None,
    world_size: int = 1,
) -> RunPlan:
    """The plan of the run; `folder` overrides the folder whose free disk space is checked."""
    dtype = str(state.model.core.dtype).removeprefix("torch.")
    return plan_run(
        prepared.preset,
        facts,
        plan,
        dtype,
        folder or prepared.folder,
        device_type=state.model.device.type,
        world_size=world_size,
    )


def _evaluation(prepared: PreparedRun, world: World, on_result: Callable[[Evaluation], None]) -> Any:
    test, config = prepared.test, prepared.preset.eval
    if test is None:
        return None

    def on_test_split(model: ACTModel) -> dict[str, Any]:
        result = evaluate(model, test, config, world=world)
        on_result(result)
        figures = result.figures()
        # The end of a run reports it (`RunOutcome`); loggers accept only numbers.
        del figures["drift"]
        # Flattened to numbers by name, the form that every logger accepts.
        sets = figures.pop("by_set", {})
        return figures | {f"exact_accuracy/{name}": part["exact_accuracy"] for name, part in sets.items()}

    return on_test_split
