"""Prepares a run for training: configuration, folder and lock, dataset, and all checks."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.pointers import checkpoints_of, read_pointer
from hrm_cli.config.data import DataConfig
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.redact import PORTABLE_PREFIXES
from hrm_cli.config.renamed_settings import ignore_rename_warnings
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.config.schema import Preset
from hrm_cli.config.user_settings import NO_USER_SETTINGS, UserSettings, check_settings_apply
from hrm_cli.data.arc.online import is_arc, read_identifiers
from hrm_cli.data.batches import rank_rows
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset, is_dataset
from hrm_cli.data.metadata import METADATA_FILE
from hrm_cli.data.other_sizes import check_sizes
from hrm_cli.data.sources import BUILTIN
from hrm_cli.distributed.world import World
from hrm_cli.errors import CheckpointError, ConfigError, DatasetError
from hrm_cli.files import whole_file
from hrm_cli.models.device import find_device
from hrm_cli.puzzles.arc.names import pack_names
from hrm_cli.reporting import Reporter, stages
from hrm_cli.runs.configuration import configuration_of_run, domain_of, load_configuration
from hrm_cli.runs.folder import CONFIG_FILE, OWN_DATASET, RunFolder
from hrm_cli.runs.listeners import check_trackers
from hrm_cli.runs.request import TrainRequest
from hrm_cli.runs.resources import ResourceCheck
from hrm_cli.training.starting import check_start

_OF_NEW_RUNS = {"seed": "its original seed", "init_from": "its own weights"}
"""Settings of `train` that apply only to new runs, and what a resumed run uses instead."""


@dataclass
class PreparedRun:
    """A run that can start: `with prepare_run(request) as prepared:`. Its folder is locked until the block ends.

    Wrong input of the user raises an error before training starts, and leaves no files of a new run.
    """

    folder: Path
    preset: Preset
    dataset: Dataset
    test: Dataset | None
    """The split evaluated during training: validation if it exists, else test."""
    others: tuple[Dataset, ...] = ()
    """Training datasets of other sizes."""
    resumed: bool = False
    named: Path | None = None
    """The checkpoint to continue from; None means the latest."""
    resource_check: ResourceCheck | None = None
    """The memory check that each rank runs for its GPU; None if the check is already done."""
    claim: RunFolder | None = None
    """The locked folder; None if the parent process holds the lock."""

    def __enter__(self) -> PreparedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.claim is not None:
            self.claim.__exit__(kind, error, trace)


def prepare_run(
    request: TrainRequest, reporter: Reporter | None = None, *, world_size: int = 1, processes_here: int = 1
) -> PreparedRun:
    """Prepares a new or resumed run: locks its folder and makes sure that its dataset exists.

    Raises ConfigError, DatasetError or CheckpointError, and then removes the folder of a new run.
    """
    request.check()
    resource_check = ResourceCheck(world_size, processes_here, request.force, reporter or Reporter())
    return (
        _new_run(request, resource_check) if request.resume is None else _resumed_run(request, resource_check)
    )


def _new_run(request: TrainRequest, resource_check: ResourceCheck) -> PreparedRun:
    """Checks everything, locks the folder, writes the configuration, and builds the dataset if none is given."""
    overrides, data = request.settings, request.data
    preset, name = configuration_of_run(request.preset, overrides, request.checkpoint)
    _check_world(preset, resource_check.world_size)
    preset = _with_absolute_paths(preset, data)
    user_settings = UserSettings(frozenset(parse_overrides(overrides or ()).get("data", {})))
    check_settings_apply(preset.data, user_settings)
    find_device(preset.train.device)
    folder = request.output_dir or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    resource_check.check_before_building(preset, folder)
    claim = RunFolder.new(folder)
    try:
        own = folder / OWN_DATASET
        if preset.data.path is None:
            _check_before_building(preset)
            # Written before the build, so that the run can be resumed if the build is killed.
            write_configuration(folder, preset)
            _build(preset.data, own, user_settings, resource_check.reporter)
        dataset, test = _open_datasets(own if preset.data.path is None else Path(preset.data.path))
        check_start(preset, dataset_facts(dataset))
        others = _open_other_sizes(preset, dataset)
        resource_check.check_built(preset, dataset_facts(dataset), folder)
        write_configuration(folder, preset)
    except BaseException:
        claim.discard()
        claim.close()
        raise
    return PreparedRun(folder, preset, dataset, test, others, claim=claim)


def _resumed_run(request: TrainRequest, resource_check: ResourceCheck) -> PreparedRun:
    """Prepares the run of `--resume`: its configuration, with the given overrides of train and eval settings.

    Writes only the lock. A later error, such as settings that do not match the checkpoint, leaves the run unchanged.
    """
    assert request.resume is not None
    overrides, data = request.settings, request.data
    folder, named = _run_and_checkpoint(request.resume)
    for section, settings in parse_overrides(overrides or ()).items():
        if section not in ("train", "eval"):
            raise ConfigError(
                f"{section}: a resumed run keeps its model and data; only train.* and eval.* can change"
            )
        for setting in settings:
            if section == "train" and setting in _OF_NEW_RUNS:
                raise ConfigError(f"train.{setting}: a resumed run keeps {_OF_NEW_RUNS[setting]}; omit it")
    claim = RunFolder.existing(folder)
    try:
        with ignore_rename_warnings():
            preset = _with_absolute_paths(load_configuration(str(folder / CONFIG_FILE), overrides), data)
        _check_world(preset, resource_check.world_size)
        where = Path(preset.data.path) if preset.data.path else folder / OWN_DATASET
        if not is_dataset(where):
            if preset.data.path or checkpoints_of(folder):
                raise DatasetError(f"{where}: the run's dataset was not found; give its folder with --data")
            # The build of the dataset was killed.
            _build(preset.data, where, NO_USER_SETTINGS, resource_check.reporter)
        dataset, test = _open_datasets(where)
        others = _open_other_sizes(preset, dataset)
        resource_check.check_built(preset, dataset_facts(dataset), folder)
    except BaseException:
        claim.close()
        raise
    return PreparedRun(folder, preset, dataset, test, others, resumed=True, named=named, claim=claim)


def reopened_run(
    folder: Path,
    preset: Preset,
    data: Path,
    *,
    resumed: bool,
    named: Path | None,
    checks_tokens: bool = False,
    resource_check: ResourceCheck | None = None,
) -> PreparedRun:
    """Opens a run that another process has prepared.

    `checks_tokens`: whether to check the dataset, because that process ran on another host.
    """
    dataset, test = _open_datasets(data, check_tokens=checks_tokens)
    others = _open_other_sizes(preset, dataset, check_tokens=checks_tokens)
    return PreparedRun(folder, preset, dataset, test, others, resumed, named, resource_check)


def check_same_dataset(prepared: PreparedRun, world: World) -> None:
    """Raises DatasetError, on every rank, if any rank's dataset differs from rank 0's."""
    dataset = prepared.dataset
    facts = (dataset.directory / dataset.split / METADATA_FILE).read_bytes()
    others = [
        rank
        for rank, theirs in enumerate(world.gather_bytes(facts))
        if theirs != world.broadcast_bytes(facts)
    ]
    if others:
        raise DatasetError(
            f"{dataset.directory}: process {', '.join(map(str, others))} has a different dataset than process 0; "
            "every host needs the same one (give its folder on that host with --data)"
        )


def write_configuration(folder: Path, preset: Preset) -> None:
    """Writes `config.yaml` atomically."""
    with whole_file(folder / CONFIG_FILE) as file:
        file.write(resolved_yaml(preset))


def dataset_facts(dataset: Dataset) -> DatasetFacts:
    """The facts about a training dataset that a checkpoint stores."""
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
        # Solving an ARC task needs the task's embedding, so the model file lists the identifiers.
        pack_names(read_identifiers(dataset)) if is_arc(dataset) else "",
    )


def _check_world(preset: Preset, world_size: int) -> None:
    check_trackers(preset.train.loggers)
    rank_rows(preset.train.global_batch_size, 0, world_size)
    arch = preset.arch
    if world_size > 1 and arch.core == "nova" and arch.nova_halting == "mean":
        raise ConfigError(
            "arch.nova_halting mean needs the mean over the whole batch, which is not available with several "
            "processes; use arch.nova_halting=per_row"
        )


def _check_before_building(preset: Preset) -> None:
    """Raises an error for settings that cannot match the dataset, before it is built."""
    if preset.data.source != BUILTIN or preset.data.domain == "arc":
        return
    domain = domain_of(preset.data)
    facts = {"name": domain.name, **domain.facts()}
    check_start(preset, DatasetFacts(domain.vocab_size, domain.seq_len, 1, facts))


def _with_absolute_paths(preset: Preset, data: Path | None) -> Preset:
    """Makes the paths of a preset absolute. `data`, if given, replaces its dataset."""

    def absolute(text: str | None) -> str | None:
        if text is None or text.startswith(PORTABLE_PREFIXES):
            return text
        return os.path.abspath(os.path.expanduser(text))

    path = absolute(preset.data.path if data is None else str(data))
    train = {name: absolute(getattr(preset.train, name)) for name in ("init_from", "distill_from")}
    return preset.model_copy(
        update={
            "data": preset.data.model_copy(
                update={"path": path, "other_sizes": tuple(map(absolute, preset.data.other_sizes))}
            ),
            "train": preset.train.model_copy(update=train),
        }
    )


def _build(config: DataConfig, folder: Path, user_settings: UserSettings, reporter: Reporter) -> None:
    with stages(reporter) as report:
        summary = build_dataset(config, folder, report=report, user_settings=user_settings)
    for note in summary.notes:
        reporter.note(f"Note: {note}")
    reporter.note(f"Built {summary.train.examples:,} training examples in {summary.seconds:.1f} s: {folder}")


def _open_datasets(folder: Path, *, check_tokens: bool = True) -> tuple[Dataset, Dataset | None]:
    if not is_dataset(folder):
        raise DatasetError(f"{folder}: not a dataset; build one with `hrm build-dataset`")
    train = Dataset.open(folder, "train", check_tokens=check_tokens)
    # The split for selecting checkpoints and stopping must not be the split of the reported result.
    for split in ("validation", "test"):
        if (folder / split / "dataset.json").is_file():
            held_out = Dataset.open(folder, split, check_tokens=check_tokens)
            # The hidden test set of a competition has no answers.
            return train, held_out if held_out.has_answers else None
    return train, None


def _open_other_sizes(preset: Preset, main: Dataset, *, check_tokens: bool = True) -> tuple[Dataset, ...]:
    """The datasets of `data.other_sizes`. Raises DatasetError if they do not fit together."""
    if not preset.data.other_sizes:
        return ()
    folders = map(Path, preset.data.other_sizes)
    others = tuple(_open_datasets(folder, check_tokens=check_tokens)[0] for folder in folders)
    check_sizes([main, *others])
    return others


def held_out_of(dataset: Dataset) -> Dataset | None:
    """The split of a dataset's folder that is evaluated during training, without checking its tokens again."""
    return _open_datasets(dataset.directory, check_tokens=False)[1]


def _run_and_checkpoint(name: str) -> tuple[Path, Path | None]:
    """The run and the checkpoint given by `--resume`. The checkpoint is None for the latest."""
    if name == "latest":
        return _newest_run(Path("runs")), None
    path = Path(name)
    if path.is_file() and path.name in ("best", "latest"):
        named = read_pointer(path)
        assert named is not None
        path = named
    run = path.parent.parent
    if path.parent.name == "checkpoints" and (run / CONFIG_FILE).is_file():
        if not path.is_dir():
            known = ", ".join(folder.name for folder in checkpoints_of(run)) or "none"
            raise CheckpointError(f"{path}: no such checkpoint; the run has {known}")
        return run, run / "checkpoints" / path.name
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{path}: neither a run folder ({CONFIG_FILE} is missing) nor a checkpoint of a run "
            "(RUN/checkpoints/step-…)"
        )
    return path, None


def _newest_run(parent: Path) -> Path:
    runs = [path.parent for path in parent.glob(f"*/{CONFIG_FILE}") if checkpoints_of(path.parent)]
    if not runs:
        raise CheckpointError(f"{parent}: no run with a checkpoint to resume; give one with --resume RUN")
    return max(runs, key=lambda run: (run / "checkpoints").stat().st_mtime)
