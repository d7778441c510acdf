"""The files `best` and `latest` of a run, which name a checkpoint folder; replaced whole, synced."""

from __future__ import annotations

import json
from pathlib import Path

from hrm_cli.errors import CheckpointError
from hrm_cli.files import write_text

FACTS_FILE = "training.json"


class CheckpointNotWritten(CheckpointError):  # noqa: N818 - what happened, not a kind of fault
    """A checkpoint could not be written: the disk is full, or may not be written to."""


def point(pointer: Path, folder: Path) -> None:
    """Lets a pointer name another checkpoint folder."""
    write_text(pointer, f"{folder.relative_to(pointer.parent).as_posix()}\n", synced=True)


def pointed_to(pointer: Path) -> Path | None:
    """The checkpoint folder that a pointer names; None where there is no pointer."""
    return pointer.parent / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def has_checkpoint(run: Path) -> bool:
    """Whether there is one to go on from; points `latest` to it where a killed process had not come to that."""
    folders = sorted((run / "checkpoints").glob("step-*"))
    if folders and not (run / "latest").is_file():
        point(run / "latest", folders[-1])
    return (run / "latest").is_file()


def go_back_to_best(run: Path) -> bool:
    """Points `latest` to the best checkpoint, where there is one; says whether there is any checkpoint at all."""
    best = pointed_to(run / "best")
    if best is not None:
        point(run / "latest", best)
    return (run / "latest").is_file()


def record_rollback(run: Path, rollbacks: int, lr_factor: float, seconds: float) -> None:
    """Writes into the latest checkpoint that the run came back to it. Raises CheckpointNotWritten."""
    folder = pointed_to(run / "latest")
    assert folder is not None
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        facts |= {"rollbacks": rollbacks, "lr_factor": lr_factor, "seconds": seconds}
        write_text(folder / FACTS_FILE, json.dumps(facts), synced=True)
    except OSError as error:
        raise CheckpointNotWritten(f"{folder / FACTS_FILE}: cannot be written ({error})") from error
