"""What is timed: the very training step, evaluation, solving and building that the other commands run.

The puzzles are made up on the spot, of the preset's shape: the speed of a model does not depend on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.accounting.components import anatomy
from hrm_cli.accounting.flops import StepFlops, step_flops, training_flops
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.depth import depth_shares
from hrm_cli.config.schema import DataConfig, EvalConfig, Preset
from hrm_cli.data.batches import Batch
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset, ExampleSet
from hrm_cli.data.metadata import SplitMetadata
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.models.choices import choices, device_name
from hrm_cli.models.compiling import compile_updates
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Domain, Puzzle
from hrm_cli.solving.solver import solve_puzzles
from hrm_cli.training.optimizers import optimizer_choice
from hrm_cli.training.prefetch import as_tensors, on_device
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step


@dataclass(frozen=True)
class Workload:
    """Something to time."""

    what: str
    preset: str
    examples: int
    """Puzzles that one round works through."""
    run: Callable[[], None]
    """One round."""
    device: torch.device
    dtype: torch.dtype | None = None
    """The forward dtype; None where there is no model."""
    flops_per_example: int | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    """What the model computes with."""

    @property
    def device_name(self) -> str:
        """The device, with the accelerator's name."""
        return device_name(self.device)


def training(name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device) -> Workload:
    """Training steps on `batch` puzzles, the preset's global batch size where None.

    Under a depth schedule they are those of its last stage, the deepest of the run.
    """
    config = preset.train
    update: dict[str, object] = {} if batch is None else {"global_batch_size": batch}
    if config.depth_schedule is not None:
        H_cycles, L_cycles, _ = depth_shares(config.depth_schedule)[-1]
        update["depth_schedule"] = f"{H_cycles}x{L_cycles}@0"
    config = config.model_copy(update=update)
    preset = preset.model_copy(update={"train": config})
    rows = config.global_batch_size
    state = initial_state(preset, DatasetFacts(domain.vocab_size, domain.seq_len, 1, {}), device)
    # As a run's prefetcher hands them out: from pinned memory the copy waits for nothing.
    ready = as_tensors(_made_up(domain, rows), device)

    def run() -> None:
        train_one_step(state, on_device(ready, device), config, total_steps=1_000_000)

    flops = training_flops(preset.arch, config, domain.vocab_size, domain.seq_len)
    used = {**choices(state.model), "optimizer": optimizer_choice(state.network)}
    return Workload("train", name, rows, run, device, state.model.core.dtype, flops, used)


def evaluation(
    name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device
) -> Workload:
    """Evaluations of one full batch, every puzzle taking all its steps; the preset's batch size where None."""
    rows = batch or preset.eval.batch_size
    config = EvalConfig(batch_size=rows, halt="full", max_steps=preset.eval.max_steps)
    model = build_model(preset.arch, domain.vocab_size, domain.seq_len, 1, device=device)
    model.core.initialise(torch.Generator().manual_seed(0))
    compile_updates(model, preset.train.compile)
    dataset = _as_dataset(domain, _made_up(domain, rows))

    def run() -> None:
        evaluate(model, dataset, config)

    steps = config.max_steps or preset.arch.halt_max_steps
    flops = steps * _flops(preset, domain).forward
    return Workload("eval", name, rows, run, device, model.core.dtype, flops, choices(model))


def solving(name: str, preset: Preset, domain: Domain, batch: int | None, device: torch.device) -> Workload:
    """Solving of `batch` generated puzzles (one where None), verified, every puzzle taking all its steps.

    Raises ConfigError for a domain whose puzzles cannot be generated.
    """
    rows = batch or 1
    puzzles = _generated(preset.data, domain, rows)
    model = build_model(preset.arch, domain.vocab_size, domain.seq_len, 1, device=device)
    model.core.initialise(torch.Generator().manual_seed(0))
    steps = preset.eval.max_steps or preset.arch.halt_max_steps
    fixed = FixedModel(model)

    def run() -> None:
        for _ in solve_puzzles(fixed, domain, puzzles, max_steps=steps, adaptive=False, batch_size=rows):
            pass

    flops = steps * _flops(preset, domain).forward
    return Workload("solve", name, rows, run, device, model.core.dtype, flops, choices(model))


def building(name: str, preset: Preset) -> Workload:
    """Builds of the preset's dataset, in a temporary folder. One is made here: it tells the number of examples."""
    with tempfile.TemporaryDirectory() as folder:
        first = build_dataset(preset.data, Path(folder) / "dataset")

    def run() -> None:
        with tempfile.TemporaryDirectory() as again:
            build_dataset(preset.data, Path(again) / "dataset")

    examples = first.train.examples + first.test.examples
    return Workload("build", name, examples, run, torch.device("cpu"))


def _flops(preset: Preset, domain: Domain) -> StepFlops:
    return step_flops(anatomy(preset.arch, domain.vocab_size, domain.seq_len))


def _made_up(domain: Domain, rows: int) -> Batch:
    rng = np.random.default_rng(0)
    inputs, labels = (
        rng.integers(1, domain.vocab_size, (rows, domain.seq_len), dtype=np.int32) for _ in range(2)
    )
    return Batch(inputs, labels, np.zeros(rows, dtype=np.int32))


def _as_dataset(domain: Domain, batch: Batch) -> Dataset:
    count = len(batch.inputs)
    metadata = SplitMetadata(
        pad_id=0, ignore_label_id=None, blank_identifier_id=0, vocab_size=domain.vocab_size,
        seq_len=domain.seq_len, num_puzzle_identifiers=1, total_groups=count, mean_puzzle_examples=1.0,
        sets=("all",),
    )  # fmt: skip
    every: NDArray[np.int64] = np.arange(count + 1)
    examples = ExampleSet("all", batch.inputs, batch.labels, np.zeros(count, dtype=np.int64), every, every)
    return Dataset(Path("made-up"), "test", metadata, (examples,))


def _generated(data: DataConfig, domain: Domain, count: int) -> list[Puzzle]:
    if data.domain == "arc":
        raise ConfigError(
            "hrm bench solve: ARC tasks cannot be generated; take a preset of Sudoku or mazes, or `hrm bench eval`"
        )
    config = DataConfig(
        domain=data.domain,
        size=data.size,
        num_train=1,
        num_test=count,
        clues=data.clues,
        min_path=data.min_path,
        style=data.style,
    )
    with tempfile.TemporaryDirectory() as folder:
        build_dataset(config, Path(folder) / "dataset")
        dataset = Dataset.open(Path(folder) / "dataset", "test")
        tokens, _ = dataset.gather(np.arange(count))
    return [Puzzle(domain.decode(row.astype(np.uint8)), domain=domain.name) for row in tokens]
