"""HRM, TRM and RSM at an equal time budget on 6×6 and 9×9 Sudoku: exact accuracy over minutes and over steps.

RSM is included twice: as published, and with carried rows, which continue from the previous step (`train.carry_over`).

    python benchmarks/architectures.py --minutes 8 --seeds 0 1 2 --jobs 16 --output architectures.json
    python benchmarks/architectures.py --show architectures.json --svg docs/pictures/architectures.svg

The first form trains every method on every task with every seed, each in a process of one thread, and writes all
figures. The second prints the tables and draws the picture. Minutes are CPU time of one core. `--tasks` runs a part of
the work; `--show` then takes several files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL: dict[str, Any] = {
    "arch.puzzle_emb_ndim": 0,
    "arch.forward_dtype": "auto",
    "train.loss": "stablemax_cross_entropy",
    "train.beta2": 0.95,
    "train.lr_min_ratio": 0.1,
    "train.lr_warmup_steps": 50,
    "train.global_batch_size": 64,
    "train.weight_decay": 0.1,
    "train.ema_decay": 0.99,
    "train.grad_clip": 1.0,
}
"""Settings shared by all methods."""

MIXING: dict[str, Any] = {
    **MODEL,
    "arch.core": "trm",
    "arch.hidden_size": 192,
    "arch.num_heads": 4,
    "arch.L_layers": 1,
    "arch.mlp_t": True,
    "arch.pos_encodings": "none",
}
"""One block with a token-mixing MLP."""

SETTLING: dict[str, Any] = {
    **MIXING,
    "arch.H_cycles": 1,
    "arch.L_cycles": 4,
    "arch.halting": "certain",
    "arch.tied_output": True,
    "arch.halt_max_steps": 16,
    "train.objective": "rsm",
    "train.loss": "softmax_cross_entropy",
    "train.lr": 4e-3,
}
"""One outer step is one ACT step; a puzzle finishes when every cell is certain."""

METHODS: dict[str, dict[str, Any]] = {
    "HRM": {
        **MODEL,
        "arch.core": "hrm",
        "arch.hidden_size": 128,
        "arch.num_heads": 4,
        "arch.pos_encodings": "learned",
        "arch.H_layers": 1,
        "arch.L_layers": 1,
        "arch.H_cycles": 1,
        "arch.L_cycles": 2,
        "arch.halt_max_steps": 4,
        "arch.q_continue": False,
        "train.loss": "softmax_cross_entropy",
        "train.global_batch_size": 128,
        "train.lr": 2e-3,
    },
    "TRM": {
        **MIXING,
        "arch.H_cycles": 2,
        "arch.L_cycles": 3,
        "arch.halt_max_steps": 4,
        "train.lr": 4e-3,
    },
    "RSM": {
        **SETTLING,
        "train.depth_schedule": "2x2@0 3x2@0.3 4x3@0.6",
    },
    "RSM, carried": {
        **SETTLING,
        "train.carry_over": 0.5,
        "train.depth_schedule": "2x2@0 2x4@0.3",
    },
}
"""Settings of each method, tuned in short runs; all models have 0.3 to 0.6 million parameters."""

TASKS: dict[str, dict[str, Any]] = {
    "6x6": {"size": 6, "clues": "10-24", "num_train": 20_000},
    "9x9": {"size": 9, "clues": "34-60", "num_train": 20_000},
}
POINTS = 8
"""Number of evaluations in a run."""

EVALUATED, ASKED_ON = 200, 100
"""Number of held-out puzzles for an evaluation, and for the test with many inference steps."""

DATA = {"num_test": EVALUATED, "augment": "online", "seed": 7}
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 150, 200)
"""Inference steps after which answers are compared."""


def run_one(task: str, method: str, seed: int, minutes: float, folder: Path, data: Path) -> dict[str, Any]:
    """One training run, and the accuracy of its model at inference."""
    import numpy as np
    import torch
    from timed_training import accuracy, preset_of, right_after_each_step, train_for, with_averaged_weights

    from hrm_cli.data.format import Dataset

    torch.set_num_threads(1)
    train, test = (Dataset.open(data, split) for split in ("train", "test"))
    state, curve = train_for(
        preset_of(METHODS[method], seed),
        train,
        60 * minutes,
        POINTS,
        lambda model: accuracy(model, test, model.arch.halt_max_steps, EVALUATED),
    )
    model = with_averaged_weights(state)
    inputs, labels = test.gather(np.arange(ASKED_ON))
    right = right_after_each_step(model, inputs, labels, max(STEPS)).mean(axis=0)
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "minutes": minutes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": state.step,
        "curve": curve,
        "by_inference_step": {str(step): float(right[step - 1]) for step in STEPS},
    }


def run_all(given: argparse.Namespace) -> dict[str, Any]:
    """Runs every combination in its own process, `jobs` at a time."""
    from reporting import machine
    from timed_training import dataset_of

    from hrm_cli.config.data import DataConfig

    combinations = [(t, m, s) for t in given.tasks for m in given.methods for s in given.seeds]
    with tempfile.TemporaryDirectory() as folder:
        for task in given.tasks:
            dataset_of(DataConfig(**TASKS[task], **DATA), Path(folder) / task)

        def start(combination: tuple[str, str, int]) -> dict[str, Any]:
            task, method, seed = combination
            out = Path(folder) / f"{task}-{method}-{seed}.json"
            command = [
                sys.executable, __file__, "--one", task, method, str(seed), "--minutes", str(given.minutes),
                "--output", str(out), "--data", str(Path(folder) / task),
            ]  # fmt: skip
            subprocess.run(command, check=True)
            result: dict[str, Any] = json.loads(out.read_text())
            last = result["curve"][-1]
            print(
                f"{task} {method} seed {seed}: {last['exact_accuracy']:.1%} after {last['step']} steps",
                flush=True,
            )
            return result

        with ThreadPoolExecutor(given.jobs) as pool:
            runs = list(pool.map(start, combinations))
    return {"machine": machine(), "jobs": given.jobs, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each")
    parser.add_argument("--output", type=Path, default=Path("architectures.json"))
    parser.add_argument("--show", type=Path, nargs="+", help="print the tables of finished comparisons")
    parser.add_argument("--svg", type=Path, help="with --show: draw the picture too")
    parser.add_argument("--one", nargs=3, metavar=("TASK", "METHOD", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.show:
        from architectures_shown import picture, tables

        documents = [json.loads(file.read_text()) for file in given.show]
        document = documents[0] | {"runs": [run for part in documents for run in part["runs"]]}
        print(tables(document))
        if given.svg:
            given.svg.write_text(picture(document), encoding="utf-8")
        return
    if given.one:
        task, method, seed = given.one
        document = run_one(task, method, int(seed), given.minutes, given.output.parent, given.data)
    else:
        document = run_all(given)
    given.output.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
