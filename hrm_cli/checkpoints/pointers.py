"""The pointer files `best` and `latest` of a run, which name a checkpoint folder. They are replaced atomically."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from hrm_cli.checkpoints.checksums import sealed
from hrm_cli.errors import CheckpointError
from hrm_cli.files import write_text
from hrm_cli.json_text import LARGEST_FACTS, load_json
from hrm_cli.regular_files import read_text

FACTS_FILE = "training.json"
_LONGEST_POINTER = 4096


class CheckpointNotWritten(CheckpointError):  # noqa: N818 - what happened, not a kind of fault
    """A checkpoint could not be written: the disk is full or not writable."""


def point(pointer: Path, folder: Path) -> None:
    """Points a pointer file to a checkpoint folder, atomically and synced to disk."""
    write_text(pointer, f"{folder.relative_to(pointer.parent).as_posix()}\n", synced=True)


def pointed_to(pointer: Path) -> Path | None:
    """The checkpoint folder that a pointer names; None if there is no pointer file.

    Raises CheckpointError if the file is not a pointer, which is one short line of text.
    """
    if not pointer.is_file():
        return None
    try:
        name = read_text(pointer, _LONGEST_POINTER).strip()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{pointer}: cannot be read: {error}") from None
    if not name or not name.isprintable():
        raise CheckpointError(f"{pointer}: holds {name!r:.80}; the name of a checkpoint folder is expected")
    return pointer.parent / name


def checkpoints_of(run: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def has_checkpoint(run: Path) -> bool:
    """Whether the run has a checkpoint. Points `latest` to it if the process was killed before doing so."""
    folders = checkpoints_of(run)
    if folders and not (run / "latest").is_file():
        point(run / "latest", folders[-1])
    return (run / "latest").is_file()


def go_back_to_best(run: Path) -> bool:
    """Points `latest` to the best checkpoint, if there is one. Returns whether there is any checkpoint."""
    best = pointed_to(run / "best")
    if best is not None:
        point(run / "latest", best)
    return (run / "latest").is_file()


def withdraw(run: Path, folder: Path) -> None:
    """Points `latest` back to the best checkpoint and removes `folder`, so that no run resumes from it."""
    if go_back_to_best(run) and pointed_to(run / "latest") != folder:
        shutil.rmtree(folder, ignore_errors=True)


def record_rollback(run: Path, rollbacks: int, lr_factor: float, seconds: float, wall_seconds: float) -> None:
    """Records a rollback in the latest checkpoint. Raises CheckpointNotWritten."""
    folder = pointed_to(run / "latest")
    assert folder is not None
    try:
        facts = load_json(folder / FACTS_FILE, LARGEST_FACTS)
        facts |= {"rollbacks": rollbacks, "lr_factor": lr_factor, "seconds": seconds}
        facts |= {"wall_seconds": wall_seconds}
        write_text(folder / FACTS_FILE, json.dumps(sealed(facts)), synced=True)
    except OSError as error:
        raise CheckpointNotWritten(f"{folder / FACTS_FILE}: cannot be written ({error})") from error
