"""Time and peak memory for building ARC datasets with 1000 augmented copies per task, compared with a simple builder.

    python benchmarks/arc_builder.py KAGGLE_PREFIX [--save benchmarks/results/arc_builder.txt]

KAGGLE_PREFIX is the beginning of the file names of the public tasks (training, evaluation, concept, training2,
evaluation2). Every figure comes from a separate process. The plain builder is a straightforward implementation: it
makes copies and fields with numpy, one at a time, with everything in memory. A round makes one copy of every task.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import keep, machine_line

from hrm_cli.config.data import DataConfig
from hrm_cli.data.arc.sources import load_tasks
from hrm_cli.data.build import build_dataset
from hrm_cli.files import peak_memory_mb
from hrm_cli.puzzles.arc.symmetry import ArcSymmetry

IMAGES = 1000
PLAIN_ROUNDS = 5
SETS = {
    "ARC-AGI-1 with ConceptARC": "training,evaluation,concept",
    "ARC-AGI-2 with ConceptARC": "training2,evaluation2,concept",
}
PIECE = 1 << 24


def build(prefix: str, subsets: str, images: int, augment: str, folder: Path) -> dict[str, Any]:
    """Builds with hrm."""
    config = DataConfig(domain="arc", source=prefix, subsets=subsets, num_aug=images, augment=augment)
    return build_dataset(config, folder).to_json()


def build_plainly(prefix: str, subsets: str, rounds: int, folder: Path) -> dict[str, Any]:
    """Builds one example at a time, with all examples in memory."""
    tasks = load_tasks(DataConfig(domain="arc", source=prefix, subsets=subsets))
    rng = np.random.default_rng(0)
    grids: dict[str, list[np.ndarray]] = {"inputs": [], "labels": []}
    started = time.perf_counter()
    for task in [*tasks.train, *tasks.test]:
        seen = set()
        for _ in range(rounds):
            symmetry = ArcSymmetry(int(rng.integers(8)), (0, *(1 + rng.permutation(9)).tolist()))
            pairs = [
                (symmetry.apply(pair.input), symmetry.apply(pair.output))
                for pair in task.train + task.test
                if pair.output is not None
            ]
            key = hash(tuple((a.shape, a.tobytes(), b.shape, b.tobytes()) for a, b in pairs))
            if key in seen:
                continue
            seen.add(key)
            for pair in pairs:
                free = 30 - np.max([grid.shape for grid in pair], axis=0)
                top, left = rng.integers(0, free + 1)
                for name, grid in zip(grids, pair, strict=True):
                    rows, columns = grid.shape
                    field = np.zeros((30, 30), np.uint8)
                    field[top : top + rows, left : left + columns] = grid + 2
                    if top + rows < 30:
                        field[top + rows, left : left + columns] = 1
                    if left + columns < 30:
                        field[top : top + rows, left + columns] = 1
                    grids[name].append(field.reshape(-1))
    folder.mkdir()
    for name, fields in grids.items():
        np.save(folder / f"{name}.npy", np.stack(fields))
    return {"seconds": time.perf_counter() - started}


def write_only(size: int, folder: Path) -> float:
    """Seconds to write `size` bytes to the same disk."""
    folder.mkdir()
    block = np.random.default_rng(0).integers(0, 12, PIECE, dtype=np.uint8).data
    started = time.perf_counter()
    with (folder / "bytes").open("wb") as stream:
        for _ in range(size // PIECE):
            stream.write(block)
    return time.perf_counter() - started


def measured(*arguments: object) -> dict[str, Any]:
    """Runs one job in a fresh process, deletes its files, and returns its figures."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--worker", *map(str, arguments), f"{folder}/dataset"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    # Flush the disk writes of this job, so that they do not slow down the next one.
    os.sync()
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def report(prefix: str, repeats: int) -> list[str]:
    """All figures as lines of text."""
    measured("build", prefix, "evaluation", 1, "stored")  # compiles the kernels, once per machine
    lines = [f"Machine: {machine_line()}", ""]
    head = f"{'':<28}{'tasks':>7}{'puzzles':>11}{'examples':>11}{'test':>9}{'identifiers':>13}"
    lines.append(f"{head}{'GB':>7}{'seconds':>9}{'peak MB':>9}{'writing alone':>15}")
    for name, subsets in SETS.items():
        for augment in ("stored", "online"):
            runs = [measured("build", prefix, subsets, IMAGES, augment) for _ in range(repeats)]
            run = min(runs, key=lambda run: run["seconds"])
            alone = measured("write", run["bytes"])["seconds"]
            spread = ", ".join(f"{one['seconds']:.1f}" for one in runs)
            lines.append(
                f"{name if augment == 'stored' else '  online':<28}{run['train']['groups']:>7,}"
                f"{run['train']['puzzles']:>11,}{run['train']['examples']:>11,}{run['test']['examples']:>9,}"
                f"{run['num_puzzle_identifiers']:>13,}{run['bytes'] / 1e9:>7.2f}{run['seconds']:>9.1f}"
                f"{run['peak']:>9,.0f}{alone:>13.1f} s   runs: {spread}"
            )
            notes = [f"    {note}" for note in run["notes"]] if augment == "stored" else []
            lines += [note.split(" (")[0] for note in notes]
    subsets = SETS["ARC-AGI-1 with ConceptARC"]
    plain = measured("plain", prefix, subsets, PLAIN_ROUNDS)
    ours = [measured("build", prefix, subsets, rounds, "stored")["seconds"] for rounds in (0, 200)]
    each, plain_each = (ours[1] - ours[0]) / 200, plain["seconds"] / PLAIN_ROUNDS
    lines += [
        "",
        f"One image of each of the 960 tasks: {each * 1e3:.1f} ms; one example at a time in plain numpy: "
        f"{plain_each * 1e3:.0f} ms (ratio {plain_each / each:.0f}).",
    ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prefix", nargs="?", help="KAGGLE_PREFIX of the public tasks")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each build; the fastest counts")
    parser.add_argument("--save", type=Path, help="also write the text to this file")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        what, *words, folder = options.worker
        if what == "write":
            figures: dict[str, Any] = {"seconds": write_only(int(words[0]), Path(folder))}
        elif what == "plain":
            figures = build_plainly(words[0], words[1], int(words[2]), Path(folder))
        else:
            figures = build(words[0], words[1], int(words[2]), words[3], Path(folder))
        print(json.dumps({**figures, "peak": peak_memory_mb()}))
        return
    if options.prefix is None:
        parser.error("KAGGLE_PREFIX is missing")
    text = "\n".join(report(options.prefix, options.repeats)) + "\n"
    print(text, end="")
    keep(text, options.save)


if __name__ == "__main__":
    main()
