"""The folder of a run: its lock, and its state.

Only one process may write to the folder; it is locked before anything in it is read or written. The state is written
to `status.json`: running, finished, interrupted, diverged or failed.

A killed run cannot record its end. It is recognized by its lock on `.running`, which the operating system releases
when the process exits.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hrm_cli.data.metadata import is_build_in_progress
from hrm_cli.errors import ConfigError, HRMError, TrainingDiverged
from hrm_cli.files import AlreadyLocked, FileLock, is_locked, write_text
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.printable import quoted
from hrm_cli.regular_files import UnusableFile

STATUS_FILE = "status.json"
LOCK_FILE = ".running"

RUNNING, FINISHED, INTERRUPTED, DIVERGED, FAILED, UNKNOWN = (
    "running", "finished", "interrupted", "diverged", "failed", "unknown",
)  # fmt: skip


STATES = (RUNNING, FINISHED, INTERRUPTED, DIVERGED, FAILED)


class RunStatus:
    """Records the state `running` while the block runs, and the final state afterwards.

    Write errors, such as a full disk, are ignored, because a run must not fail because of its status.
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
        """Records the reason why training ended, as in `TrainResult.reason`."""
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
        raise UnusableFile("expected an object with state, reason and total_steps")
    state, reason, total = (document.get(name) for name in ("state", "reason", "total_steps"))
    if state not in STATES:
        raise UnusableFile(f"state: found {quoted(state, 40)}; expected one of {', '.join(STATES)}")
    if not isinstance(reason, str) or type(total) is not int or total < 0:
        raise UnusableFile("reason is not text, or total_steps is not a whole number")
    if state == RUNNING and not is_locked(folder / LOCK_FILE):
        return INTERRUPTED, "killed", total
    return state, reason, total


CONFIG_FILE = "config.yaml"
OWN_DATASET = "dataset"
"""Subfolder for the dataset of a run without a given dataset."""


class RunFolder:
    """A run's folder with its lock: `with RunFolder.new(path) as folder:`.

    If the block raises an HRMError before training has started, a new folder and its content are removed, so that the
    command can be repeated. Raises ConfigError if another process trains in the folder.
    """

    def __init__(self, path: Path, new_folders: list[Path]) -> None:
        self.path = path
        self._new_folders = new_folders
        self._is_new = False
        try:
            self._lock = FileLock(path / LOCK_FILE)
        except AlreadyLocked as error:
            raise ConfigError(
                f"{path}: is already being trained by {error.holder}; only one process can train a run. "
                f"Wait until it ends, or stop it (Ctrl-C saves a checkpoint)"
            ) from None
        except OSError as error:
            self._remove_new_folders()
            raise ConfigError(f"{path}: cannot be written to ({error.strerror})") from None

    @classmethod
    def new(cls, path: Path) -> RunFolder:
        """Locks an empty folder, creating it if missing. Raises ConfigError if it is not empty."""
        if path.exists() and not path.is_dir():
            raise _already_there(path)
        missing = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be created ({error.strerror})") from None
        folder = cls(path, missing)
        if any(_counts(entry) for entry in path.iterdir()):
            folder.close()
            raise _already_there(path)
        folder._is_new = True
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """Locks the folder of an existing run."""
        return cls(path, [])

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, HRMError):
            self.discard()
        self.close()

    def discard(self) -> None:
        """Removes everything that a new run has written, unless its training has started."""
        ours = (CONFIG_FILE, OWN_DATASET)
        if self._is_new and not any(
            _counts(entry) and entry.name not in ours for entry in self.path.iterdir()
        ):
            (self.path / CONFIG_FILE).unlink(missing_ok=True)
            shutil.rmtree(self.path / OWN_DATASET, ignore_errors=True)
            self._is_new = False

    def close(self) -> None:
        """Releases the lock and removes new folders that are still empty."""
        self._lock.release()
        self._remove_new_folders()

    def _remove_new_folders(self) -> None:
        for folder in self._new_folders:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty


def _counts(entry: Path) -> bool:
    # Leftovers of a killed dataset build are removed by the next build.
    return entry.name != LOCK_FILE and not is_build_in_progress(entry, OWN_DATASET)


def _already_there(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: already exists and is not empty; resume it (--resume {path}) or choose another --output-dir"
    )
