"""A run read from its folder: configuration, state, and the curves of metrics.jsonl.

Lines that are no records (a killed run may leave half a line) are counted and passed over. Of several lines for the
same step, as a run resumed from an earlier checkpoint may leave them, the last one holds. Nothing here needs torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hrm_cli.errors import ConfigError
from hrm_cli.training.run_status import read_status

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"

Record = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """A figure over the steps of a run; all values are finite."""

    steps: list[int]
    values: list[float]


@dataclass
class RunRecords:
    """What a run's folder says."""

    folder: Path
    state: str
    reason: str
    total_steps: int | None
    """Planned; None for runs that do not say."""
    config: Mapping[str, Any]
    training: list[Record] = field(default_factory=list)
    evaluations: list[Record] = field(default_factory=list)
    junk: int = 0
    """Lines of metrics.jsonl that are no records."""

    @property
    def step(self) -> int:
        """The last step that anything is known of."""
        return max((one["step"] for one in (*self.training[-1:], *self.evaluations[-1:])), default=0)

    @property
    def best(self) -> Record | None:
        """The evaluation with the highest exact accuracy, the more right cells deciding between equals."""
        known = [one for one in self.evaluations if is_number(one.get("exact_accuracy"))]
        return max(
            known,
            key=lambda one: (one["exact_accuracy"], float(one.get("cell_accuracy") or 0.0)),
            default=None,
        )

    @property
    def seconds(self) -> float | None:
        """Training time at the last logged line."""
        return next(
            (one["seconds"] for one in reversed(self.training) if is_number(one.get("seconds"))), None
        )

    def curve(self, kind: str, figure: str) -> Curve:
        """A figure of the `train` or the `eval` lines."""
        records = self.training if kind == "train" else self.evaluations
        points = [(one["step"], float(one[figure])) for one in records if is_number(one.get(figure))]
        return Curve([step for step, _ in points], [value for _, value in points])

    def document(self) -> dict[str, Any]:
        """The record of `hrm runs --json`."""
        best = self.best
        last = self.training[-1] if self.training else {}
        return {
            "run": str(self.folder),
            "state": self.state,
            "reason": self.reason,
            "step": self.step,
            "total_steps": self.total_steps,
            "seconds": self.seconds,
            "loss": last.get("loss"),
            "best": best
            and {name: best.get(name) for name in ("step", "exact_accuracy", "cell_accuracy", "mean_steps")},
            "purpose": str(self.config.get("purpose") or ""),
        }


def read_run(folder: Path) -> RunRecords:
    """The run in `folder`. Raises ConfigError where there is none."""
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"{folder}: not a run folder ({CONFIG_FILE} is missing); `hrm runs` lists those in runs/"
        )
    try:
        config = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        config = None
    state, reason, total = read_status(folder)
    run = RunRecords(folder, state, reason, total, config if isinstance(config, dict) else {})
    by_kind: dict[str, dict[int, Record]] = {"train": {}, "eval": {}}
    for record in _records(folder / METRICS_FILE):
        if record is None:
            run.junk += 1
        elif record["kind"] in by_kind:
            by_kind[record["kind"]][record["step"]] = record
    run.training, run.evaluations = (
        [of_kind[step] for step in sorted(of_kind)] for of_kind in (by_kind["train"], by_kind["eval"])
    )
    return run


def find_runs(parent: Path) -> list[RunRecords]:
    """The runs in a folder and in its folders, the newest last. Raises ConfigError where there is no such folder."""
    if not parent.is_dir():
        raise ConfigError(f"{parent}: no such folder; name the one that your runs lie in")
    files = [parent / CONFIG_FILE, *parent.glob(f"*/{CONFIG_FILE}"), *parent.glob(f"*/*/{CONFIG_FILE}")]
    folders = [file.parent for file in files if file.is_file()]
    return sorted((read_run(folder) for folder in folders), key=_time)


def is_number(value: object) -> bool:
    """Whether a figure can be drawn: a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _time(run: RunRecords) -> float:
    file = run.folder / METRICS_FILE
    return (file if file.is_file() else run.folder / CONFIG_FILE).stat().st_mtime


def _records(path: Path) -> Iterator[Record | None]:
    try:
        lines = path.open("rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                yield None
                continue
            whole = (
                isinstance(record, dict)
                and isinstance(record.get("step"), int)
                and isinstance(record.get("kind"), str)
            )
            yield record if whole else None
