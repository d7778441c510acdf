"""The folder of a run. Only one process may write to it; it is locked before anything in it is read or written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from hrm_cli.data.metadata import is_build_in_progress
from hrm_cli.errors import ConfigError, HRMError
from hrm_cli.files import AlreadyLocked, FileLock
from hrm_cli.runs.status import LOCK_FILE

CONFIG_FILE = "config.yaml"
OWN_DATASET = "dataset"
"""Subfolder for the dataset of a run without a given dataset."""


class RunFolder:
    """A run's folder with its lock: `with RunFolder.new(path) as folder:`.

    If the block raises an error that the user can fix before training has started, a new folder is removed with its
    content, so that the command can be repeated. Raises ConfigError if another process trains in the folder.
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
        """An empty folder, created if missing. Raises ConfigError if it contains anything."""
        if path.exists() and not path.is_dir():
            raise _already_there(path)
        missing = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be made ({error.strerror})") from None
        folder = cls(path, missing)
        if any(_counts(entry) for entry in path.iterdir()):
            folder.close()
            raise _already_there(path)
        folder._is_new = True
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of an existing run. Raises CheckpointError if there is none."""
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
