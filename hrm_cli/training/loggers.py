"""Where a run's figures go: metrics.jsonl always, and whoever else listens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from hrm_cli.training.state import Plan


class Listener(Protocol):
    """Told of a run as it goes: the CLI's progress bar, the metrics file, other loggers."""

    def begin(self, plan: Plan, step: int) -> None:
        """The run starts, or goes on, at `step`."""

    def stepped(self, step: int) -> None:
        """A step was taken."""

    def logged(self, record: dict[str, Any]) -> None:
        """A line of figures: `kind` says whether of training (`train`) or of an evaluation (`eval`)."""

    def end(self) -> None:
        """The run is over, however it ended."""


class MetricsFile:
    """metrics.jsonl: one JSON object a line, flushed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, plan: Plan, step: int) -> None:
        """Drops lines behind `step`: a resumed run writes them again."""
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                record = _json_or_none(line)
                if record is not None and record["step"] <= step:
                    kept.append(line)
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")

    def stepped(self, step: int) -> None:
        """Nothing: lines come at intervals."""

    def logged(self, record: dict[str, Any]) -> None:
        """Appends the line."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def end(self) -> None:
        """Closes the file."""
        self._file.close()


def _json_or_none(line: str) -> dict[str, Any] | None:
    # A run that was killed may have left half a line.
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "step" in record else None
