"""`hrm analyze`: what a model's states and attention do while it reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


def analyze(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", autocompletion=complete_models, help=ANY_MODEL, show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        option("--data", "Dataset folder.", "the run's own dataset", metavar="DIR"),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        option("--split", "The split to take puzzles from.", "test, or validation if there is none"),
    ] = None,
    sample: Annotated[
        int | None,
        option(
            "--sample",
            "Use only N puzzles, sampled with --seed; the same ones every time.",
            "8 to 64, depending on the model's size; a few minutes on two cores",
            metavar="N",
            min=2,
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        option(
            "--max-steps",
            "Number of reasoning (ACT) steps, without halting.",
            "twice as many as in training",
            min=2,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        option(
            ("--output", "-o"),
            "Also write a page with plots, as one self-contained file.",
            metavar="FILE.html",
        ),
    ] = None,
    device: DeviceOption = "auto",
    seed: Annotated[int, seed_option(True)] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is not an analysis.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Measure what a model's states and attention do while it reasons.

    \b
    Examples:
      hrm analyze runs/demo
      hrm analyze bundled:sudoku-9x9-units --data data/sudoku -o units.html
      hrm analyze runs/demo --sample 64 --max-steps 32 --json

    It measures accuracy over steps and beyond the trained depth, how much z_H and z_L still change, their participation
    ratios (the hierarchy that the HRM paper describes), principal components of trajectories, the stability of solved
    states, the effective depth, and where attention goes. docs/analyzing.md explains how to read the figures.
    """
    from hrm_cli.cli import console
    from hrm_cli.errors import ConfigError
    from hrm_cli.views.report.files import check_page, write_page

    if html is not None:
        from hrm_cli.views.report.analysis_page import GENERATOR

        check_page(html, GENERATOR, force=force, option="--output")
    elif force:
        raise ConfigError("--force: has no effect without --output")
    from hrm_cli.analysis.analyze import AnalyzeRequest
    from hrm_cli.analysis.analyze import analyze as measure
    from hrm_cli.cli.options import device_of_command

    reporter = console.ConsoleReporter(quiet=quiet)
    request = AnalyzeRequest(checkpoint, None if data is None else str(data), split, sample, max_steps, seed)
    found = measure(request, reporter, device_of_command(device))
    if html is not None:
        from hrm_cli.views.report.analysis_page import analysis_page

        write_page(html, analysis_page(found))
        reporter.note(f"Page: {html}")
    if json:
        console.print_json({**found, "page": None if html is None else str(html)})
        return
    from hrm_cli.cli.studying.rendering import render_analysis

    render_analysis(found)
