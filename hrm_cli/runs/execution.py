"""Trains a prepared run: builds the model, restores checkpoints, evaluates during training, reports and writes.

A dry run measures the first steps instead, and removes everything created for it.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.pointers import has_checkpoint
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.other_sizes import AlternatingBatches
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import Drift, Evaluation, evaluate
from hrm_cli.models.act import ACTModel
from hrm_cli.models.device import resolve_device
from hrm_cli.models.out_of_memory import memory_errors_reported, training_settings
from hrm_cli.models.shapes import Shapes
from hrm_cli.reporting import Reporter, Silent
from hrm_cli.runs.folder import RunStatus
from hrm_cli.runs.listeners import ProgressListener, TimeEstimate, describe_run, make_trackers
from hrm_cli.runs.plan import MEASURED_STEPS, RunPlan, plan_lines, plan_run, seconds_left, time_line
from hrm_cli.runs.preparing import PreparedRun, dataset_facts, held_out_of, prepare_run, write_configuration
from hrm_cli.runs.request import TrainRequest
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.loggers import Listener, MetricsFile
from hrm_cli.training.loop import TrainResult, train
from hrm_cli.training.prefetch import BatchStream, Prefetcher
from hrm_cli.training.resuming import adopt_checkpoint, load_training_state
from hrm_cli.training.run import Run
from hrm_cli.training.starting import freeze, has_size_adapters, start_new
from hrm_cli.training.state import Plan, TrainState, initial_state, make_plan
from hrm_cli.training.step import train_one_step

FindDevice = Callable[[str], torch.device]
"""Resolves a device name (`train.device`)."""


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run."""

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
    """Trains a prepared run and writes metrics.jsonl to its folder. `reporter` receives notes and progress.

    Every rank of `world` must call this function, with its own device. Only rank 0 reports and writes.
    """
    preset, dataset = prepared.preset, prepared.dataset
    reporter = (reporter or Reporter()) if world.is_first else Silent()
    facts = dataset_facts(dataset)
    device = find_device(preset.train.device) if device is None else device
    if prepared.resource_check is not None and device.type == "cuda":
        prepared.resource_check.check(preset, facts, device, prepared.folder)
    state = initial_state(preset, facts, device)
    if preset.train.distill_from is not None:
        state.teacher = load_teacher(Path(preset.train.distill_from), facts, state.model.device)
    batches: BatchStream
    options = {"seed": preset.train.seed, "rank": world.rank, "world_size": world.size}
    if prepared.others:
        state.shapes = Shapes(state.model)
        sizes = [dataset, *prepared.others]
        state.vocabularies = {part.metadata.seq_len: part.metadata.vocab_size for part in sizes}
        batches = AlternatingBatches(sizes, preset.train.global_batch_size, **options)
    else:
        batches = TrainingBatches(dataset, preset.train.global_batch_size, **options)
    is_begun = prepared.resumed and world.ask_rank_0(
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
        world.copy_from_rank_0(state.model.state_dict(), averages)
        if preset.train.init_from is not None:
            drops = not preset.arch.size_adapter_rank and has_size_adapters(Path(preset.train.init_from))
            without = ", without its size adapters" if drops else ""
            reporter.note(f"Starts from the weights of {preset.train.init_from}{without}.")
    freeze(state, preset.train)
    plan = make_plan(preset.train, dataset, prepared.others)
    _check_length(prepared, state, plan, reporter)
    describe_run(preset, state, plan, reporter)
    if not prepared.resumed:
        for line in plan_lines(plan_of(prepared, state, facts, plan, world_size=world.size)):
            reporter.note(line)
    first_step, seconds_before = state.step, state.seconds
    if is_begun:
        adopt_checkpoint(prepared.folder, state, world)
    if prepared.resumed and world.is_first:
        # Written last, after all checks. Overrides then also apply to later resumes.
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
        evaluation = _evaluation(prepared, world, evaluated.append, state.shapes)
        if evaluation is None and (prepared.dataset.directory / "test").is_dir():
            reporter.note(
                "Note: the test puzzles have no answers, so nothing is evaluated and the run has no best checkpoint"
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
            f"{prepared.folder}: step {step} of {end}; nothing is left to train; raise train.max_steps or train.epochs"
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
    """The plan of the run. `folder` is the folder whose free disk space is checked, by default the run's folder."""
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


def _evaluation(
    prepared: PreparedRun, world: World, on_result: Callable[[Evaluation], None], shapes: Shapes | None
) -> Any:
    test, config = prepared.test, prepared.preset.eval
    if test is None:
        return None

    def on_test_split(model: ACTModel) -> dict[str, Any]:
        result = evaluate(model, test, config, world=world)
        on_result(result)
        figures = result.figures()
        # Loggers accept only numbers. `RunOutcome` contains the drift.
        del figures["drift"]
        # Results by set are flattened for the same reason.
        sets = figures.pop("by_set", {})
        return figures | {f"exact_accuracy/{name}": part["exact_accuracy"] for name, part in sets.items()}

    if shapes is None:
        return on_test_split
    others = [held_out for part in prepared.others if (held_out := held_out_of(part)) is not None]

    def on_every_size(model: ACTModel) -> dict[str, Any]:
        metadata = test.metadata
        shapes.take(metadata.vocab_size, metadata.seq_len)
        figures = on_test_split(model)
        means = {name: [figures[name]] for name in ("exact_accuracy", "cell_accuracy")}
        for part in others:
            shapes.take(part.metadata.vocab_size, part.metadata.seq_len)
            own = evaluate(model, part, config, world=world).figures()
            size = math.isqrt(part.metadata.seq_len)
            figures[f"exact_accuracy/{size}x{size}"] = own["exact_accuracy"]
            for name, values in means.items():
                values.append(own[name])
        # The best checkpoint is the one with the best mean over sizes.
        size = math.isqrt(metadata.seq_len)
        figures[f"exact_accuracy/{size}x{size}"] = figures["exact_accuracy"]
        return figures | {name: sum(values) / len(values) for name, values in means.items()}

    return on_every_size


MAX_SECONDS = 60.0
"""Maximum duration of the measurement in seconds. Slow machines measure fewer steps."""
SAMPLE_ROWS = 16
"""Rows of a sample step. If it shows that a whole step would take longer than MAX_SECONDS, its time is extrapolated."""


@dataclass(frozen=True)
class DryRun:
    """The plan of a run, and the duration of its steps on this machine."""

    plan: RunPlan
    step_seconds: float
    measured_steps: int
    training_seconds: float
    """Estimated training time of the whole plan, without evaluations."""
    batch: int
    measured_rows: int
    """Rows of a measured step: `batch`, or fewer if `step_seconds` is extrapolated from them."""

    @property
    def limit(self) -> float | None:
        """The time limit `train.max_minutes`, in seconds."""
        return None if self.plan.max_minutes is None else 60 * self.plan.max_minutes

    def time_line(self) -> str:
        """The measured time, as one line of text."""
        rows = None if self.measured_rows == self.batch else self.measured_rows
        return time_line(
            self.step_seconds, self.training_seconds, self.measured_steps, self.batch, self.limit, rows
        )

    def document(self) -> dict[str, Any]:
        """The JSON document of `hrm train --dry-run --json`."""
        seconds = self.training_seconds if self.limit is None else min(self.training_seconds, self.limit)
        measured = {
            "step_seconds": self.step_seconds,
            "measured_steps": self.measured_steps,
            "measured_rows": self.measured_rows,
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
    """Plans the run and measures its first steps. Calls `on_plan` with the plan before the measurement.

    If a dataset must be built, it is in a temporary folder. Raises the errors of `prepare_run`, and ConfigError if the
    request resumes a run.
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
        each, steps, rows = _measure(prepared, state, facts, plan)
    # The measured steps are not part of the run, which begins at step 0.
    whole = seconds_left(each, 0, plan, preset, facts)
    return DryRun(run_plan, each, steps, whole, preset.train.global_batch_size, rows)


def _measure(
    prepared: PreparedRun, state: TrainState, facts: DatasetFacts, plan: Plan
) -> tuple[float, int, int]:
    """Seconds per step, the number of measured steps, and the rows of each, after one warm-up step.

    A step that would take longer than `MAX_SECONDS` is extrapolated from steps of `SAMPLE_ROWS` rows.
    """
    config = prepared.preset.train
    batch = config.global_batch_size
    if config.distill_from is not None:
        state.teacher = load_teacher(Path(config.distill_from), facts, state.model.device)
    start_new(state, config, facts)
    freeze(state, config)
    if batch <= 2 * SAMPLE_ROWS:
        return *_measure_steps(prepared, state, plan, config), batch
    sample = config.model_copy(update={"global_batch_size": SAMPLE_ROWS, "accumulation_steps": 1})
    seconds, taken = _measure_steps(prepared, state, plan, sample, most=1)
    if seconds * batch / SAMPLE_ROWS > MAX_SECONDS:
        return seconds * batch / SAMPLE_ROWS, taken, SAMPLE_ROWS
    state.carry = None
    return *_measure_steps(prepared, state, plan, config), batch


def _measure_steps(
    prepared: PreparedRun,
    state: TrainState,
    plan: Plan,
    config: TrainConfig,
    most: int = MEASURED_STEPS,
) -> tuple[float, int]:
    """Seconds per step of `config`, and the number of measured steps, after one warm-up step."""
    batches = TrainingBatches(prepared.dataset, config.global_batch_size, seed=config.seed)
    with Prefetcher(batches, state.model.device) as ahead:

        def step() -> None:
            for value in train_one_step(state, next(ahead), config, plan.total_steps).values():
                value.sum().item()  # waits for an accelerator

        step()
        started = time.perf_counter()
        taken, seconds = 0, 0.0
        while taken < most and seconds < MAX_SECONDS:
            step()
            taken += 1
            seconds = time.perf_counter() - started
    return seconds / taken, taken
