"""Training examples that one core prepares per second, compared with a loader that takes them one at a time.

Batches are made as in training: in random order from the arrays on disk, augmented if requested, as int32 tensors. The
comparison is torch's DataLoader with a dataset of single examples and no worker processes. Seconds are CPU time of this
program, summed over all threads.

    python benchmarks/input_pipeline.py [--seconds 2] [--runs 5] [--only generators] [--save FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import Work, keep, machine_line, rate
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from hrm_cli.config.data import DataConfig
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.puzzles.maze import generator as maze
from hrm_cli.puzzles.sudoku import generator as sudoku
from hrm_cli.training.prefetch import Prefetcher

DATASETS: dict[str, dict[str, Any]] = {
    "9×9 Sudoku, stored": {"num_train": 20_000},
    "9×9 Sudoku, online symmetries": {"num_train": 20_000, "augment": "online"},
    "9×9 Sudoku, online symmetries, hints 0.2": {"num_train": 20_000, "augment": "online", "hints": 0.2},
    "30×30 mazes, stored": {"domain": "maze", "num_train": 3_000, "min_path": 110},
    "30×30 mazes, online symmetries": {
        "domain": "maze",
        "num_train": 3_000,
        "min_path": 110,
        "augment": "online",
    },
}
GENERATED = {
    "minimal": "minimal 9×9 Sudoku",
    "30-50 clues": "9×9 Sudoku of 30 to 50 clues",
    "maze": "30×30 perfect mazes, path ≥ 110",
}


class OneAtATime(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    """A straightforward implementation: reads, augments and converts each example separately."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._domain = make_domain(**(dataset.metadata.domain or {}))
        self._rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return self._dataset.num_examples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        part = self._dataset.sets[0]
        inputs, labels = np.array(part.inputs[index]), np.array(part.labels[index])
        if self._dataset.metadata.augment == "online":
            symmetry = self._domain.sample_symmetries(self._rng, 1)
            inputs, labels = symmetry.apply(inputs)[0], symmetry.apply(labels)[0]
        return torch.from_numpy(inputs.astype(np.int32)), torch.from_numpy(labels.astype(np.int32))


def batches(dataset: Dataset, size: int) -> Work:
    """Makes one batch per call."""
    stream = TrainingBatches(dataset, size)
    return lambda: len(next(stream).inputs)


def prefetched(dataset: Dataset, size: int) -> tuple[Work, Prefetcher]:
    """Takes one batch per call from the prefetching thread, as in training."""
    ready = Prefetcher(TrainingBatches(dataset, size), torch.device("cpu"))
    return lambda: len(next(ready).inputs), ready


def loader(dataset: Dataset, size: int) -> Work:
    """Takes one batch per call from torch's DataLoader."""

    def endless() -> Any:
        for _ in count():
            yield from DataLoader(OneAtATime(dataset), size, shuffle=True, drop_last=True)

    stream = endless()
    return lambda: len(next(stream)[0])


def generating(domain: str, threads: int) -> Work:
    """Generates a few thousand puzzles per call, different ones each time."""
    rng = np.random.default_rng(0)
    if domain != "maze":
        clues = None if domain == "minimal" else (30, 50)
        return lambda: sum(len(p) for p, _ in sudoku.generate(9, 2048, rng, clues, threads=threads))
    return lambda: sum(len(p) for p, _ in maze.generate(30, 4096, rng, min_path=110, threads=threads))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--seconds", type=float, default=1, help="length of one run")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--batches", type=int, nargs="+", default=[768, 4096])
    options.add_argument("--only", choices=["batches", "generators"], help="measure one half")
    options.add_argument("--save", type=Path, help="also write what is printed to this file")
    given = options.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []

    def say(line: str = "") -> None:
        print(line, flush=True)
        lines.append(line)

    def measure(name: str, work: Work, beside: float | None = None) -> float:
        middle, least, greatest = rate(work, given.runs, given.seconds)
        ratio = "" if beside is None else f"   ours ÷ one at a time: {beside / middle:,.0f}"
        say(f"{name:<52}{middle:>12,.0f} /s   ({least:,.0f} - {greatest:,.0f}){ratio}")
        return middle

    say(f"Input pipeline, one core of: {machine_line()}")
    say(f"Median (least - greatest) of {given.runs} runs of {given.seconds:g} s of CPU time, warm.")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, config) in enumerate(DATASETS.items() if given.only != "generators" else ()):
            path = Path(folder) / str(number)
            build_dataset(DataConfig.model_validate({"num_test": 100, **config}), path)
            dataset = Dataset.open(path)
            say(f"\n{name}")
            for size in given.batches:
                ours = measure(f"  batches of {size:,}", batches(dataset, size))
                work, ready = prefetched(dataset, size)
                with ready:
                    measure("    with the thread that draws them ahead", work)
            measure("    one at a time", loader(dataset, given.batches[0]), ours)
    if given.only != "batches":
        say("\nPuzzles generated, per second of CPU time")
    for domain, name in GENERATED.items() if given.only != "batches" else ():
        one = measure(f"  {name}, 1 thread", generating(domain, 1))
        for threads in (2, 16):
            shared = measure(f"  {name}, {threads} threads", generating(domain, threads))
            say(f"    CPU time of {threads} threads ÷ of 1, for the same work: {one / shared:.2f}")
    keep("\n".join(lines), given.save)


if __name__ == "__main__":
    main()
