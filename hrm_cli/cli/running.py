"""How the train and demo commands set up a run: configuration, dataset, model, folder and evaluation."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hrm_cli.cli import console
from hrm_cli.cli.configuration import configuration_of_run, load_configuration
from hrm_cli.cli.devices import device_of_command
from hrm_cli.cli.planning import TimeEstimate, announce
from hrm_cli.cli.run_progress import ProgressListener, describe_run, warn
from hrm_cli.config.asked import Asked, check_effect
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.config.schema import DataConfig, Preset
from hrm_cli.data.arc_online import is_arc, read_identifiers
from hrm_cli.data.batches import TrainingBatches, rank_rows
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset, is_dataset
from hrm_cli.data.metadata import METADATA_FILE
from hrm_cli.errors import CheckpointError, ConfigError, DatasetError
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.files import whole_file
from hrm_cli.models.act import ACTModel
from hrm_cli.models.device import find_device
from hrm_cli.puzzles.arc_names import pack_names
from hrm_cli.training.checkpoints import load_training_state
from hrm_cli.training.distillation import load_teacher
from hrm_cli.training.distributed import ALONE, World
from hrm_cli.training.exhausted import told_as_exhausted
from hrm_cli.training.loggers import Listener, MetricsFile
from hrm_cli.training.loop import TrainResult, train
from hrm_cli.training.pointers import has_checkpoint
from hrm_cli.training.run import Run
from hrm_cli.training.run_plan import RunPlan, plan_run
from hrm_cli.training.run_status import RunStatus
from hrm_cli.training.starting import freeze, start_new
from hrm_cli.training.state import DatasetFacts, Plan, TrainState, initial_state, make_plan
from hrm_cli.training.trackers import check_trackers, make_trackers

CONFIG_FILE = "config.yaml"
_OF_NEW_RUNS = {"seed": "the seed that it began with", "init_from": "its own weights"}
"""Settings of `train` that only a new run looks at, and what a resumed one has in their place."""


@dataclass
class PreparedRun:
    """A run that can start."""

    folder: Path
    preset: Preset
    dataset: Dataset
    test: Dataset | None
    """What is evaluated while training: the validation split where there is one, else the test split."""
    resumed: bool = False


@dataclass(frozen=True)
class RunOutcome:
    """A run that has ended."""

    folder: Path
    plan: Plan
    global_batch_size: int
    result: TrainResult
    steps_here: int
    """Steps taken by this command; a resumed run had some before."""
    seconds_here: float

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
        }


def prepare_new_run(
    preset_name: str | None,
    overrides: Sequence[str] | None,
    data: Path | None,
    output_dir: Path | None,
    checkpoint: Path | None = None,
    *,
    quiet: bool = False,
    world_size: int = 1,
) -> PreparedRun:
    """Checks everything, builds the dataset where none is given, and writes the run's configuration."""
    preset, name = configuration_of_run(preset_name, overrides, checkpoint)
    _check_world(preset, world_size)
    if data is not None:
        path = os.path.abspath(data.expanduser())
        preset = preset.model_copy(update={"data": preset.data.model_copy(update={"path": path})})
    asked = Asked(frozenset(parse_overrides(overrides or ()).get("data", {})))
    check_effect(preset.data, asked)
    find_device(preset.train.device)
    folder = output_dir or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder}: already exists and is not empty; go on with it (--resume {folder}) "
            "or choose another --output-dir"
        )
    dataset_folder = Path(preset.data.path) if preset.data.path else folder / "dataset"
    if preset.data.path is None:
        _build(preset.data, dataset_folder, asked, quiet=quiet)
    dataset, test = _open_datasets(dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    _write_configuration(folder, preset)
    return PreparedRun(folder, preset, dataset, test)


def prepare_resumed_run(
    name: str, overrides: Sequence[str] | None, data: Path | None, *, world_size: int = 1
) -> PreparedRun:
    """The run of `--resume`: its own configuration, with train and eval settings overridden where asked."""
    folder = _newest_run(Path("runs")) if name == "latest" else Path(name)
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"{folder}: not a run folder ({CONFIG_FILE} is missing)")
    for section, settings in parse_overrides(overrides or ()).items():
        if section not in ("train", "eval"):
            raise ConfigError(
                f"{section}: a resumed run keeps its model and data; only train.* and eval.* can change"
            )
        for setting in settings:
            if section == "train" and setting in _OF_NEW_RUNS:
                raise ConfigError(
                    f"train.{setting}: a resumed run has begun already, and keeps {_OF_NEW_RUNS[setting]}; leave it out"
                )
    preset = load_configuration(str(folder / CONFIG_FILE), overrides)
    _check_world(preset, world_size)
    dataset, test = _open_datasets(
        data or (Path(preset.data.path) if preset.data.path else folder / "dataset")
    )
    # What was overridden holds for later resumes as well.
    _write_configuration(folder, preset)
    return PreparedRun(folder, preset, dataset, test, resumed=True)


