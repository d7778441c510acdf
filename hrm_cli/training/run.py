"""The context of a run: its folder, configuration, data and listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.pointers import CheckpointWriteError
from hrm_cli.config.schema import Preset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.models.act import ACTModel
from hrm_cli.training.checkpointing import save_checkpoint
from hrm_cli.training.loggers import Listener
from hrm_cli.training.prefetch import BatchStream, Prefetcher
from hrm_cli.training.state import Plan, TrainState

Evaluate = Callable[[ACTModel], Mapping[str, float]]
"""Evaluates a model; the result holds at least `exact_accuracy`."""


@dataclass
class Run:
    """A run: its folder, configuration, data and listeners."""

    folder: Path
    preset: Preset
    facts: DatasetFacts
    plan: Plan
    batches: BatchStream
    evaluate: Evaluate | None
    listeners: Sequence[Listener] = ()
    world: World = ALONE
    """The processes that train together. Only rank 0 has listeners."""
    ahead: Prefetcher | None = None
    """Prefetches `batches` while the run trains, and tracks which have been used."""

    def save(self, state: TrainState, *, best: bool = False) -> Path:
        """Writes a checkpoint of `state`, with the rows and sums of all ranks."""
        return save_checkpoint(
            self.folder,
            state,
            self.preset,
            self.facts,
            (self.ahead or self.batches).state_dict(),
            best=best,
            world=self.world,
        )

    def save_if_possible(self, state: TrainState, *, best: bool = False) -> Path | None:
        """Writes a checkpoint. If that fails, warns and returns None, and the run continues."""
        try:
            return self.save(state, best=best)
        except CheckpointWriteError as error:
            self.warn(f"{error}. Training continues; the next checkpoint will be tried again")
            return None

    def warn(self, message: str) -> None:
        """Warns every listener of a problem that does not end the run."""
        for listener in self.listeners:
            listener.warned(message)

    def log(self, record: dict[str, Any]) -> None:
        """Logs a record of metrics: passes it to every listener."""
        for listener in self.listeners:
            listener.logged(record)
