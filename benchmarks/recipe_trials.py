"""Ablations of the bundled 9×9 recipe: short training runs that differ in one setting at a time.

    python benchmarks/recipe_trials.py --minutes 2.5 --save benchmarks/results/recipe_trials.txt

Every trial trains for the same CPU time of one thread, on the same generated puzzles of 22 to 46 clues. It is evaluated
on the same 400 held-out puzzles, without halting. Each has one seed, so only large differences mean something.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import keep, machine_line
from timed_training import aligned, dataset_of, preset_of, right_after_each_step, train_for

from hrm_cli.config.data import DataConfig
from hrm_cli.data.format import Dataset
from hrm_cli.models.act import ACTModel

DATA = DataConfig(size=9, clues="22-46", num_train=200_000, num_test=400, augment="online", hints=0.2, seed=3)
COMMON: dict[str, Any] = {
    "arch.core": "trm", "arch.hidden_size": 192, "arch.num_heads": 4, "arch.L_layers": 1, "arch.mlp_t": True,
    "arch.pos_encodings": "none", "arch.puzzle_emb_ndim": 0, "arch.H_cycles": 1, "arch.L_cycles": 4,
    "arch.halting": "settle", "arch.tied_output": True, "arch.halt_max_steps": 16, "arch.forward_dtype": "auto",
    "train.objective": "rsm", "train.depth_schedule": "2x2@0 2x4@0.5", "train.carry_over": 0.5, "train.lr": 4e-3,
    "train.lr_min_ratio": 0.1, "train.lr_warmup_steps": 50, "train.global_batch_size": 64,
    "train.weight_decay": 0.1, "train.ema_decay": 0.99, "train.grad_clip": 1.0,
    "train.loss": "softmax_cross_entropy",
}  # fmt: skip
SUPERVISED: dict[str, Any] = {
    "train.objective": "deep_supervision", "train.carry_over": 0.0, "train.depth_schedule": None,
    "arch.halting": "q_learning", "arch.tied_output": False, "arch.H_cycles": 2, "arch.L_cycles": 3,
    "arch.halt_max_steps": 8, "train.lr": 2e-3, "train.global_batch_size": 128,
}  # fmt: skip
TRIALS: dict[str, dict[str, Any]] = {
    "TRM's deep supervision, batch 128, lr 2e-3": SUPERVISED,
    "RSM as published, batch 128, lr 2e-3": {
        "train.carry_over": 0.0,
        "train.depth_schedule": "2x2@0 4x4@0.5",
        "train.lr": 2e-3,
        "train.global_batch_size": 128,
    },
    "carried rows, batch 128, lr 2e-3": {"train.lr": 2e-3, "train.global_batch_size": 128},
    "carried rows, batch 128, lr 4e-3": {"train.global_batch_size": 128},
    "carried rows, batch 128, lr 8e-3": {"train.lr": 8e-3, "train.global_batch_size": 128},
    "carried rows, batch 64, lr 4e-3": {},
    "carried rows, batch 32, lr 4e-3": {"train.global_batch_size": 32},
    "carried rows, batch 64, lr 4e-3, H 256": {"arch.hidden_size": 256},
}
STEPS = (1, 2, 4, 8, 16)


def trial(train: Dataset, test: Dataset, settings: dict[str, Any], minutes: float) -> list[str]:
    """A row of the table."""
    inputs, labels = test.gather(np.arange(test.num_examples))

    def look(model: ACTModel) -> list[float]:
        return list(right_after_each_step(model, inputs, labels, max(STEPS)).mean(axis=0))

    def measure(model: ACTModel) -> dict[str, list[float]]:
        return {"right": look(model)}

    preset = preset_of({**COMMON, **settings}, seed=0)
    state, curve = train_for(preset, train, 60 * minutes, 1, measure)
    parameters = sum(p.numel() for p in state.model.parameters())
    shares = [f"{100 * curve[-1]['right'][step - 1]:.1f}" for step in STEPS]
    return [f"{parameters:,}", f"{state.step:,}", f"{state.step * preset.train.global_batch_size:,}", *shares]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train = dataset_of(DATA, Path(folder) / "data")
        test = Dataset.open(Path(folder) / "data", "test")
        rows = [["", "parameters", "steps", "puzzles", *(f"k = {step}" for step in STEPS)]]
        for name, settings in TRIALS.items():
            rows.append([name, *trial(train, test, settings, given.minutes)])
            print("  ".join(rows[-1]), flush=True)
    text = (
        f"Machine: {machine_line()}\n"
        f"9×9 Sudoku of 22 to 46 clues, {given.minutes:g} minutes of CPU time for each, one thread, one seed\n"
        f"Exact accuracy after k outer steps, on 400 held-out puzzles, in %\n\n{aligned(rows)}\n"
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
