"""Prints the comparison of architectures as tables, and draws it as a picture."""

from __future__ import annotations

from typing import Any

from line_chart import Line, Panel, draw
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
        lines += ["", f"{_sides(task)} Sudoku, by minutes of training", _over_time(document, task)]
        lines += [
            "",
            f"{_sides(task)} Sudoku, by inference steps, none of them halting",
            _over_steps(document, task),
        ]
    return "\n".join(lines)


def picture(document: dict[str, Any]) -> str:
    """One row of panels for each task: over minutes, and over inference steps."""
    panels = []
    methods = _names(document, "method")
    for task in _names(document, "task"):
        over_time, over_steps = [], []
        for number, method in enumerate(methods):
            runs = _runs(document, task, method)
            count = min(len(run["curve"]) for run in runs)
            curves = [run["curve"][:count] for run in runs]
            minutes = [sum(c[i]["minutes"] for c in curves) / len(curves) for i in range(count)]
            values = [[c[i]["exact_accuracy"] for c in curves] for i in range(count)]
            over_time.append(Line(method, [0, *minutes], [[0.0] * len(runs), *values], color=number))
            steps = _steps(runs)
            answers = [[run["by_inference_step"][str(step)] for run in runs] for step in steps]
            over_steps.append(Line(method, steps, answers, color=number))
        end = _minutes(document, task)
        panels.append(
            Panel(
                f"{_sides(task)} Sudoku: exact accuracy",
                "minutes of training, one core",
                over_time,
                [0, end / 4, end / 2, 3 * end / 4, end],
            )
        )
        panels.append(
            Panel(
                f"{_sides(task)} Sudoku: and with more steps",
                "inference steps",
                over_steps,
                [step for step in (1, 4, 16, 64, 200) if step <= over_steps[0].x[-1]],
                True,
            )
        )
    return draw(panels)


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


def _sides(task: str) -> str:
    return task.replace("x", "×")


def _names(document: dict[str, Any], key: str) -> list[str]:
    return list(dict.fromkeys(run[key] for run in document["runs"]))


def _runs(document: dict[str, Any], task: str, method: str | None = None) -> Runs:
    return [run for run in document["runs"] if run["task"] == task and method in (None, run["method"])]
