"""HRM, TRM and RSM at an equal time budget on 6×6 and 9×9 Sudoku: exact accuracy over minutes and over steps.

RSM is included twice: as published, and with carried rows, which continue from the previous step (`train.carry_over`).
`--set` compares other methods in the same way; all of them are in `methods.py`.

    python benchmarks/architectures.py --minutes 8 --seeds 0 1 2 --jobs 16 --output architectures.json
    python benchmarks/architectures.py --show architectures.json --svg docs/pictures/architectures.svg

The first form trains every method on every task with every seed, each in a process of one thread. It writes a run's
figures to the file when the run has ended; the same command later continues with the runs that are missing. The second
form prints the tables and draws the picture. Minutes are CPU time of one core. `--tasks` and `--methods` run a part of
the work; `--show` then takes several files. To choose settings, `--change` tries them and `--split validation` measures
on validation puzzles instead of test puzzles.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from methods import SETS, TASKS

POINTS = 8
"""Number of evaluations in a run."""

EVALUATED, ASKED_ON = 200, 100
"""Number of held-out puzzles for an evaluation, and for the test with many inference steps (`--puzzles`)."""

DATA = {"num_test": 400, "num_validation": 400, "augment": "online", "seed": 7}
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 150, 200)
"""Inference steps after which answers are compared."""


def run_one(task: str, method: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One training run, and the accuracy of its model at inference."""
    import numpy as np
    import torch
    from timed_training import accuracy, preset_of, right_after_each_step, train_for, with_averaged_weights

    from hrm_cli.data.format import Dataset

    torch.set_num_threads(1)
    train, test = (Dataset.open(given.data, split) for split in ("train", given.split))
    changes = {key: json.loads(value) for key, value in (change.split("=", 1) for change in given.change)}
    state, curve = train_for(
        preset_of({**SETS[given.set][method], **changes}, seed),
        train,
        60 * given.minutes,
        given.points,
        lambda model: accuracy(model, test, model.arch.halt_max_steps, EVALUATED),
    )
    model = with_averaged_weights(state)
    inputs, labels = test.gather(np.arange(given.puzzles))
    steps = [step for step in STEPS if step <= given.deepest]
    right = right_after_each_step(model, inputs, labels, steps[-1]).mean(axis=0)
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "minutes": given.minutes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": state.step,
        "curve": curve,
        "by_inference_step": {str(step): float(right[step - 1]) for step in steps},
    }


def run_all(given: argparse.Namespace) -> None:
    """Runs every missing combination in its own process, `jobs` at a time, and writes each result when it comes."""
    from reporting import machine
    from timed_training import dataset_of

    from hrm_cli.config.data import DataConfig

    document = {"machine": machine(), "jobs": given.jobs, "runs": []}
    if given.output.exists():
        document = json.loads(given.output.read_text(encoding="utf-8"))
    finished = {(run["task"], run["method"], run["seed"]) for run in document["runs"]}
    methods = given.methods or list(SETS[given.set])
    # Seed by seed, so that an unfinished comparison has the same seeds of all methods.
    combinations = [(t, m, s) for t in given.tasks for s in given.seeds for m in methods]
    missing = [combination for combination in combinations if combination not in finished]
    writing = Lock()
    with tempfile.TemporaryDirectory() as folder:
        for task in given.tasks:
            dataset_of(DataConfig(**{**DATA, **TASKS[task]}), Path(folder) / task)

        def start(combination: tuple[str, str, int]) -> None:
            task, method, seed = combination
            out = Path(folder) / f"{task}-{method}-{seed}.json"
            own = {"minutes": given.minutes, "points": given.points, "puzzles": given.puzzles,
                   "deepest": given.deepest, "split": given.split, "set": given.set, "output": out,
                   "data": Path(folder) / task}  # fmt: skip
            command = [sys.executable, __file__, "--one", task, method, str(seed)]
            command += [word for name, value in own.items() for word in (f"--{name}", str(value))]
            subprocess.run([*command, "--change", *given.change], check=True)
            result: dict[str, Any] = json.loads(out.read_text())
            last = result["curve"][-1]
            with writing:
                document["runs"].append(result)
                given.output.write_text(json.dumps(document, indent=1), encoding="utf-8")
                print(
                    f"{task} {method} seed {seed}: {last['exact_accuracy']:.1%} after {last['step']} steps",
                    flush=True,
                )

        with ThreadPoolExecutor(given.jobs) as pool:
            list(pool.map(start, missing))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=["6x6", "9x9"])
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="by default all of the set")
    parser.add_argument("--set", choices=list(SETS), default="architectures", help="methods to compare")
    parser.add_argument("--points", type=int, default=POINTS, help="evaluations in a run")
    parser.add_argument("--puzzles", type=int, default=ASKED_ON, help="puzzles of the test with many steps")
    parser.add_argument("--deepest", type=int, default=STEPS[-1], help="inference steps of that test")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument(
        "--change", nargs="*", default=[], metavar="KEY=JSON", help="settings for all methods"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each")
    parser.add_argument("--output", type=Path, default=Path("architectures.json"))
    parser.add_argument("--show", type=Path, nargs="+", help="print the tables of finished comparisons")
    parser.add_argument("--svg", type=Path, help="with --show: draw the picture too")
    parser.add_argument("--one", nargs=3, metavar=("TASK", "METHOD", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.show:
        from architectures_shown import picture, picture_by_mixer, tables

        documents = [json.loads(file.read_text()) for file in given.show]
        document = documents[0] | {"runs": [run for part in documents for run in part["runs"]]}
        print(tables(document))
        if given.svg:
            drawn = picture_by_mixer(document) if given.set == "mixers" else picture(document)
            given.svg.write_text(drawn, encoding="utf-8")
        return
    if given.one:
        task, method, seed = given.one
        document = run_one(task, method, int(seed), given)
        given.output.write_text(json.dumps(document), encoding="utf-8")
    else:
        run_all(given)


if __name__ == "__main__":
    main()
