"""A whole small run without a dataset on disk: three-token puzzles whose answer is the puzzle reversed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import Batch
from hrm_cli.training.loggers import Listener
from hrm_cli.training.run import Evaluate, Run
from hrm_cli.training.state import Plan, TrainState, initial_state

FACTS = DatasetFacts(vocab_size=6, seq_len=9, num_puzzle_identifiers=3, domain={})


class ReversedPuzzles:
    """A stream whose position is one number."""

    def __init__(self, batch_size: int = 8) -> None:
        self.batch_size, self.position = batch_size, 0

    def __next__(self) -> Batch:
        rng = np.random.default_rng(self.position)
        self.position += 1
        inputs = rng.integers(1, 6, (self.batch_size, 9), dtype=np.int32)
        identifiers = rng.integers(0, 3, self.batch_size, dtype=np.int32)
        return Batch(inputs, inputs[:, ::-1].copy(), identifiers)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def small_preset(**train: Any) -> Preset:
    arch = ArchConfig(
        hidden_size=16, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, halt_max_steps=3,
        forward_dtype="float32", puzzle_emb_ndim=20,
    )  # fmt: skip
    defaults = {"global_batch_size": 8, "lr": 1e-3, "lr_warmup_steps": 5, "log_interval": 5}
    return Preset(arch=arch, train=TrainConfig(**{**defaults, **train}))


class Recorder(Listener):
    """A listener that keeps what it is told, and does something at certain steps."""

    def __init__(self, at_step=None) -> None:
        self.records, self.warnings, self.rewinds = [], [], []
        self.at_step, self.ended = at_step or {}, False

    def begin(self, plan, step) -> None:
        self.first = step

    def stepped(self, step) -> None:
        if step in self.at_step:
            self.at_step[step]()

    def logged(self, record) -> None:
        self.records.append(record)

    def warned(self, message) -> None:
        self.warnings.append(message)

    def rewound(self, step) -> None:
        self.rewinds.append(step)

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def recorder_class() -> type[Recorder]:
    return Recorder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., tuple[Run, TrainState]]:
    """`make_run(total_steps=20, lr=…)` → a run in a temporary folder, and its initial state."""

    def make(
        total_steps: int = 20,
        *,
        folder: str = "run",
        eval_every: int = 10,
        evaluate: Evaluate | None = None,
        listeners: tuple[Any, ...] = (),
        batches: ReversedPuzzles | None = None,
        **train: Any,
    ) -> tuple[Run, TrainState]:
        preset = small_preset(**train)
        plan = Plan(total_steps, steps_per_epoch=4.0, eval_every=eval_every)
        run = Run(tmp_path / folder, preset, FACTS, plan, batches or ReversedPuzzles(), evaluate, listeners)
        run.folder.mkdir(exist_ok=True)
        return run, initial_state(preset, FACTS, torch.device("cpu"))

    return make
