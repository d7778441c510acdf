"""Is a solved grid a fixed point? Models trained with and without hints run further steps after they have finished.

    python benchmarks/fixed_point.py --size 6 --minutes 8 --seeds 0 1 2 --jobs 2 --output fixed_point.json
    python benchmarks/fixed_point.py --show fixed_point.json --svg docs/pictures/fixed-point.svg

HRM is known to fail on puzzles with one empty cell, because the solved state is not a fixed point (arXiv 2601.10679).
The first form trains HRM and RSM twice each, identical except for `data.hints`. It measures on held-out grids
- the solved grid as a puzzle: the fraction with a right answer after each of 50 steps,
- solved puzzles: of those solved within the steps of training, the fraction still right after k further steps,
- puzzles with 1 to 5 empty cells: the fraction solved within the steps of training.
The second form prints the tables and draws the picture. Minutes are CPU time of one core.
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

import numpy as np

HINTS = {"without": 0.0, "with": 0.2}
DATA: dict[int, dict[str, Any]] = {
    4: {"clues": "4-6", "num_train": 20_000},
    6: {"clues": "10-24", "num_train": 20_000},
    9: {"clues": "34-60", "num_train": 20_000},
}
EMPTY = (1, 2, 3, 4, 5)
FURTHER = 50
PUZZLES = 250


def few_empty(solved: np.ndarray, empty: int, blank: int, seed: int) -> np.ndarray:
    """Solved grids `[n, S]` with `empty` random cells blank."""
    order = np.argsort(np.random.default_rng([seed, empty]).random(solved.shape), axis=1)
    puzzles = solved.copy()
    np.put_along_axis(puzzles, order[:, :empty], blank, axis=1)
    return puzzles


def stability(model: Any, inputs: np.ndarray, solved: np.ndarray, blank: int) -> dict[str, Any]:
    """The three figures of a model, for puzzles `inputs` and their answers `solved`, `[n, S]` each."""
    from timed_training import right_after_each_step

    usual = model.arch.halt_max_steps
    going_on = right_after_each_step(model, inputs, solved, usual + FURTHER)
    done = going_on[:, usual - 1]
    kept = going_on[done][:, usual - 1 :].mean(axis=0) if done.any() else np.zeros(FURTHER + 1)
    nearly = {
        empty: right_after_each_step(model, few_empty(solved, empty, blank, 0), solved, usual)[:, -1].mean()
        for empty in EMPTY
    }
    return {
        "solved": float(done.mean()),
        "still_right": [float(share) for share in kept],
        "solved_grid": [float(x) for x in right_after_each_step(model, solved, solved, FURTHER).mean(axis=0)],
        "few_empty": {str(empty): float(share) for empty, share in nearly.items()},
    }


def run_one(
    size: int, method: str, kind: str, seed: int, minutes: float, data: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """One training run with or without hints, and its figures."""
    import torch
    from methods import ARCHITECTURES
    from timed_training import accuracy, preset_of, train_for, with_averaged_weights

    from hrm_cli.data.format import Dataset
    from hrm_cli.puzzles.sudoku.domain import BLANK

    torch.set_num_threads(1)
    train, test = (Dataset.open(data, split) for split in ("train", "test"))
    preset = preset_of({**ARCHITECTURES[method], **settings}, seed)
    steps = preset.arch.halt_max_steps
    state, curve = train_for(preset, train, 60 * minutes, 4, lambda m: accuracy(m, test, steps, PUZZLES))
    model = with_averaged_weights(state)
    inputs, labels = test.gather(np.arange(PUZZLES))
    return {
        "size": size, "method": method, "kind": kind, "seed": seed, "steps": state.step, "curve": curve,
        **stability(model, inputs.astype(np.uint8), labels.astype(np.uint8), BLANK),
    }  # fmt: skip


def run_all(given: argparse.Namespace) -> dict[str, Any]:
    """Runs every combination in its own process, `jobs` at a time."""
    from reporting import machine
    from timed_training import dataset_of

    from hrm_cli.config.data import DataConfig

    combinations = [(m, k, s) for m in given.methods for k in HINTS for s in given.seeds]
    with tempfile.TemporaryDirectory() as folder:
        for kind, hints in HINTS.items():
            config = DataConfig(
                size=given.size, num_test=PUZZLES, augment="online", hints=hints, seed=7, **DATA[given.size]
            )
            dataset_of(config, Path(folder) / kind)

        def start(combination: tuple[str, str, int]) -> dict[str, Any]:
            method, kind, seed = combination
            out = Path(folder) / f"{method}-{kind}-{seed}.json"
            command = [
                sys.executable, __file__, "--one", method, kind, str(seed), "--minutes", str(given.minutes),
                "--size", str(given.size), "--output", str(out), "--data", str(Path(folder) / kind),
                "--settings", given.settings,
            ]  # fmt: skip
            subprocess.run(command, check=True)
            result: dict[str, Any] = json.loads(out.read_text())
            print(
                f"{method} {kind} hints, seed {seed}: {result['solved']:.1%} solved, "
                f"{result['still_right'][-1]:.1%} of them still after {FURTHER} steps, "
                f"solved grids {result['solved_grid'][-1]:.1%}, one empty cell {result['few_empty']['1']:.1%}",
                flush=True,
            )
            return result

        with ThreadPoolExecutor(given.jobs) as pool:
            runs = list(pool.map(start, combinations))
    return {"size": given.size, "minutes": given.minutes, "machine": machine(), "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, choices=list(DATA), default=6)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["HRM", "RSM"])
    parser.add_argument("--settings", default="{}", help="JSON of further settings for all models")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, one thread each")
    parser.add_argument("--output", type=Path, default=Path("fixed_point.json"))
    parser.add_argument("--show", type=Path, help="print the tables of a finished run")
    parser.add_argument("--svg", type=Path, help="with --show: draw the picture too")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "KIND", "SEED"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.show:
        from fixed_point_shown import picture, tables

        document = json.loads(given.show.read_text())
        print(tables(document))
        if given.svg:
            given.svg.write_text(picture(document), encoding="utf-8")
        return
    if given.one:
        method, kind, seed = given.one
        settings = json.loads(given.settings)
        document = run_one(given.size, method, kind, int(seed), given.minutes, given.data, settings)
    else:
        document = run_all(given)
    given.output.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
