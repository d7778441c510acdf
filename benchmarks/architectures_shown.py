"""Prints the comparison of architectures as tables, and draws it as a picture."""

from __future__ import annotations

from typing import Any

from line_chart import Line, Panel, draw
from methods import MIXERS, mixers
from timed_training import aligned, spread

Runs = list[dict[str, Any]]


def tables(document: dict[str, Any]) -> str:
    """Exact accuracy over minutes and over inference steps: mean of the seeds, minimum and maximum in brackets."""
    facts = document["machine"]
    lines = [
        f"Machine: {facts['processor']}, {facts['cores']} cores; Python {facts['python']}, torch {facts['torch']}",
        "Minutes of CPU time, one thread; exact accuracy on held-out puzzles in %, mean of the seeds "
        "(least–most)",
    ]
    for task in _names(document, "task"):
        lines += ["", f"{_title(task)}, by minutes of training", _over_time(document, task)]
        lines += [
            "",
            f"{_title(task)}, by inference steps, none of them halting",
            _over_steps(document, task),
        ]
    return "\n".join(lines)


def picture(document: dict[str, Any]) -> str:
    """One row of panels for each task: over minutes, and over inference steps."""
    panels = []
    for task in _names(document, "task"):
        runs = [_runs(document, task, method) for method in _names(document, "method")]
        panels += [_minutes_panel(document, task, "exact accuracy", runs), _steps_panel(task, runs)]
    return draw(panels)


def picture_by_mixer(document: dict[str, Any]) -> str:
    """One row of panels for each task, with a panel over minutes for each mixer of the set `mixers`."""
    panels = []
    for task in _names(document, "task"):
        for mixer in MIXERS:
            named = [_runs(document, task, name) for name in mixers() if name.endswith(f", {mixer}")]
            panels.append(_minutes_panel(document, task, mixer, [runs for runs in named if runs]))
    return draw(panels, len(MIXERS))


def _minutes_panel(document: dict[str, Any], task: str, title: str, methods: list[Runs]) -> Panel:
    lines = []
    for number, runs in enumerate(methods):
        count = min(len(run["curve"]) for run in runs)
        curves = [run["curve"][:count] for run in runs]
        minutes = [sum(c[i]["minutes"] for c in curves) / len(curves) for i in range(count)]
        values = [[c[i]["exact_accuracy"] for c in curves] for i in range(count)]
        name = runs[0]["method"].removesuffix(f", {title}")
        lines.append(Line(name, [0, *minutes], [[0.0] * len(runs), *values], color=number))
    end = _minutes(document, task)
    ticks = [0, end / 4, end / 2, 3 * end / 4, end]
    return Panel(f"{_title(task)}: {title}", "minutes of training, one core", lines, ticks)


def _steps_panel(task: str, methods: list[Runs]) -> Panel:
    steps = _steps(methods[0])
    lines = []
    for number, runs in enumerate(methods):
        answers = [[run["by_inference_step"][str(step)] for run in runs] for step in steps]
        lines.append(Line(runs[0]["method"], steps, answers, color=number))
    ticks = [step for step in (1, 4, 16, 64, 200) if step <= steps[-1]]
    return Panel(f"{_title(task)}: and with more steps", "inference steps", lines, ticks, True)


def _over_time(document: dict[str, Any], task: str) -> str:
    rows = []
    # Up to four of the evaluations, the last one included.
    count = min(len(run["curve"]) for run in _runs(document, task))
    shown = min(count, 4)
    places = [count * i // shown - 1 for i in range(1, shown + 1)]
    for method in _names(document, "method"):
        runs = _runs(document, task, method)
        points = [run["curve"] for run in runs]
        shares = [spread([curve[place]["exact_accuracy"] for curve in points]) for place in places]
        steps = sum(run["steps"] for run in runs) / len(runs)
        seen = sum(run["curve"][-1]["examples"] for run in runs) / len(runs)
        rows.append([method, f"{runs[0]['parameters']:,}", f"{steps:,.0f}", f"{seen:,.0f}", *shares])
    times = [f"{_minutes(document, task) * (place + 1) / count:.3g} min" for place in places]
    return aligned([["", "parameters", "steps", "rows", *times], *rows])


def _over_steps(document: dict[str, Any], task: str) -> str:
    shown = [step for step in _steps(_runs(document, task)) if step in (1, 2, 4, 8, 16, 32, 64, 100, 200)]
    rows = []
    for method in _names(document, "method"):
        runs = _runs(document, task, method)
        rows.append(
            [method, *(spread([run["by_inference_step"][str(step)] for run in runs]) for step in shown)]
        )
    return aligned([["", *map(str, shown)], *rows])


def _steps(runs: Runs) -> list[int]:
    """The inference steps after which answers were compared."""
    return [int(step) for step in runs[0]["by_inference_step"]]


def _minutes(document: dict[str, Any], task: str) -> float:
    return float(next(run["minutes"] for run in document["runs"] if run["task"] == task))


def _title(task: str) -> str:
    sides = task.removeprefix("mazes-").replace("x", "×")
    return f"{sides} mazes" if task.startswith("mazes-") else f"{sides} Sudoku"


def _names(document: dict[str, Any], key: str) -> list[str]:
    return list(dict.fromkeys(run[key] for run in document["runs"]))


def _runs(document: dict[str, Any], task: str, method: str | None = None) -> Runs:
    return [run for run in document["runs"] if run["task"] == task and method in (None, run["method"])]
