"""`hrm runs`: runs and their state; `hrm runs show`: the curves of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import JsonOption
from hrm_cli.errors import ConfigError
from hrm_cli.printable import clock
from hrm_cli.runs.records import Curve, RunRecords, find_runs, read_run
from hrm_cli.views.charts import FIGURES, POINT, chart

_DATA = {"train": "training", "eval": "evaluations"}


def runs(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR | show RUN]",
            help="Folder that contains runs, or `show` and a run.",
            show_default="runs",
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            "--png", metavar="FILE.png", help="show: also write the curves as a picture.", show_default=False
        ),
    ] = None,
    width: Annotated[int, typer.Option("--width", min=16, max=400, help="show: columns of a chart.")] = 64,
    json: JsonOption = False,
) -> None:
    """List runs with their state and best figures, or plot the curves of one.

    \b
    Examples:
      hrm runs
      hrm runs runs/sudoku --json
      hrm runs show runs/demo
      hrm runs show runs/demo --png demo.png
    """
    words = list(what or ["runs"])
    if words[0] == "show":
        if len(words) != 2:
            raise ConfigError("hrm runs show RUN: name one run")
        _show(Path(words[1]), png, width, json=json)
        return
    if len(words) > 1:
        raise ConfigError(f"hrm runs {' '.join(words)}: expected one folder, or show and a run")
    if png is not None:
        raise ConfigError("--png: only with show and a run")
    _list(Path(words[0]), json=json)


def _list(parent: Path, *, json: bool) -> None:
    found = find_runs(parent)
    if json:
        console.print_json({"runs": [run.document() for run in found]})
        return
    if not found:
        console.print_message(f"{parent}: no run in it")
        return
    columns = ("run", "state", "step", "of", "best exact", "at step", "loss", "time")
    drops = ("loss", "at step", "of", "time")
    console.print_table(columns, [_row(run) for run in found], folds=(), drops=drops)
    for run in found:
        for problem in run.problems:
            console.print_message(f"{run.folder}: {problem}")


def _row(run: RunRecords) -> tuple[object, ...]:
    best = run.best
    losses = run.curve("train", "loss").values
    return (
        str(run.folder),
        run.state,
        run.step,
        "" if run.total_steps is None else f"{run.total_steps:,}",
        "" if best is None else f"{best['exact_accuracy']:.2%}",
        "" if best is None else f"{best['step']:,}",
        f"{losses[-1]:.3f}" if losses else "",
        "" if run.seconds is None else clock(run.seconds),
    )


def _show(folder: Path, png: Path | None, width: int, *, json: bool) -> None:
    run = read_run(folder)
    if png is not None:
        from hrm_cli.views.charts import draw_run

        draw_run(run, FIGURES, png)
    if json:
        figures = {
            kind: {
                name: {"steps": curve.steps, "values": curve.values}
                for name, curve in _curves(run, kind).items()
            }
            for kind in _DATA
        }
        console.print_json({**run.document(), "junk_lines": run.junk, "curves": figures})
        return
    _head(run)
    nothing = Curve([], [])
    for figure in FIGURES:
        line = run.curve("train", figure.training)
        points = run.curve("eval", figure.evaluation) if figure.evaluation else nothing
        if not line.values and not points.values:
            continue
        console.print_line()
        for text in chart(figure.title, line, points, run.step, width=width, share=figure.is_share):
            console.print_line(text)
    if run.evaluations:
        console.print_line(
            f"\n{POINT} evaluations; the line is training, each point the mean since the previous one"
        )
    if png is not None:
        console.print_message(f"{png}: the same as a picture")


def _curves(run: RunRecords, kind: str) -> dict[str, Curve]:
    names = dict.fromkeys(figure.training if kind == "train" else figure.evaluation for figure in FIGURES)
    return {name: run.curve(kind, name) for name in names if name}


def _head(run: RunRecords) -> None:
    planned = "" if run.total_steps is None else f" of {run.total_steps:,}"
    time = "" if run.seconds is None else f", {clock(run.seconds)} of training"
    console.print_line(f"{run.folder}: {run.state}, step {run.step:,}{planned}{time}")
    if run.reason not in ("", run.state):
        console.print_line(run.reason)
    if run.best is not None:
        cells = run.best.get("cell_accuracy")
        of_cells = f", cells {cells:.2%}" if isinstance(cells, float) else ""
        console.print_line(
            f"best exact accuracy {run.best['exact_accuracy']:.2%} at step {run.best['step']:,}{of_cells}"
        )
    if run.junk:
        console.print_line(f"lines of metrics.jsonl that are not records, skipped: {run.junk}")
    if not run.training and not run.evaluations:
        console.print_line("nothing logged yet")
