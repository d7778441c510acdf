"""Plots accuracy against FLOPs for all kinds of effort, from benchmarks/results/effort.txt and hard_lists.txt.

python benchmarks/effort_shown.py    # writes docs/pictures/effort.svg
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from line_chart import Line, Panel, draw

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
PICTURE = REPOSITORY / "docs" / "pictures" / "effort.svg"
_ROW = re.compile(r"^(\S+) +([\d.]+)% \(\S+ to \S+\) +([\d.,]+) +(\S+)(?: |$)", re.MULTILINE)
_MODEL = re.compile(r"^bundled:(\S+), (\d+) puzzles", re.MULTILINE)
NAMES = {"depth": "depth × 4", "copies-8": "copies", "restarts-8": "restarts", "restarts-32": "restarts",
         "search-64": "search"}  # fmt: skip
"""Plotted kinds; all numbers of restarts form one line."""
_FEET = (0.0, 0.2, 0.6, 0.8, 0.92)
"""Lower limits of the vertical axis that give round labels at its five grid lines."""


@dataclass(frozen=True)
class Reached:
    """One line of a table of results."""

    solved: float
    """Fraction of puzzles."""
    steps: float
    flops: float
    """Total FLOPs per puzzle."""


def rows(text: str) -> dict[str, Reached]:
    """The lines of a table, by kind."""
    return {
        kind: Reached(float(solved) / 100, float(steps.replace(",", "")), float(flops))
        for kind, solved, steps, flops in _ROW.findall(text)
    }


def tables(text: str) -> list[tuple[str, int, dict[str, Reached]]]:
    """Model, number of puzzles and lines of every table of effort.txt."""
    heads = list(_MODEL.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [
        (head[1], int(head[2]), rows(text[head.end() : end])) for head, end in zip(heads, ends, strict=True)
    ]


def picture() -> str:
    """A panel for all hard lists, and one for each model and its sample."""
    hard = rows((RESULTS / "hard_lists.txt").read_text(encoding="utf-8"))
    curve = [hard[name] for name in hard if name != "high"]
    panels = [
        _panel("sudoku-any-size: 1,996 hard puzzles", [("search, by its steps", curve)], (30, 50, 70, 100))
    ]
    ticks = {"sudoku-any-size": (30, 50, 70, 120), "sudoku-9x9": (10, 30, 100, 300, 1000),
             "maze-10x10": (3, 4, 5)}  # fmt: skip
    shown = set()
    for model, count, found in tables((RESULTS / "effort.txt").read_text(encoding="utf-8")):
        if model in shown:
            continue  # the mazes that the model was not trained for
        shown.add(model)
        kinds = [(NAMES[kind], [found["pass"], found[kind]]) for kind in NAMES if kind in found]
        panels.append(_panel(f"{model}: {count} puzzles", kinds, ticks[model]))
    return draw(panels)


def _panel(title: str, kinds: list[tuple[str, list[Reached]]], ticks: tuple[float, ...]) -> Panel:
    lowest = min(min(one.solved for one in points) for _, points in kinds)
    lines = [
        Line(name, [one.flops / 1e9 for one in points], [[one.solved] for one in points], color=number)
        for number, (name, points) in enumerate(kinds)
    ]
    foot = max(foot for foot in _FEET if foot <= lowest)
    return Panel(title, "billions of FLOPs per puzzle", lines, ticks, logarithmic=True, lowest=foot)


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
