"""The datasets of the named recipes, built on all cores by a separate process while the stage `check` runs.

    python -m gpu_stages.datasets FOLDER NAME… [--part 0.01]

A dataset that exists in FOLDER is not built again. One line of JSON is printed for each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_stages.processes import REPOSITORY, Deadline, Process
from gpu_stages.results import Results, error_lines

CARRIED = Path(os.environ.get("HRM_GPU_DATA") or REPOSITORY / ".gpu")
"""Files that were brought along (benchmarks/gpu_wheels.sh)."""

_COUNTS = (
    "num_train", "num_test", "num_validation", "subsample_size", "test_subsample_size", "variations", "num_aug",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A dataset: the settings `data` of a preset, with changes."""

    preset: str
    overrides: tuple[str, ...] = ()


def _sudoku(size: int, train: int, *more: str) -> Data:
    return Data("sudoku-units", (
        f"data.size={size}", f"data.num_train={train}", "data.also=[]", "data.num_test=200",
        "data.num_validation=50", *more,
    ))  # fmt: skip


def _mazes(size: int, train: int, shortest: int = 1) -> Data:
    also = [
        {"name": style, "style": style, "num_train": train, "num_test": 100, "num_validation": 50}
        for style in ("braided", "walls")
    ]
    return Data("neighbors-maze", (
        f"data.size={size}", f"data.num_train={train}", f"data.min_path={shortest}", "data.num_validation=50",
        f"data.also={json.dumps(also)}",
    ))  # fmt: skip


DATASETS: dict[str, Data] = {
    "sudoku-9": Data("sudoku-units"),
    "sudoku-4": _sudoku(4, 5_000, "data.clues=4-10"),
    "sudoku-6": _sudoku(6, 30_000),
    "sudoku-8": _sudoku(8, 30_000),
    "sudoku-12": _sudoku(12, 20_000, "data.clues=70-100"),
    "sudoku-16": _sudoku(16, 20_000, "data.clues=160-200"),
    "mazes-6": _mazes(6, 20_000),
    "mazes-10": _mazes(10, 50_000, 4),
    "mazes-16": _mazes(16, 50_000, 12),
    "mazes-30": _mazes(30, 40_000, 40),
    "maze-30x30": Data("maze-30x30"),
    "sudoku-extreme": Data("sudoku-extreme", (
        f"data.source={CARRIED}/sudoku", "data.augment=online", "data.num_validation=100",
        "data.test_subsample_size=1000",
    )),
    "arc-1": Data("arc-1", (
        f"data.source={CARRIED}/arc/arc-agi", "data.subsets=training,evaluation,concept",
        "data.test_subset=evaluation", "data.augment=online",
    )),
}  # fmt: skip


def config_of(name: str, part: float = 1.0) -> Any:
    """The settings of a dataset, with `part` of its puzzles."""
    from hrm_cli.config.data import DataConfig
    from hrm_cli.config.presets import load_preset

    data = DATASETS[name]
    found = load_preset(data.preset, list(data.overrides)).data
    if part == 1.0:
        return found
    document = found.model_dump()
    return DataConfig.model_validate(
        {**_fewer(document, part), "also": [_fewer(a, part) for a in document["also"]]}
    )


def _fewer(settings: dict[str, Any], part: float) -> dict[str, Any]:
    return {
        name: max(1, round(value * part)) if name in _COUNTS and value else value
        for name, value in settings.items()
    }


def build(folder: Path, names: list[str], part: float) -> None:
    """Builds the datasets that do not exist yet."""
    from hrm_cli.data.build import build_dataset
    from hrm_cli.data.metadata import is_dataset

    for name in names:
        if is_dataset(folder / name):
            continue
        started = time.perf_counter()
        try:
            built = build_dataset(config_of(name, part), folder / name)
            told = {"examples": built.train.examples}
        except Exception as error:
            told = {"error": error_lines(error)}
        print(
            json.dumps({"dataset": name, "seconds": round(time.perf_counter() - started, 1), **told}),
            flush=True,
        )


class Builder:
    """The process that builds datasets."""

    def __init__(self, results: Results, folder: Path, names: list[str], part: float) -> None:
        self._results, self._log = results, results.logs / "datasets.log"
        arguments = ["-m", "gpu_stages.datasets", str(folder), *names, "--part", str(part)]
        self._process: Process | None = Process(arguments, self._log, {"HRM_GPU_DATA": str(CARRIED)})

    def wait(self, seconds: float) -> bool:
        """Waits for the process and reports what it built. Returns whether it has ended."""
        if self._process is None:
            return True
        try:
            for line in self._process.lines(Deadline(seconds)):
                self._report(line)
        except TimeoutError:
            return False
        self.end()
        return True

    def end(self) -> None:
        """Ends the process if it still runs."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _report(self, line: str) -> None:
        if not line.startswith("{"):
            return
        told = json.loads(line)
        name, failed = told.pop("dataset"), "error" in told
        self._results.add("datasets", name, "failed" if failed else "ok", **told)
        said = told["error"][-1] if failed else f"{told['examples']:,} training examples"
        self._results.say(f"dataset {name}: {said} ({told['seconds']} s)")


def main() -> None:
    """Builds the named datasets."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("names", nargs="+", choices=DATASETS)
    options.add_argument("--part", type=float, default=1.0)
    given = options.parse_args()
    build(given.folder, given.names, given.part)


if __name__ == "__main__":
    main()
