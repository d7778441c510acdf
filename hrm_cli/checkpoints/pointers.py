"""The pointer files `best` and `latest` of a run.

Each contains the path of a checkpoint folder and is replaced atomically.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hrm_cli.checkpoints.checksums import with_checksum
from hrm_cli.errors import CheckpointError, reason_of
from hrm_cli.files import write_text
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.printable import quoted
from hrm_cli.regular_files import read_text

FACTS_FILE = "training.json"
_LONGEST_POINTER = 4096


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written: the disk is full or not writable."""


def write_pointer(pointer: Path, folder: Path) -> None:
    """Points a pointer file to a checkpoint folder, atomically and synced to disk."""
    write_text(pointer, f"{folder.relative_to(pointer.parent).as_posix()}\n", synced=True)


def read_pointer(pointer: Path) -> Path | None:
    """The checkpoint folder that a pointer names; None if there is no pointer file.

    Raises CheckpointError if the file is not one short line of text.
    """
    if not pointer.is_file():
        return None
    try:
        name = read_text(pointer, _LONGEST_POINTER).strip()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{pointer}: cannot be read: {reason_of(error)}") from None
    if not name or not name.isprintable():
        raise CheckpointError(
            f"{pointer}: found {quoted(name, 80)}; expected the name of a checkpoint folder"
        )
    return pointer.parent / name


def checkpoints_of(run: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def has_checkpoint(run: Path) -> bool:
    """Whether the run has a checkpoint. Restores `latest` if the process was killed before it wrote the pointer."""
    folders = checkpoints_of(run)
    if folders and not (run / "latest").is_file():
        write_pointer(run / "latest", folders[-1])
    return (run / "latest").is_file()


def point_latest_to_best(run: Path) -> bool:
    """Points `latest` to the best checkpoint, if there is one. Returns whether there is any checkpoint."""
    best = read_pointer(run / "best")
    if best is not None:
        write_pointer(run / "latest", best)
    return (run / "latest").is_file()


def discard_checkpoint(run: Path, folder: Path) -> None:
    """Points `latest` back to the best checkpoint and removes `folder`, so that no run resumes from it."""
    if point_latest_to_best(run) and read_pointer(run / "latest") != folder:
        shutil.rmtree(folder, ignore_errors=True)


def record_rollback(run: Path, rollbacks: int, lr_factor: float, seconds: float, wall_seconds: float) -> None:
    """Records a rollback in the latest checkpoint. Raises CheckpointWriteError if the disk is full or not writable."""
    folder = read_pointer(run / "latest")
    assert folder is not None
    try:
        facts = load_json(folder / FACTS_FILE, LARGEST_FACTS)
        facts |= {"rollbacks": rollbacks, "lr_factor": lr_factor, "seconds": seconds}
        facts |= {"wall_seconds": wall_seconds}
        write_text(folder / FACTS_FILE, json.dumps(with_checksum(facts)), synced=True)
    except OSError as error:
        raise CheckpointWriteError(
            f"{folder / FACTS_FILE}: cannot be written ({reason_of(error)})"
        ) from error
