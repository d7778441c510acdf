"""Output of `hrm runs compare`: best figures, settings that differ, and one chart per figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_fitting, print_gap
from hrm_cli.printable import clock
from hrm_cli.runs.listing import differing_settings
from hrm_cli.runs.records import Curve, RunRecords
from hrm_cli.views.charts import FIGURES, SEVERAL, Figure, letter, overlay

_DATA = {"train": "training", "eval": "evaluations"}


def setting_value(value: Any) -> str:
    """A setting in one-line YAML notation: null, true, [1, 2], text without quotes."""
    return value if isinstance(value, str) else json.dumps(json_value(value), ensure_ascii=False)


def json_value(value: Any) -> Any:
    """A setting in JSON's types: tuples become lists, sections become objects."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def comparison_document(runs: Sequence[RunRecords]) -> dict[str, Any]:
    """The JSON document of `hrm runs compare`."""
    return {
        "runs": [run.document() for run in runs],
        "settings": [{"key": key, "values": values} for key, values in differing_settings(runs)],
        "curves": [
            {
                "figure": figure.title,
                "data": data,
                "runs": [
                    {"run": str(run.folder), "steps": curve.steps, "values": curve.values}
                    for run, curve in zip(runs, curves, strict=True)
                ],
            }
            for figure in FIGURES
            for data, curves in [_curves(runs, figure)]
        ],
    }


def show_comparison(runs: Sequence[RunRecords], width: int) -> None:
    """Prints the best figures side by side, the settings that differ, and one chart per figure."""
    names = [letter(number) for number in range(len(runs))]
    rows = [(name, *_figures(run)) for name, run in zip(names, runs, strict=True)]
    columns = ("", "run", "state", "step", "best exact", "at step", "cells", "loss", "time")
    console.print_table(columns, rows, folds=(), drops=("loss", "cells", "at step", "state"))
    print_gap()
    settings = differing_settings(runs)
    if settings:
        console.print_table(
            ("setting", *names), [(key, *map(setting_value, values)) for key, values in settings]
        )
    else:
        console.print_line("The runs have the same settings.")
    for figure in FIGURES:
        data, curves = _curves(runs, figure)
        if any(curve.values for curve in curves):
            print_gap()
            title, *lines = overlay(
                f"{figure.title} ({_DATA[data]})", curves, width=width, share=figure.is_share
            )
            print_fitting(title)
            for line in lines:
                console.print_line(line)
    print_gap()
    for name, run in zip(names, runs, strict=True):
        console.print_line(f"{name} {run.folder}")
    print_fitting(f"{SEVERAL} more than one of them")


def _curves(runs: Sequence[RunRecords], figure: Figure) -> tuple[str, list[Curve]]:
    """`eval` and the evaluation curves if all runs have them, otherwise `train` and the training curves."""
    evaluated = [run.curve("eval", figure.evaluation) if figure.evaluation else Curve([], []) for run in runs]
    if all(curve.values for curve in evaluated):
        return "eval", evaluated
    return "train", [run.curve("train", figure.training) for run in runs]


def _figures(run: RunRecords) -> tuple[object, ...]:
    best, losses = run.best or {}, run.curve("train", "loss").values
    cells = best.get("cell_accuracy")
    return (
        str(run.folder),
        run.state,
        run.step,
        f"{best['exact_accuracy']:.2%}" if best else "",
        f"{best['step']:,}" if best else "",
        f"{cells:.2%}" if isinstance(cells, int | float) else "",
        f"{losses[-1]:.3f}" if losses else "",
        "" if run.seconds is None else clock(run.seconds),
    )
