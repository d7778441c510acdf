"""Checks whether a run fits in the available memory and disk space, and suggests settings that fit.

The check is made before the run's dataset is built, and again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.metadata import read_metadata
from hrm_cli.errors import ConfigError
from hrm_cli.files import free_disk
from hrm_cli.machine import available_bytes, memory_bytes
from hrm_cli.models.device import find_device, resolve_device, resolve_dtype
from hrm_cli.puzzles.domain import OWN_PUZZLES
from hrm_cli.reporting import Reporter
from hrm_cli.runs.configuration import domain_of
from hrm_cli.runs.plan import RunCost, cost_of_run

PROCESS = 500_000_000
"""Memory of a process without a model (Python, torch, its libraries), in bytes."""


@dataclass(frozen=True)
class Resources:
    """The available resources in bytes; None if unknown."""

    memory: int | None
    """Memory for one process: a GPU's, or an equal part of the machine's."""
    available: int | None
    """The part of `memory` that is not in use now."""
    disk: int | None
    """Free space on the disk of the run's folder."""
    place: str
    """Where the memory is, as text: `here`, or `on cuda:0`."""


def resources_of(device: torch.device, folder: Path, processes: int = 1) -> Resources:
    """The resources of a run in `folder` on `device`. `processes` is the number of processes that share the memory."""
    disk = free_disk(folder)
    if disk is not None:
        # A resumed run replaces its checkpoints, so their space counts as free.
        disk += sum(file.stat().st_size for file in (folder / "checkpoints").rglob("*") if file.is_file())
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Resources(total, free, disk, f"on {device}")
    if device.type == "mps":
        return Resources(torch.mps.recommended_max_memory(), None, disk, f"on {device}")
    whole, free_now = memory_bytes(), available_bytes()
    return Resources(
        None if whole is None else whole // processes - PROCESS,
        None if free_now is None else free_now // processes - PROCESS,
        disk,
        "here" if processes == 1 else f"for each of {processes} processes here",
    )


@dataclass(frozen=True)
class Computation:
    """The properties of a run's computation that determine its memory."""

    dtype: str
    device_type: str
    world_size: int = 1

    def cost(self, preset: Preset, facts: DatasetFacts) -> RunCost:
        """The memory and disk space that the run needs."""
        return cost_of_run(preset, facts, self.dtype, self.device_type, world_size=self.world_size)


def check_resources(
    preset: Preset, facts: DatasetFacts, computation: Computation, resources: Resources, *, force: bool
) -> list[str]:
    """Returns warnings about scarce resources. Raises ConfigError if the run cannot fit, unless `force` is set."""
    cost = computation.cost(preset, facts)
    problems, warnings = [], []
    if resources.memory is not None and cost.memory > resources.memory:
        problems.append(
            f"training needs about {size(cost.memory)} of memory, but there are "
            f"{size(max(resources.memory, 0))} {resources.place}; "
            f"{_memory_advice(preset, facts, computation, resources.memory)}"
        )
    elif resources.available is not None and cost.memory > resources.available:
        warnings.append(
            f"training needs about {size(cost.memory)} of memory, but only {size(max(resources.available, 0))} "
            f"{resources.place} are free now"
        )
    if resources.disk is not None and cost.disk > resources.disk:
        problems.append(
            f"the run's checkpoints need {size(cost.disk)} of disk space, but {size(resources.disk)} are free; "
            f"{_disk_advice(preset, cost, resources.disk)}"
        )
    if not problems:
        return warnings
    if force:
        return [*problems, *warnings]
    raise ConfigError(f"{' Also, '.join(problems)}. --force tries it anyway")