def _check_world(preset: Preset, world_size: int) -> None:
    check_trackers(preset.train.loggers)
    rank_rows(preset.train.global_batch_size, 0, world_size)
    arch = preset.arch
    if world_size > 1 and arch.core == "nova" and arch.nova_halting == "mean":
        raise ConfigError(
            "arch.nova_halting mean halts by the mean of the whole batch, which several processes do not see; "
            "take arch.nova_halting=per_row"
        )


def reopened_run(
    folder: Path, preset: Preset, data: Path, *, resumed: bool, checks_tokens: bool = False
) -> PreparedRun:
    """A run that another process has prepared; `checks_tokens` where that one has not read this host's dataset."""
    dataset, test = _open_datasets(data, check_tokens=checks_tokens)
    return PreparedRun(folder, preset, dataset, test, resumed)


def check_same_dataset(prepared: PreparedRun, world: World) -> None:
    """Raises DatasetError, on every rank, where the ranks' datasets are not all rank 0's."""
    dataset = prepared.dataset
    facts = (dataset.directory / dataset.split / METADATA_FILE).read_bytes()
    others = [
        rank for rank, theirs in enumerate(world.gather_bytes(facts)) if theirs != world.share_bytes(facts)
    ]
    if others:
        raise DatasetError(
            f"{dataset.directory}: is another dataset for process {', '.join(map(str, others))} than for process 0; "
            "every host needs the same one (--data names where it lies there)"
        )


def _write_configuration(folder: Path, preset: Preset) -> None:
    with whole_file(folder / CONFIG_FILE) as file:
        file.write(resolved_yaml(preset))


