"""Reads a run from its folder: configuration, state, and the curves in metrics.jsonl.

Lines that are not records are counted and skipped; a killed run may leave an incomplete line. If there are several
records for one step, for example after a resume from an earlier checkpoint, the last is used. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from hrm_cli.errors import ConfigError
from hrm_cli.json_text import parse_json
from hrm_cli.regular_files import UnusableFile, open_regular
from hrm_cli.runs.folder import STATUS_FILE, UNKNOWN, read_status
from hrm_cli.yaml_text import load_yaml

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"

Record = dict[str, Any]

_BEST = ("step", "exact_accuracy", "cell_accuracy", "mean_steps")
_MAX_VALUE = 1e100
_MAX_SECONDS = 1e11
_MAX_STEPS = 1 << 62
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Curve:
    """A metric over the steps of a run. All values are finite."""

    steps: list[int]
    values: list[float]


@dataclass
class RunRecords:
    """The content of a run's folder."""

    folder: Path
    state: str
    reason: str
    total_steps: int | None
    """Planned number of steps; None if not recorded."""
    config: Mapping[str, Any]
    training: list[Record] = field(default_factory=list)
    evaluations: list[Record] = field(default_factory=list)
    junk: int = 0
    """Number of lines in metrics.jsonl that are not records."""
    problems: list[str] = field(default_factory=list)
    """Problems while reading, each with the file's name."""

    @property
    def step(self) -> int:
        """The last step with any record."""
        return max((one["step"] for one in (*self.training[-1:], *self.evaluations[-1:])), default=0)

    @property
    def best(self) -> Record | None:
        """The evaluation with the highest exact accuracy. Ties are broken by cell accuracy."""
        known = [one for one in self.evaluations if is_number(one.get("exact_accuracy"))]
        return max(
            known,
            key=lambda one: (one["exact_accuracy"], _number_or_zero(one.get("cell_accuracy"))),
            default=None,
        )

    @property
    def seconds(self) -> float | None:
        """Training time at the last record, in seconds."""
        known = (one.get("seconds") for one in reversed(self.training))
        return next((value for value in known if is_number(value) and 0 <= value < _MAX_SECONDS), None)

    def curve(self, kind: str, figure: str) -> Curve:
        """The curve of a metric in the `train` or the `eval` records."""
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
            "loss": _number_or_none(last.get("loss")),
            "best": best and {name: _number_or_none(best.get(name)) for name in _BEST},
            "purpose": purpose if isinstance(purpose := self.config.get("purpose"), str) else "",
            "problems": self.problems,
        }


def read_run(folder: Path) -> RunRecords:
    """Reads the run in `folder`. Raises ConfigError if there is none."""
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"{folder}: not a run folder ({CONFIG_FILE} is missing); `hrm runs` lists the runs in runs/"
        )
    problems = []
    config: Any = {}
    try:
        config = load_yaml(folder / CONFIG_FILE)
        if not isinstance(config, dict):
            raise UnusableFile("expected a mapping of sections")
    except (OSError, ValueError) as error:
        problems.append(_problem(CONFIG_FILE, error))
        config = {}
    try:
        state, reason, total = read_status(folder)
    except (OSError, ValueError) as error:
        problems.append(_problem(STATUS_FILE, error))
        state, reason, total = UNKNOWN, "", None
    run = RunRecords(folder, state, reason, total, config, problems=problems)
    by_kind: dict[str, dict[int, Record]] = {"train": {}, "eval": {}}
    try:
        for record in _records(folder / METRICS_FILE):
            if record is None:
                run.junk += 1
            elif record["kind"] in by_kind:
                by_kind[record["kind"]][record["step"]] = record
    except (OSError, ValueError) as error:
        problems.append(_problem(METRICS_FILE, error))
    if run.junk:
        problems.append(
            f"{METRICS_FILE}: {run.junk} line{'s are not records' if run.junk > 1 else ' is not a record'}"
        )
    run.training, run.evaluations = (
        [of_kind[step] for step in sorted(of_kind)] for of_kind in (by_kind["train"], by_kind["eval"])
    )
    return run


def find_runs(parent: Path) -> list[RunRecords]:
    """The runs in a folder and its subfolders, newest last. A damaged run lists its `problems`.

    Raises ConfigError if there is no such folder.
    """
    if not parent.is_dir():
        created = "; `hrm train` creates it with its first run" if parent == Path("runs") else ""
        raise ConfigError(f"{parent}: no such folder; expected the folder that contains your runs{created}")
    files = [parent / CONFIG_FILE, *parent.glob(f"*/{CONFIG_FILE}"), *parent.glob(f"*/*/{CONFIG_FILE}")]
    folders = [file.parent for file in files if file.is_file()]
    return sorted((read_run(folder) for folder in folders), key=_time)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value can be plotted: it is a number, and small enough that differences are finite."""
    return type(value) in (int, float) and abs(value) < _MAX_VALUE  # type: ignore[arg-type]


def _number_or_zero(value: object) -> float:
    return float(value) if is_number(value) else 0.0


def _number_or_none(value: object) -> int | float | None:
    return value if is_number(value) else None


def _problem(file: str, error: Exception) -> str:
    return f"{file}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"


def _time(run: RunRecords) -> float:
    try:
        file = run.folder / METRICS_FILE
        return (file if file.is_file() else run.folder / CONFIG_FILE).stat().st_mtime
    except OSError:  # the run was removed meanwhile
        return 0.0


def _records(path: Path) -> Iterator[Record | None]:
    try:
        lines = open_regular(path)
    except FileNotFoundError:
        return
    with lines:
        while line := lines.readline(_LONGEST_LINE):
            try:
                record = parse_json(line, nan_as_null=True)
            except ValueError:
                yield None
                continue
            whole = (
                isinstance(record, dict)
                and type(record.get("step")) is int
                and 0 <= record["step"] < _MAX_STEPS
                and isinstance(record.get("kind"), str)
            )
            yield record if whole else None
