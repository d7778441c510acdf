"""Loggers of a run's metrics: the listener interface, and metrics.jsonl, which every run writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrm_cli.files import write_text
from hrm_cli.json_text import parse_json
from hrm_cli.training.state import Plan


class Listener:
    """Receives the events of a run. Subclasses override the methods they need; the others do nothing."""

    def begin(self, plan: Plan, step: int) -> None:
        """The run starts, or resumes, at `step`."""

    def stepped(self, step: int) -> None:
        """A step was taken."""

    def logged(self, record: dict[str, Any]) -> None:
        """A record of metrics was logged. Its `kind` is `train`, `eval` or `rollback`."""

    def warned(self, message: str) -> None:
        """A problem occurred that does not end the run."""

    def rewound(self, step: int) -> None:
        """The run was rolled back to an earlier `step`: records after it are no longer valid."""

    def end(self) -> None:
        """The run has ended, for any reason."""


class MetricsFile(Listener):
    """Writes metrics.jsonl: one JSON object per line, flushed before the next step begins.

    While the disk is full, lines are kept in memory and written later, in order. `warn` is called once.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda message: None) -> None:
        self.path = path
        self._warn, self._warned = warn, False
        self._descriptor: int | None = None
        self._waiting = b""
        self._last_line = ""

    def begin(self, plan: Plan, step: int) -> None:
        """Drops lines after `step`: a resumed run writes them again."""
        self._drop_after(step)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def logged(self, record: dict[str, Any]) -> None:
        """Appends the record, unless a killed run has already written the same line."""
        line = json.dumps(record)
        if line != self._last_line and not self._is_evaluated_again(record):
            self._last_line = line
            self._waiting += line.encode() + b"\n"
            self._write()

    def _is_evaluated_again(self, record: dict[str, Any]) -> bool:
        # A killed run logged this evaluation but did not save it. The repeated one differs only in its speed.
        last = _json_or_none(self._last_line)
        return (
            last is not None
            and record["kind"] == "eval"
            and (last.get("kind"), last["step"]) == ("eval", record["step"])
        )

    def rewound(self, step: int) -> None:
        """Drops lines after `step`."""
        self._close()
        self._drop_after(step)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def end(self) -> None:
        """Closes the file."""
        self._close()
        if self._waiting:
            self._warn(f"{self.path}: {self._waiting.count(10)} lines could not be written")

    def _write(self) -> None:
        assert self._descriptor is not None
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._descriptor, self._waiting) :]
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._warn(f"{self.path}: cannot be written ({error.strerror}); its lines are kept in memory")

    def _close(self) -> None:
        if self._descriptor is not None:
            self._write()
            os.close(self._descriptor)
            self._descriptor = None

    def _drop_after(self, step: int) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        kept = []
        for line in text.splitlines():
            record = _json_or_none(line)
            if record is not None and record["step"] <= step:
                kept.append(line)
        self._last_line = kept[-1] if kept else ""
        if (shorter := "".join(f"{line}\n" for line in kept)) != text:
            # Replaced atomically, so that a run killed here keeps its lines.
            write_text(self.path, shorter)


def _json_or_none(line: str) -> dict[str, Any] | None:
    # A killed run may have left an incomplete line.
    try:
        record = parse_json(line, nan_as_null=True)
    except ValueError:
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None