def run_training(
    prepared: PreparedRun,
    *,
    quiet: bool = False,
    world: World = ALONE,
    device: torch.device | None = None,
) -> RunOutcome:
    """Trains, with a progress bar on stderr and metrics.jsonl in the run's folder.

    Every rank of `world` calls it, with a device of its own; rank 0 alone prints and writes.
    """
    preset, dataset = prepared.preset, prepared.dataset
    quiet = quiet or not world.is_first
    facts = dataset_facts(dataset)
    state = initial_state(preset, facts, device_of_command(preset.train.device, device))
    if preset.train.distill_from is not None:
        state.teacher = load_teacher(Path(preset.train.distill_from), facts, state.model.device)
    batches = TrainingBatches(
        dataset,
        preset.train.global_batch_size,
        seed=preset.train.seed,
        rank=world.rank,
        world_size=world.size,
    )
    if prepared.resumed and world.first_says(lambda: has_checkpoint(prepared.folder)):
        batches.load_state_dict(load_training_state(prepared.folder, state, world))
    else:
        if prepared.resumed and world.is_first:
            console.print_message(f"{prepared.folder}: no checkpoint yet; starts from the beginning")
        start_new(state, preset.train, facts)
        averages = {} if state.average is None else state.average.parameters
        world.start_alike(state.model.state_dict(), averages)
        if preset.train.init_from is not None and not quiet:
            console.print_message(f"Starts from the weights of {preset.train.init_from}.")
    freeze(state, preset.train)
    plan = make_plan(preset.train, dataset)
    if not quiet:
        describe_run(preset, state, plan)
    if not quiet and not prepared.resumed:
        announce(plan_of(prepared, state, facts, plan, world_size=world.size))
    first_step, seconds_before = state.step, state.seconds
    with console.progress("training", plan.total_steps, start=state.step, quiet=quiet) as display:
        listeners: list[Listener] = [
            MetricsFile(prepared.folder / "metrics.jsonl", warn),
            *(make_trackers(prepared.folder, preset, warn) if world.is_first else ()),
            ProgressListener(display, state, quiet=quiet),
            TimeEstimate(state, preset, facts, quiet=quiet),
        ]
        watching = listeners if world.is_first else []
        evaluation = _evaluation(prepared, world)
        run = Run(prepared.folder, preset, facts, plan, batches, evaluation, watching, world)
        with RunStatus(prepared.folder, plan.total_steps) if world.is_first else nullcontext() as status:
            rows = preset.train.global_batch_size // world.size
            with told_as_exhausted(preset.train, state.model.device, rows):
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
    """What the run will take; `folder` stands in for where it is to lie."""
    dtype = str(state.model.core.dtype).removeprefix("torch.")
    return plan_run(prepared.preset, facts, plan, dtype, folder or prepared.folder, world_size=world_size)


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """What a checkpoint remembers of the dataset it is trained on."""
    from hrm_cli.puzzles.domain import infer_domain

    metadata = dataset.metadata
    domain = metadata.domain
    if domain is None and (inferred := infer_domain(metadata.vocab_size, metadata.seq_len)) is not None:
        domain = {"name": inferred.name, **inferred.facts()}
    return DatasetFacts(
        metadata.vocab_size,
        metadata.seq_len,
        metadata.num_puzzle_identifiers,
        domain or {},
        # Whoever solves an ARC task needs to know which embedding is its own: the model file says so itself.
        pack_names(read_identifiers(dataset)) if is_arc(dataset) else "",
    )


def _evaluation(prepared: PreparedRun, world: World) -> Any:
    test, config = prepared.test, prepared.preset.eval
    if test is None:
        return None

    def on_test_split(model: ACTModel) -> dict[str, Any]:
        figures = evaluate(model, test, config, world=world).figures()
        # Numbers by name, as every logger takes them.
        sets = figures.pop("by_set", {})
        return figures | {f"exact_accuracy/{name}": part["exact_accuracy"] for name, part in sets.items()}

    return on_test_split


def _build(config: DataConfig, folder: Path, asked: Asked, *, quiet: bool) -> None:
    with console.stages(quiet=quiet) as report:
        summary = build_dataset(config, folder, report=report, asked=asked)
    if not quiet:
        for note in summary.notes:
            console.print_message(f"Note: {note}")
        console.print_message(
            f"Built {summary.train.examples:,} training examples in {summary.seconds:.1f} s: {folder}"
        )


def _open_datasets(folder: Path, *, check_tokens: bool = True) -> tuple[Dataset, Dataset | None]:
    if not is_dataset(folder):
        raise DatasetError(f"{folder}: no dataset there; build one with `hrm build-dataset`")
    train = Dataset.open(folder, "train", check_tokens=check_tokens)
    # Whatever chooses a checkpoint or an end must not be what the result is reported on.
    for split in ("validation", "test"):
        if (folder / split / "dataset.json").is_file():
            return train, Dataset.open(folder, split, check_tokens=check_tokens)
    return train, None


def _newest_run(parent: Path) -> Path:
    runs = [path.parent for path in parent.glob(f"*/{CONFIG_FILE}") if has_checkpoint(path.parent)]
    if not runs:
        raise CheckpointError(f"{parent}: no run with a checkpoint to resume; name one with --resume RUN")
    return max(runs, key=lambda run: (run / "latest").stat().st_mtime)
