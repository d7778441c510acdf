"""`hrm analyze`: what a model's states and attention do while it reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hrm_cli.cli import console
from hrm_cli.cli.options import (
    ANY_MODEL,
    DeviceOption,
    JsonOption,
    QuietOption,
    complete_models,
    option,
    seed_option,
)
from hrm_cli.cli.render.paragraphs import print_gap, print_paragraph, terminal_width
from hrm_cli.printable import counted


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
      hrm analyze bundled:sudoku-any-size --data data/sudoku -o units.html
      hrm analyze runs/demo --sample 64 --max-steps 32 --json

    It measures accuracy over steps and beyond the trained depth, how much z_H and z_L still change, their participation
    ratios (the hierarchy that the HRM paper describes), principal components of trajectories, the stability of solved
    states, the effective depth, and where attention goes. docs/analyzing.md explains how to read the figures.
    """
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
    render_analysis(found)


Document = Mapping[str, Any]


def render_analysis(found: Document) -> None:
    """Prints the figures of an analysis."""
    model = found["model"]
    title = (
        f"{found['checkpoint']}: {model['puzzles']}, core {model['core']}, mixer {model['mixer']}; "
        f"{counted(found['puzzles'], 'puzzle')} of {found['split']} (a sample of {found['of']:,}, seed {found['seed']})"
    )
    rows = [
        (
            f"{row['step']:,}{' (trained)' if row['step'] == found['trained_steps'] else ''}",
            f"{row['exact_accuracy']:.1%}",
            "{:.1%} to {:.1%}".format(*row["interval"]),
            _number(found["residuals"]["H"]["all"][row["step"] - 1]),
            _number(found["residuals"]["L"]["all"][row["step"] - 1]),
        )
        for row in found["accuracy"]
        if row["step"] in shown_steps(found["steps"], found["trained_steps"])
    ]
    _table(("step", "exact accuracy", "95 %", "change of z_H", "change of z_L"), rows, title=title)
    _table(("figure", "value", "meaning"), list(figure_rows(found)), prose=True)
    if found["attention"] is not None:
        _table(
            *attention_rows(found["attention"]),
            title="Where attention goes (in brackets: times uniform attention)",
        )
    for name, reason in found["does_not_apply"].items():
        print_paragraph(f"Does not apply: {name.replace('_', ' ')}: {reason}.")
    regime = found["regime"]
    print_paragraph(
        f"Regime: trained on {regime['training_data']}; built-in knowledge: {regime['built_in_knowledge']}; "
        f"{regime['effort']}; rules: {regime['rules']}; {counted(found['puzzles'], 'puzzle')}",
        hanging=2,
    )


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", prose: bool = False
) -> None:
    console.print_table(columns, rows, title=title, prose=prose)
    if terminal_width() is not None:
        print_gap()


def shown_steps(steps: int, trained: int) -> set[int]:
    """1, 2, 4, …, the trained depth and the last step."""
    return {*(2**power for power in range(steps.bit_length())), trained, steps} & set(range(1, steps + 1))


def figure_rows(found: Document) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each figure, for the terminal and the page."""
    part, untrained = found["participation"], found["participation"]["untrained"]
    rows = [
        ("participation ratio of z_H", f"{part['H']:.1f}", f"directions in use, of {part['width']}"),
        ("participation ratio of z_L", f"{part['L']:.1f}", f"from {part['states']:,} states of each"),
        ("z_H ÷ z_L", _ratio(part["H_over_L"]), "above 1: the hierarchy of the HRM paper"),
        ("z_H ÷ z_L, untrained", _ratio(untrained["H_over_L"]), "the same architecture with random weights"),
    ]
    depth = found["effective_depth"]
    for name in ("right", "wrong"):
        one = depth[name]
        if one is not None:
            blocks = (
                "" if one["mean_blocks"] is None else f", {one['mean_blocks']:,.0f} blocks one after another"
            )
            rows.append(
                (
                    f"effective depth, {name}",
                    f"{one['mean']:.1f} steps",
                    f"mean of the last step that changes the answer, n = {one['puzzles']}{blocks}",
                )
            )
    stability = found["stability"]
    for one in stability["scales"]:
        what = "undisturbed" if not one["scale"] else f"noise of {one['scale']:g} × the states"
        rows.append(
            (
                f"solved, then {what}",
                f"{one['right_at_end']:.1%}",
                f"right {counted(stability['steps'], 'step')} later, n = {stability['solved']}",
            )
        )
    single = found["one_empty_cell"]
    if single is not None:
        rows.append(
            (
                "one empty cell",
                f"{single['at_end']:.1%}",
                f"right after {counted(single['steps'], 'step')} ({single['after_one']:.1%} after 1), "
                f"n = {single['puzzles']}",
            )
        )
    return rows


def attention_rows(attention: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows: the share of each kind of cell under uniform attention, and in each level from L to H."""
    modules = sorted(attention["modules"], key=lambda name: (name != "L", name == "H", name))
    rows = [
        (
            kind,
            f"{attention['uniform'][kind]:.1%}",
            *(_against(attention["modules"][name][kind], attention["uniform"][kind]) for name in modules),
        )
        for kind in attention["kinds"]
    ]
    if attention["on_empty"]:
        even = attention["uniform_on_empty"]
        rows.append(
            ("empty cells", f"{even:.1%}", *(_against(attention["on_empty"][name], even) for name in modules))
        )
    return ("kind of cell", "uniform", *modules), rows


def _against(share: float, uniform: float) -> str:
    return f"{share:.1%} ({share / uniform:.2f})" if uniform else f"{share:.1%}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
