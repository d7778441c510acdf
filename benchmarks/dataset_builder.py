"""Examples per second and peak memory of the dataset builder, compared with building one example at a time.

    python benchmarks/dataset_builder.py [--save benchmarks/results/dataset_builder.txt]

Every figure comes from a separate process. Both builders read the same CSV file of 1000 generated puzzles and write the
same layout. The plain builder is a straightforward implementation: a loop over examples that collects lists of arrays
and saves them at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reporting import keep, machine_line

from hrm_cli.config.data import DataConfig
from hrm_cli.data.augmentation import with_copies
from hrm_cli.data.build import build_dataset
from hrm_cli.files import peak_memory_mb
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain
from hrm_cli.puzzles.sudoku.generator import generate

PUZZLES = 1000
COPIES = 1000
REPEATS = 3


def build(source: Path, copies: int, folder: Path) -> dict[str, Any]:
    """Builds with hrm."""
    summary = build_dataset(DataConfig(source=str(source), num_test=0, num_aug=copies), folder)
    return {
        "examples": summary.train.examples,
        "seconds": summary.seconds,
        "writing_seconds": summary.writing_seconds,
        "megabytes": summary.bytes / 1e6,
    }


def build_plainly(source: Path, copies: int, folder: Path) -> dict[str, Any]:
    """Builds one example at a time, with all examples in memory."""
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    inputs, labels, puzzle_indices, group_indices = [], [], [0], [0]
    with source.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        puzzle, answer = (
            np.array([int(c) for c in row[name].replace(".", "0")]).reshape(9, 9)
            for name in ("question", "answer")
        )
        for copy in range(copies + 1):
            grids = (puzzle, answer) if copy == 0 else shuffled(puzzle, answer, rng)
            inputs.append(grids[0])
            labels.append(grids[1])
            puzzle_indices.append(len(inputs))
        group_indices.append(len(puzzle_indices) - 1)
    folder.mkdir()
    for name, grids in (("inputs", inputs), ("labels", labels)):
        np.save(folder / f"all__{name}.npy", np.stack(grids).reshape(-1, 81) + 1)
    np.save(folder / "all__puzzle_indices.npy", np.array(puzzle_indices, np.int32))
    np.save(folder / "all__group_indices.npy", np.array(group_indices, np.int32))
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"examples": len(inputs), "seconds": seconds, "megabytes": size / 1e6}


def shuffled(
    puzzle: np.ndarray, answer: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One random augmented copy of a 9×9 puzzle and its answer."""
    digits = np.concatenate([[0], rng.permutation(np.arange(1, 10))])
    rows, columns = (
        np.concatenate([3 * band + rng.permutation(3) for band in rng.permutation(3)]) for _ in range(2)
    )
    transposed = rng.random() < 0.5

    def image(grid: np.ndarray) -> np.ndarray:
        turned = grid.T if transposed else grid
        return digits[turned[np.ix_(rows, columns)]]

    return image(puzzle), image(answer)


BUILDERS = {"builder": build, "plain": build_plainly}


def measured(builder: str, source: Path, copies: int) -> dict[str, Any]:
    """One build in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--worker", builder, str(source), str(copies), f"{folder}/dataset"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def write_csv(file: Path, count: int) -> None:
    """Writes `count` different puzzles of 30 clues: up to 1000 generated puzzles, then augmented copies of them."""
    domain, rng = SudokuDomain(9), np.random.default_rng(0)
    parts = list(generate(9, min(count, PUZZLES), rng, clues=30))
    inputs, labels = (np.concatenate(side) + np.uint8(BLANK) for side in zip(*parts, strict=True))
    copies = -(-count // PUZZLES) - 1
    with file.open("w") as stream:
        stream.write("source,question,answer,rating\n")
        for block in with_copies(domain, inputs, labels, copies, held_out=np.empty(0, np.uint64), rng=rng):
            for grids in zip(block.inputs, block.labels, strict=True):
                question, answer = ("".join(map(str, grid - BLANK)) for grid in grids)
                stream.write(f"benchmark,{question},{answer},0\n")


def report(folder: Path) -> list[str]:
    """All figures as lines of text."""
    source = folder / "puzzles.csv"
    write_csv(source, PUZZLES)
    measured("builder", source, 0)  # compiles the solver, once per machine
    lines = [
        f"Machine: {machine_line()}",
        "",
        f"{PUZZLES} puzzles × {COPIES} copies, 9×9, from a CSV file:",
        "",
    ]
    lines.append(f"{'':>16}{'examples/s':>12}{'seconds':>10}{'peak MB':>10}{'MB on disk':>12}")
    runs = [measured("builder", source, COPIES) for _ in range(REPEATS)]
    ours = min(runs, key=lambda run: run["seconds"])
    plain = measured("plain", source, COPIES)
    for name, run in (("hrm, best of 3", ours), ("one at a time", plain)):
        rate = run["examples"] / run["seconds"]
        lines.append(
            f"{name:>16}{rate:>12,.0f}{run['seconds']:>10.2f}{run['peak']:>10,.0f}{run['megabytes']:>12,.0f}"
        )
    ratio = plain["seconds"] / ours["seconds"]
    spread = ", ".join(f"{run['examples'] / run['seconds']:,.0f}" for run in runs)
    lines += ["", f"Ratio {ratio:.1f}; the runs of hrm: {spread} examples/s (reading and checking included);"]
    lines.append(
        f"augmenting and writing alone: {ours['examples'] / ours['writing_seconds']:,.0f} examples/s."
    )
    lines += ["", "Copies grow (1000 puzzles):", ""]
    lines += table([0, 9, 99, 999], lambda copies: (source, copies))
    lines += ["", "Puzzles grow (no copies; dominated by reading and checking):", ""]
    files = {count: folder / f"{count}.csv" for count in (1_000, 10_000, 100_000, 1_000_000)}
    for count, file in files.items():
        write_csv(file, count)
    lines += table(list(files), lambda count: (files[count], 0))
    return lines


def table(values: list[int], job: Callable[[int], tuple[Path, int]]) -> list[str]:
    """One line per size: total and per-example cost."""
    lines = [f"{'examples':>12}{'seconds':>10}{'µs each':>10}{'peak MB':>10}"]
    for value in values:
        run = measured("builder", *job(value))
        each = run["seconds"] / run["examples"] * 1e6
        lines.append(f"{run['examples']:>12,}{run['seconds']:>10.2f}{each:>10.2f}{run['peak']:>10,.0f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", type=Path, help="also write the text to this file")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        builder, source, copies, folder = options.worker
        figures = BUILDERS[builder](Path(source), int(copies), Path(folder))
        print(json.dumps({**figures, "peak": peak_memory_mb()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(report(Path(folder))) + "\n"
    print(text, end="")
    keep(text, options.save)


if __name__ == "__main__":
    main()
