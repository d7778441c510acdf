"""`hrm train`: from a preset to a run folder with checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.options import JsonOption, Overrides, PresetOption

if TYPE_CHECKING:
    from hrm_cli.cli.running import RunOutcome


def train(
    overrides: Overrides = None,
    preset: PresetOption = "tiny",
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset folder; without it the preset's own is built."),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", metavar="RUN", help="Run folder.", show_default="runs/PRESET-DATE-TIME"),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN|latest", help="Go on with a run from its latest checkpoint."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="Seed of dataset, weights and batches.", show_default="the preset's"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a model.

    \b
    Examples:
      hrm train --preset tiny
      hrm train --preset small --data data/sudoku epochs=100 lr=5e-4 global_batch_size=128
      hrm train --resume latest

    Ctrl-C saves a checkpoint before it stops; --resume goes on from there.
    """
    from hrm_cli.cli import console
    from hrm_cli.cli.running import prepare_new_run, prepare_resumed_run, run_training

    if seed is not None:
        overrides = [*(overrides or ()), f"data.seed={seed}", f"train.seed={seed}"]
    prepared = (
        prepare_resumed_run(resume, overrides, data)
        if resume is not None
        else prepare_new_run(preset, overrides, data, output_dir, quiet=json)
    )
    outcome = run_training(prepared, quiet=json)
    if json:
        console.print_json(outcome.document())
    else:
        _render(outcome)
    if outcome.result.signal_number is not None:
        raise typer.Exit(128 + outcome.result.signal_number)


def _render(outcome: RunOutcome) -> None:
    from hrm_cli.cli import console

    result = outcome.result
    reasons = {
        "finished": "Finished",
        "patience": "Stopped early: no better exact accuracy",
        "max_minutes": "Stopped: train.max_minutes is over",
        "interrupted": "Interrupted and saved",
    }
    console.print_line(
        f"{reasons[result.reason]} after {result.step:,} steps, {result.seconds:.0f} s of training."
    )
    if result.best is not None:
        console.print_line(
            f"Best exact accuracy {result.best.exact_accuracy:.2%} at step {result.best.step:,}."
        )
    console.print_line(f"Checkpoint: {result.checkpoint}")
    if result.reason == "interrupted":
        console.print_line(f"Go on with: hrm train --resume {outcome.folder}")