def size(count: int) -> str:
    """Formats bytes: 5.4 GB."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:,} bytes"


def _memory_advice(preset: Preset, facts: DatasetFacts, computation: Computation, limit: int) -> str:
    ways = []
    for candidates, remark in _candidates(preset.train, computation.world_size):
        for settings in candidates:
            train = preset.train.model_copy(update=settings)
            needed = computation.cost(preset.model_copy(update={"train": train}), facts).memory
            if needed <= limit:
                words = " ".join(f"train.{name}={_value(value)}" for name, value in settings.items())
                ways.append(f"{words} ({size(needed)}, {remark})")
                break
    if not ways:
        return "no batch size is small enough; use a smaller model"
    return f"these settings fit: {'; '.join(ways)}"


def _candidates(train: TrainConfig, world_size: int) -> Iterator[tuple[list[dict[str, object]], str]]:
    """Settings that need less memory, grouped by kind, with a note about each kind. The smallest change comes first."""
    rows = train.global_batch_size // world_size
    parts = list(_doublings(2 * train.accumulation_steps, rows))
    again = "the same updates, about a third slower"
    yield [{"accumulation_steps": count} for count in parts], "the same updates"
    if not train.activation_checkpointing:
        yield [{"activation_checkpointing": True}], again
        yield (
            [{"accumulation_steps": count, "activation_checkpointing": True} for count in parts],
            again,
        )
    batches = [batch for batch in (train.global_batch_size >> n for n in range(1, 20)) if batch >= world_size]
    yield (
        [{"global_batch_size": batch} for batch in batches if batch % world_size == 0],
        "different updates: the learning rate may need adjusting",
    )


def _doublings(first: int, last: int) -> Iterator[int]:
    while first < last:
        yield first
        first *= 2
    if last > 1:
        yield last


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _disk_advice(preset: Preset, cost: RunCost, free: int) -> str:
    train, ways = preset.train, []
    fewer = free // cost.checkpoint - 2
    if 1 <= fewer < train.keep_checkpoints:
        ways.append(f"train.keep_checkpoints={fewer} fits")
    if preset.data.path is None and preset.data.augment == "stored":
        ways.append("data.augment=online stores no augmented copies")
    ways.append("--output-dir names another disk")
    return "; ".join(ways)


@dataclass(frozen=True)
class ResourceCheck:
    """Checks whether a run fits the machine. A run that cannot fit is refused unless `force` is set."""

    world_size: int = 1
    processes_here: int = 1
    force: bool = False
    reporter: Reporter = field(default_factory=Reporter)

    def check_before_building(self, preset: Preset, folder: Path) -> None:
        """Raises ConfigError for a run that does not fit with a single puzzle embedding, before anything is written."""
        if preset.data.domain == OWN_PUZZLES and preset.data.path is None:
            return  # the size of own puzzles is known only after reading them
        device = find_device(preset.train.device)
        if device.type == "cuda" and self.world_size > 1:
            return  # the launcher initializes no device, so every rank checks its own
        self.check(preset, _facts_before_building(preset), resolve_device(preset.train.device), folder)

    def check_built(self, preset: Preset, facts: DatasetFacts, folder: Path) -> None:
        """As `check_before_building`, with the actual number of puzzle embeddings."""
        device = find_device(preset.train.device)
        if device.type == "cuda" and self.world_size > 1:
            return
        self.check(preset, facts, resolve_device(preset.train.device), folder)

    def check(self, preset: Preset, facts: DatasetFacts, device: torch.device, folder: Path) -> None:
        """Raises ConfigError if the run does not fit `device` or the disk of `folder`; warns about scarce resources."""
        dtype = str(resolve_dtype(preset.arch.forward_dtype, device)).removeprefix("torch.")
        computation = Computation(dtype, device.type, self.world_size)
        resources = resources_of(device, folder, self.processes_here)
        for warning in check_resources(preset, facts, computation, resources, force=self.force):
            self.reporter.warn(warning)


def _facts_before_building(preset: Preset) -> DatasetFacts:
    if preset.data.path is not None:
        metadata = read_metadata(Path(preset.data.path), "train")
        stated = dict(metadata.domain or {})
        return DatasetFacts(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers, stated)
    domain = domain_of(preset.data)
    return DatasetFacts(domain.vocab_size, domain.seq_len, 1, {"name": domain.name, **domain.facts()})
