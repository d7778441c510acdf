"""`hrm runs` lists runs and their states, `hrm runs show` plots one, `hrm runs compare` compares several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import JsonOption, option
from hrm_cli.cli.render.help import PlainCommand, PlainGroup
from hrm_cli.cli.render.paragraphs import print_fitting, terminal_width
from hrm_cli.errors import ConfigError, closest
from hrm_cli.printable import clock
from hrm_cli.runs.listing import Order, filtered, ordered
from hrm_cli.runs.records import Curve, RunRecords, find_runs, read_run
from hrm_cli.views.charts import FIGURES, POINT, chart

_AXIS = 8
"""Width of the margin to the left of a chart."""
MOST_COMPARED = 26
"""Largest number of runs with their own letter in a chart."""

_DATA = {"train": "training", "eval": "evaluations"}


_VALUED = ("--sort", "--filter", "--png", "--width")
"""Options that are followed by a value."""


class RunsGroup(PlainGroup):
    """`hrm runs [DIR]` lists runs; `show` and `compare` are subcommands."""

    default = "list"
    """The command that is meant where no other is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the subcommand in front, or `list` if none is named."""
        words = [
            index
            for index, word in enumerate(args)
            if not word.startswith("-") and (index == 0 or args[index - 1] not in _VALUED)
        ]
        first = next(iter(words), None)
        if first is not None and args[first] in ("show", "compare"):
            args = [args[first], *args[:first], *args[first + 1 :]]
        elif len(words) > 1:
            raise ConfigError(
                f"hrm runs {' '.join(args[index] for index in words)}: expected one folder, `show RUN` or "
                f"`compare RUN RUN…`{closest(args[words[0]], ['show', 'compare'])}"
            )
        elif first is None or args[first] != self.default or Path(self.default).is_dir():
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class ListCommand(PlainCommand):
    """The list of runs. Its help is the page of `hrm runs`, and names the other subcommands."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The usage without the name of this command."""
        formatter.write_usage("hrm runs", "[OPTIONS] [DIR]")
        formatter.write_usage("hrm runs", "COMMAND [ARGS]...", " " * len("Usage: "))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the other subcommands."""
        super().format_options(ctx, formatter)
        if ctx.parent is not None:
            ctx.parent.command.format_commands(ctx.parent, formatter)


app = typer.Typer(cls=RunsGroup, add_completion=False, rich_markup_mode=None)
WidthOption = Annotated[int, typer.Option("--width", min=16, max=400, help="Columns of a chart.")]


@app.callback()
def _runs() -> None:
    """List training runs, plot and compare their curves."""


@app.command(RunsGroup.default, cls=ListCommand, hidden=True)
def list_runs(
    parent: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that contains runs.", show_default="runs")
    ] = Path("runs"),
    sort: Annotated[
        Literal["best", "time", "step", "name"] | None,
        option(
            "--sort",
            "best: highest exact accuracy first; time, step: most training first; name: by name.",
            "the newest last",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="state=STATE|preset=NAME|PATTERN",
            help="Only runs in this state, of this preset, or whose name matches, as in 'tiny-*'; may be repeated.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List runs with their state and best figures, plot the curves of one, or compare several.

    \b
    Examples:
      hrm runs
      hrm runs runs/sudoku --json
      hrm runs --sort best --filter state=finished
      hrm runs show runs/demo
      hrm runs compare runs/demo runs/demo-2
    """
    _list(parent, sort, filters or [], json=json)


@app.command(cls=PlainCommand)
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    png: Annotated[
        Path | None,
        typer.Option(
            "--png", metavar="FILE.png", help="Also write the curves as a picture.", show_default=False
        ),
    ] = None,
    width: WidthOption = 64,
    json: JsonOption = False,
) -> None:
    """Plot the curves of a run.

    \b
    Examples:
      hrm runs show runs/demo
      hrm runs show runs/demo --png demo.png
    """
    _show(run, png, _fitting(width), json=json)


@app.command(cls=PlainCommand)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN…", help="Run folders.")],
    width: WidthOption = 64,
    json: JsonOption = False,
) -> None:
    """Compare runs: curves, results, settings.

    \b
    Example:
      hrm runs compare runs/demo runs/demo-2
    """
    _compare(runs, _fitting(width), json=json)


def _fitting(width: int) -> int:
    """The width of a chart, made to fit the terminal."""
    columns = terminal_width()
    return width if columns is None else min(width, max(columns - _AXIS, 16))


def _list(parent: Path, sort: Order | None, filters: list[str], *, json: bool) -> None:
    everything = find_runs(parent)
    found = ordered(filtered(everything, filters), sort)
    if json:
        console.print_json({"runs": [run.document() for run in found]})
        return
    if not found:
        none = f"none of its {len(everything):,} runs matches --filter" if everything else "contains no runs"
        console.print_message(f"{parent}: {none}")
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


def _compare(folders: list[Path], width: int, *, json: bool) -> None:
    from hrm_cli.cli.render.comparing import comparison_document, show_comparison

    if not 2 <= len(folders) <= MOST_COMPARED:
        raise ConfigError(f"hrm runs compare A B…: name 2 to {MOST_COMPARED} runs; {len(folders)} given")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError("hrm runs compare: a run is named twice")
    compared = [read_run(folder) for folder in folders]
    if json:
        console.print_json(comparison_document(compared))
    else:
        show_comparison(compared, width)
    for run in compared:
        for problem in run.problems:
            console.print_message(f"{run.folder}: {problem}")


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
        title, *lines = chart(figure.title, line, points, run.step, width=width, share=figure.is_share)
        print_fitting(title)
        for text in lines:
            console.print_line(text)
    if run.evaluations:
        print_fitting(
            f"\n{POINT} evaluations; the line is training: each value is the mean since the one before"
        )
    if png is not None:
        console.print_message(f"Picture: {png}")


def _curves(run: RunRecords, kind: str) -> dict[str, Curve]:
    names = dict.fromkeys(figure.training if kind == "train" else figure.evaluation for figure in FIGURES)
    return {name: run.curve(kind, name) for name in names if name}


def _head(run: RunRecords) -> None:
    planned = "" if run.total_steps is None else f" of {run.total_steps:,}"
    time = "" if run.seconds is None else f", {clock(run.seconds)} of training"
    print_fitting(f"{run.folder}: {run.state}, step {run.step:,}{planned}{time}")
    if run.reason not in ("", run.state):
        print_fitting(run.reason)
    if run.best is not None:
        cells = run.best.get("cell_accuracy")
        of_cells = f", cells {cells:.2%}" if isinstance(cells, float) else ""
        print_fitting(
            f"best exact accuracy {run.best['exact_accuracy']:.2%} at step {run.best['step']:,}{of_cells}"
        )
    if run.junk:
        print_fitting(f"skipped lines of metrics.jsonl that are not records: {run.junk}")
    if not run.training and not run.evaluations:
        console.print_line("nothing logged yet")
