"""The report that `hrm train` writes at its end. It takes seconds, and a failure never fails the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrm_cli.reporting import Reporter

BUDGET = 2e11
"""FLOPs of the evaluated sample: a few seconds on two cores."""
MOST_PUZZLES = 64
FAILURES = 4


def report_run(folder: Path, reporter: Reporter, *, interrupted: bool = False) -> Path | None:
    """Writes report.html into the run's folder, and returns its path; None if that was not possible.

    An interrupted run gets its curves without scores, because the user is waiting for the command to end.
    """
    from hrm_cli.cli.studying.report import OF_A_RUN

    path = folder / OF_A_RUN
    try:
        _write(folder, path, reporter, with_scores=not interrupted)
    except KeyboardInterrupt:
        reporter.warn(f"no report: interrupted; hrm report {folder} writes it")
        return None
    except Exception as error:  # the run itself is finished and saved
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        reporter.warn(f"no report: {reason}; hrm report {folder} tries again")
        return None
    return path


def _write(folder: Path, path: Path, reporter: Reporter, *, with_scores: bool) -> None:
    from dataclasses import replace

    from hrm_cli.analysis.sampled import SampleRequest
    from hrm_cli.cli.studying.report import write_report
    from hrm_cli.models.device import resolve_device
    from hrm_cli.runs.report_facts import find_subject
    from hrm_cli.views.report.files import check_page
    from hrm_cli.views.report.report_page import GENERATOR

    check_page(path, GENERATOR, force=False)
    subject = find_subject(str(folder))
    device = "auto" if subject.card is None else subject.card.preset.train.device
    if not with_scores:
        subject = replace(
            subject, card_scores=False, no_model=f"the run was interrupted; hrm report {folder} adds them"
        )
    request = SampleRequest(str(folder), budget=BUDGET, most=MOST_PUZZLES)
    write_report(subject, request, path, reporter, resolve_device(device), FAILURES)
