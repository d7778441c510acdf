"""`hrm report`: one page about a run or a checkpoint, with its scores and their regime.

`hrm train` writes the same page at its end. That takes seconds, and a failure never fails the run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hrm_cli.cli.options import (
    ANY_MODEL,
    DeviceOption,
    JsonOption,
    QuietOption,
    complete_models,
    option,
    seed_option,
)

if TYPE_CHECKING:
    import torch

    from hrm_cli.reporting import Reporter
    from hrm_cli.runs.report_facts import ReportFacts, Subject

OF_A_RUN = "report.html"
"""Name of the page in a run's folder."""
BUDGET = 2e11
"""FLOPs of the sample that is evaluated after training: a few seconds on two cores."""
MOST_PUZZLES = 64
FAILURES = 4


def report(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT", autocompletion=complete_models, help=ANY_MODEL, show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        option("--data", "Dataset folder for the scores.", "the run's own dataset", metavar="DIR"),
    ] = None,
    output: Annotated[
        Path | None,
        option(
            ("--output", "-o"),
            "The page to write.",
            "report.html in the run's folder, or NAME-report.html here",
            metavar="FILE.html",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        option("--split", "The split to evaluate.", "test, or validation if there is none"),
    ] = None,
    sample: Annotated[
        int | None,
        option(
            "--sample",
            "Use only N puzzles, sampled with --seed; the same ones every time.",
            "8 to 256, depending on the model's size; well under a minute on two cores",
            metavar="N",
            min=1,
        ),
    ] = None,
    max_steps: Annotated[
        str | None,
        option(
            "--max-steps",
            "Maximum number of reasoning (ACT) steps. For a list, as in 16,64, the page shows the accuracy at each; "
            "everything else uses the largest.",
            "as trained",
            metavar="N[,N…]",
        ),
    ] = None,
    effort: Annotated[
        Literal["none", "low", "medium", "high"],
        typer.Option(
            "--effort",
            help="Also show accuracy with further effort where an answer breaks a rule: low: augmented copies; medium: "
            "also a search of at most 64 nodes (mazes: then 8 restarts); high: 512 nodes (mazes: 32 restarts).",
        ),
    ] = "none",
    halt: Annotated[
        Literal["adaptive", "full"] | None,
        option(
            "--halt",
            "adaptive: stop each puzzle when the model halts it; full: run all steps.",
            "as configured",
        ),
    ] = None,
    failures: Annotated[
        int, typer.Option("--failures", min=0, max=50, help="Number of failures to show, hardest first.")
    ] = 8,
    device: DeviceOption = "auto",
    seed: Annotated[int, seed_option(True)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is not a report.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Write a report on a run or a checkpoint: one self-contained HTML file.

    \b
    Examples:
      hrm report runs/demo
      hrm report bundled:sudoku-9x9 --data data/sudoku --effort low -o sudoku.html
      hrm report runs/demo --max-steps 16,64 --sample 1000
      hrm report runs/demo --json

    It shows training curves, accuracy over steps and effort, when puzzles halt, accuracy by difficulty, calibration of
    the confidence, the hardest failures, configuration, parameters, throughput, environment, and the regime of the
    scores. hrm train writes one at its end. Without a dataset, the page has no scores and says why.
    """
    from hrm_cli.cli import console
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.evaluation.request import parse_depths
    from hrm_cli.views.report.files import check_page
    from hrm_cli.views.report.report_page import GENERATOR

    depths = parse_depths(max_steps)
    from hrm_cli.analysis.sampled import SampleRequest, as_level
    from hrm_cli.runs.report_facts import find_subject

    reporter = console.ConsoleReporter(quiet=quiet)
    found = find_subject(subject)
    path = output or default_page(subject, "report")
    check_page(path, GENERATOR, force=force)
    request = SampleRequest(
        subject, None if data is None else str(data), split, sample, depths, as_level(effort), halt, seed
    )
    facts = write_report(found, request, path, reporter, device_of_command(device), failures)
    if json:
        console.print_json({**facts.document, "page": str(path)})
        return
    for line in summary(facts.document):
        console.print_line(line)
    console.print_line(f"Report: {path}")


def default_page(subject: str, what: str) -> Path:
    """Where the page goes: into a run's folder, else NAME-report.html in the current folder."""
    path = Path(subject)
    if (path / "config.yaml").is_file():
        return path / f"{what}.html"
    name = subject.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".safetensors")
    if name in ("model", "best", "latest") and path.absolute().parent.name:
        name = f"{path.absolute().parent.name}-{name}"
    return Path(f"{name.replace('@', '-') or what}-{what}.html")


def write_report(
    found: Subject,
    request: Any,
    path: Path,
    reporter: Reporter,
    device: torch.device,
    failures: int,
) -> ReportFacts:
    """Gathers everything and writes the page."""
    from hrm_cli.cli.info import collect
    from hrm_cli.runs.report_facts import gather
    from hrm_cli.views.report.failures import failure_boards
    from hrm_cli.views.report.files import write_page
    from hrm_cli.views.report.report_page import report_page

    facts = gather(found, request, reporter, device, collect(device), failures=failures)
    write_page(path, report_page(facts.document, failure_boards(facts)))
    return facts


def summary(document: dict[str, Any]) -> list[str]:
    """The scores in a few lines of text."""
    scores = document["scores"]
    if scores is None:
        return [f"No scores: {document['scores_missing']}"]
    low, high = scores["interval"]
    accuracy = scores["figures"]["exact_accuracy"]
    lines = [
        f"Exact accuracy {accuracy:.2%} in one pass (95 %: {low:.1%} to {high:.1%}) on {scores['puzzles']:,} puzzles "
        f"of {scores['split']}"
    ]
    if len(scores["effort"]) > 1:
        lines.append(f"Exact accuracy {scores['effort'][-1]['exact_accuracy']:.2%} with further effort")
    answers = scores["calibration"]["answers"]
    lines.append(f"Expected calibration error {answers['error']:.3f}: {answers['meaning']}")
    if scores["regime_text"]:
        lines.append(scores["regime_text"])
    return lines


def report_run(folder: Path, reporter: Reporter, *, interrupted: bool = False) -> Path | None:
    """Writes report.html into the run's folder, and returns its path; None if that was not possible.

    An interrupted run gets its curves without scores, because the user is waiting for the command to end.
    """
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
