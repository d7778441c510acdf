"""Reports of how the processes of a job ended, one small file each. Finds the report that caused the others.

Does not import torch, so a worker that must not restart exits before it imports anything large.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from hrm_cli.files import write_text

Kind = Literal["interrupted", "refused", "failed", "lost"]


@dataclass(frozen=True)
class Report:
    """The abnormal end of a process."""

    kind: Kind
    """interrupted: by a signal, after saving; refused: an error that a restart cannot fix; failed: any other error;
    lost: another process was lost, or terminated this one."""
    status: int
    """Exit status of the job if this report is the cause."""
    message: str
    rank: int
    attempt: int = 0
    """Number of restarts of the job before this attempt."""
    time: float = field(default_factory=time.time)
    traceback: str = ""
    """Traceback of an internal error."""

    @property
    def is_interruption(self) -> bool:
        """Whether a signal ended the job."""
        return self.kind == "interrupted"

    @property
    def is_consequence(self) -> bool:
        """Whether another process is the cause."""
        return self.kind == "lost"

    def write(self, folder: Path) -> None:
        """Writes the report into the job's folder."""
        write_text(folder / f"report-{self.attempt}-{self.rank}.json", json.dumps(asdict(self)))


def read_reports(folder: Path) -> list[Report]:
    """The reports of the last attempt that has reports."""
    reports = [
        Report(**json.loads(file.read_text(encoding="utf-8"))) for file in folder.glob("report-*.json")
    ]
    last = max((report.attempt for report in reports), default=0)
    return [report for report in reports if report.attempt == last]


def first_cause(reports: Sequence[Report]) -> Report | None:
    """The report of the process that failed first, not counting consequences of other failures."""
    return min(reports, key=lambda report: (report.is_consequence, report.time), default=None)


def exit_status_of_ended_job(folder: Path) -> int | None:
    """The exit status for a worker that must not restart after a signal or an error that would recur; else None."""
    stop = folder / "stop"
    if stop.is_file():
        return 128 + int(stop.read_text(encoding="utf-8") or 15)
    refusals = [report for report in read_reports(folder) if report.kind in ("refused", "interrupted")]
    return refusals[0].status if refusals else None
