"""Shared code of the comparisons: training for a given time, and accuracy after each of many inference steps.

Time is CPU time of one thread, without evaluation, so other load on the machine has no effect. Learning rates and
depths follow the elapsed fraction of the time, as they follow the fraction of the steps in normal training.

Letters in shapes: n puzzles, S cells.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.data import DataConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import EvalConfig, Preset
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.training.loop import evaluate_average
from hrm_cli.training.state import TrainState, initial_state
from hrm_cli.training.step import train_one_step

CPU = torch.device("cpu")


def dataset_of(config: DataConfig, folder: Path) -> Dataset:
    """The training split of the dataset of `config` in `folder`, built where it is not there yet."""
    if not folder.is_dir():
        build_dataset(config, folder)
    return Dataset.open(folder)


def preset_of(settings: dict[str, Any], seed: int) -> Preset:
    """The preset `tiny` with `settings` and its own seed."""
    given = {**settings, "train.seed": seed, "train.device": "cpu", "train.compile": "off"}
    return load_preset("tiny", [f"{key}={json.dumps(value)}" for key, value in given.items()])


def train_for(
    preset: Preset, dataset: Dataset, seconds: float, points: int, measure: Callable[[ACTModel], Any]
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Trains for `seconds` of CPU time; calls `measure` on the averaged weights `points` times."""
    metadata = dataset.metadata
    facts = DatasetFacts(
        metadata.vocab_size, metadata.seq_len, metadata.num_puzzle_identifiers, metadata.domain or {}
    )
    state = initial_state(preset, facts, CPU)
    batches = TrainingBatches(dataset, preset.train.global_batch_size, seed=preset.train.seed)
    spent, curve = 0.0, []
    while spent < seconds:
        started = time.process_time()
        share = max(spent / seconds, 1e-6)
        total_steps = max(state.step + 1, round(state.step / share) if state.step else 1_000_000)
        batch = next(batches)
        tensors = (torch.from_numpy(a) for a in (batch.inputs, batch.labels, batch.puzzle_identifiers))
        train_one_step(state, PuzzleBatch(*tensors), preset.train, total_steps)
        spent += time.process_time() - started
        if spent >= seconds * (len(curve) + 1) / points:
            curve.append(
                {
                    "minutes": spent / 60,
                    "step": state.step,
                    "examples": state.step * preset.train.global_batch_size,
                    **evaluate_average(measure, state),
                }
            )
    return state, curve


def accuracy(model: ACTModel, test: Dataset, max_steps: int, puzzles: int) -> dict[str, float]:
    """Figures on the first `puzzles` of a test split, each until it halts."""
    result = evaluate(model, test, EvalConfig(batch_size=250, max_steps=max_steps, max_puzzles=puzzles))
    figures = asdict(result)
    return {name: figures[name] for name in ("exact_accuracy", "cell_accuracy", "mean_steps")}


def right_after_each_step(
    model: ACTModel, inputs: np.ndarray, labels: np.ndarray, steps: int, batch_size: int = 250
) -> np.ndarray:
    """Which puzzles `[n, S]` are right after every one of `steps` steps, none of them halting: `[n, steps]` bool."""
    right = np.zeros((len(inputs), steps), dtype=bool)
    for start in range(0, len(inputs), batch_size):
        rows = slice(start, start + batch_size)
        tokens = torch.from_numpy(inputs[rows].astype(np.int32))
        answers = torch.from_numpy(labels[rows].astype(np.int64))
        blank = torch.zeros(len(tokens), dtype=torch.int32)
        for step in model.infer(tokens, blank, steps, adaptive=False):
            right[rows, step.step - 1] = (step.predictions == answers).all(dim=1).numpy()
    return right


def with_averaged_weights(state: TrainState) -> ACTModel:
    """The model with its weights permanently replaced by their averages."""
    if state.average is not None:
        state.model.load_state_dict(state.average.parameters, strict=False)
    return state.model


def spread(values: Sequence[float]) -> str:
    """Mean and range in percent: `91.2 (88–94)`."""
    shares = [100 * value for value in values]
    mean = f"{sum(shares) / len(shares):.1f}"
    return mean if len(shares) == 1 else f"{mean} ({min(shares):.0f}–{max(shares):.0f})"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table as text: the first column left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
