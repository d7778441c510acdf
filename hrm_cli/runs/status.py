"""The state of a run, written to `status.json`: running, finished, interrupted, diverged or failed.

A killed run cannot record its end. It is recognized by its lock on `.running`, which the operating system releases
when the process exits.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hrm_cli.errors import TrainingDiverged
from hrm_cli.files import AlreadyLocked, FileLock, is_locked, write_text
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.regular_files import UnusableFile

STATUS_FILE = "status.json"
LOCK_FILE = ".running"

RUNNING, FINISHED, INTERRUPTED, DIVERGED, FAILED, UNKNOWN = (
    "running", "finished", "interrupted", "diverged", "failed", "unknown",
)  # fmt: skip


STATES = (RUNNING, FINISHED, INTERRUPTED, DIVERGED, FAILED)


class RunStatus:
    """Records that a run is running during the block, and afterwards how it ended.

    Write errors (a full disk) are ignored: a run must not fail because of its status.
    """

    def __init__(self, folder: Path, total_steps: int) -> None:
        self._folder, self._total_steps = folder, total_steps
        self._state, self._reason = FAILED, ""
        self._lock: FileLock | None = None

    def __enter__(self) -> RunStatus:
        with suppress(OSError, AlreadyLocked):
            self._lock = FileLock(self._folder / LOCK_FILE)
        self._write(RUNNING, "")
        return self

    def ended(self, reason: str) -> None:
        """Records why the training loop ended: `finished`, `patience`, `max_minutes` or `interrupted`."""
        self._state = INTERRUPTED if reason == "interrupted" else FINISHED
        self._reason = reason

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, TrainingDiverged):
            self._state, self._reason = DIVERGED, str(error)
        elif isinstance(error, KeyboardInterrupt | SystemExit):
            self._state, self._reason = INTERRUPTED, ""
        elif error is not None:
            self._state, self._reason = FAILED, str(error) or type(error).__name__
        self._write(self._state, self._reason)
        if self._lock is not None:
            self._lock.release()

    def _write(self, state: str, reason: str) -> None:
        document = {"state": state, "reason": reason, "total_steps": self._total_steps}
        with suppress(OSError):
            write_text(self._folder / STATUS_FILE, json.dumps(document))


def read_status(folder: Path) -> tuple[str, str, int | None]:
    """State, reason and planned steps of a run. The state is `unknown` if the run has not written one.

    Raises OSError or UnusableFile for a damaged file.
    """
    try:
        document: Any = load_json(folder / STATUS_FILE, LARGEST_FACTS)
    except FileNotFoundError:
        return UNKNOWN, "", None
    if not isinstance(document, dict):
        raise UnusableFile("an object with state, reason and total_steps is expected")
    state, reason, total = (document.get(name) for name in ("state", "reason", "total_steps"))
    if state not in STATES:
        raise UnusableFile(f"state is {state!r:.40}; one of {', '.join(STATES)} is expected")
    if not isinstance(reason, str) or type(total) is not int or total < 0:
        raise UnusableFile("reason is not text, or total_steps is not a whole number")
    if state == RUNNING and not is_locked(folder / LOCK_FILE):
        return INTERRUPTED, "killed", total
    return state, reason, total
