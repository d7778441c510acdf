"""A model trained with hints leaves solved grids alone, however long it continues (hrm-spec, "Known weaknesses")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.data import DataConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.training.state import initial_state
from hrm_cli.training.step import train_one_step

STEPS = 250
FURTHER = 50
SETTINGS = [
    "arch.hidden_size=64", "arch.num_heads=2", "arch.H_cycles=2", "arch.L_cycles=2", "arch.puzzle_emb_ndim=0",
    "arch.pos_encodings=learned", "arch.halt_max_steps=4", "arch.forward_dtype=auto", "train.lr=3e-3",
    "train.lr_min_ratio=0.1", "train.lr_warmup_steps=50", "train.global_batch_size=128", "train.ema_decay=0.98",
    "train.loss=stablemax_cross_entropy", "train.grad_clip=1", "train.device=cpu", "train.seed=3",
]  # fmt: skip


def trained(folder: Path, hints: float) -> ACTModel:
    """A small HRM after a few hundred steps on 4×4 puzzles of at most six givens."""
    build_dataset(
        DataConfig(size=4, clues="4-6", num_train=5000, num_test=200, augment="online", hints=hints), folder
    )
    dataset = Dataset.open(folder)
    preset = load_preset("tiny", SETTINGS)
    state = initial_state(preset, DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4}), torch.device("cpu"))
    batches = TrainingBatches(dataset, preset.train.global_batch_size)
    for _ in range(STEPS):
        batch = next(batches)
        tensors = map(torch.from_numpy, (batch.inputs, batch.labels, batch.puzzle_identifiers))
        train_one_step(state, PuzzleBatch(*tensors), preset.train, STEPS)
    assert state.average is not None
    state.model.load_state_dict(state.average.parameters, strict=False)
    return state.model


def still_solved(model: ACTModel, solved: torch.Tensor) -> list[float]:
    """Share of solved grids `[n, S]` that are their own answer after each of `FURTHER` steps."""
    blank = torch.zeros(len(solved), dtype=torch.int32)
    steps = model.infer(solved, blank, FURTHER, adaptive=False)
    return [(step.predictions == solved).all(dim=1).double().mean().item() for step in steps]


@pytest.mark.slow(seconds=25)
def test_a_solved_grid_stays_solved_for_fifty_steps_with_hints_and_not_without(tmp_path: Path) -> None:
    with_hints, without = trained(tmp_path / "with", 0.4), trained(tmp_path / "without", 0.0)
    _, labels = Dataset.open(tmp_path / "with", "test").gather(np.arange(100))
    solved = torch.from_numpy(labels)
    kept, lost = still_solved(with_hints, solved), still_solved(without, solved)
    # Of four seeds and two orders of summing in float32, the least kept with hints was 0.95 to 0.995 in seven, and 0.75
    # in one. In bfloat16, which takes half the time where the processor has it, it was 0.96 with this seed.
    assert min(kept) >= 0.9
    # After some steps, the other model has spoiled many of them: more than half with the random weights of torch 2.13,
    # 14 % with those of torch 2.6, whose initialization differs.
    assert max(lost[10:]) < min(kept) - 0.05
