"""Whether a run fits this machine: asked before its dataset is built, and again once that is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.cli.configuration import domain_of
from hrm_cli.config.schema import Preset
from hrm_cli.data.metadata import read_metadata
from hrm_cli.models.device import find_device, resolve_device, resolve_dtype
from hrm_cli.reporting import Reporter
from hrm_cli.runs.resources import Computation, check_resources, resources_of


@dataclass(frozen=True)
class Fitting:
    """Compares a run with the machine; a run that cannot fit is refused unless `force` is set."""

    world_size: int = 1
    processes_here: int = 1
    force: bool = False
    reporter: Reporter = field(default_factory=Reporter)

    def check_before_building(self, preset: Preset, folder: Path) -> None:
        """Raises ConfigError for a run that does not fit with a single puzzle embedding, before anything is written."""
        device = find_device(preset.train.device)
        if device.type == "cuda" and self.world_size > 1:
            return  # the launcher touches no device; every rank asks its own
        self.check(preset, _facts_before_building(preset), resolve_device(preset.train.device), folder)

    def check_built(self, preset: Preset, facts: DatasetFacts, folder: Path) -> None:
        """The same with what the dataset says: how many puzzle embeddings there are."""
        device = find_device(preset.train.device)
        if device.type == "cuda" and self.world_size > 1:
            return
        self.check(preset, facts, resolve_device(preset.train.device), folder)

    def check(self, preset: Preset, facts: DatasetFacts, device: torch.device, folder: Path) -> None:
        """Raises ConfigError where the run does not fit `device` or the disk of `folder`; says what is scarce."""
        dtype = str(resolve_dtype(preset.arch.forward_dtype, device)).removeprefix("torch.")
        computation = Computation(dtype, device.type, self.world_size)
        resources = resources_of(device, folder, self.processes_here)
        for warning in check_resources(preset, facts, computation, resources, force=self.force):
            self.reporter.warn(warning)


def _facts_before_building(preset: Preset) -> DatasetFacts:
    if preset.data.path is not None:
        metadata = read_metadata(Path(preset.data.path), "train")
        return DatasetFacts(metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers, {})
    domain = domain_of(preset.data)
    return DatasetFacts(domain.vocab_size, domain.seq_len, 1, {})
