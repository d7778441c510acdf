"""Prints the stability of solved grids as tables, and draws it as a picture."""

from __future__ import annotations

from typing import Any

from fixed_point import EMPTY, FURTHER
from line_chart import Line, Panel, draw
from timed_training import aligned, spread

SHOWN = (1, 2, 5, 10, 20, 30, 40, 50)


def tables(document: dict[str, Any]) -> str:
    """Percentages: mean of the seeds, with minimum and maximum in brackets."""
    facts, size = document["machine"], document["size"]
    lines = [
        f"Machine: {facts['processor']}, {facts['cores']} cores; Python {facts['python']}, torch {facts['torch']}",
        f"{size}×{size} Sudoku, {document['minutes']:g} minutes of CPU time for each run, one thread; "
        "shares in %, mean of the seeds (least–most)",
        "",
        "A solved grid as the puzzle: right after k steps",
        _table(document, [f"k = {k}" for k in SHOWN], lambda run: [run["solved_grid"][k - 1] for k in SHOWN]),
        "",
        "Puzzles that were solved: still right after k further steps",
        _table(document, [f"k = {k}" for k in SHOWN], lambda run: [run["still_right"][k] for k in SHOWN]),
        "",
        "Solved, of held-out puzzles and of grids with so many empty cells",
        _table(
            document,
            ["puzzles", *(f"{empty} empty" for empty in EMPTY)],
            lambda run: [run["solved"], *(run["few_empty"][str(empty)] for empty in EMPTY)],
        ),
    ]
    return "\n".join(lines)


def picture(document: dict[str, Any]) -> str:
    """Three panels: solved grids over steps, solved puzzles over further steps, few empty cells."""
    size = f"{document['size']}×{document['size']}"
    steps, further = range(1, FURTHER + 1), range(FURTHER + 1)
    kinds = [
        (f"{title} (%s)", label, ticks, xs, pick)
        for title, label, ticks, xs, pick in (
            (f"{size}: a solved grid stays solved", "steps", [1, 10, 20, 30, 40, 50], steps,
             lambda run, x: run["solved_grid"][x - 1]),
            (f"{size}: a solved puzzle stays solved", "further steps", [0, 10, 20, 30, 40, 50], further,
             lambda run, x: run["still_right"][x]),
            (f"{size}: few empty cells", "empty cells", list(EMPTY), EMPTY,
             lambda run, x: run["few_empty"][str(x)]),
        )
    ]  # fmt: skip
    panels = []
    for method in dict.fromkeys(run["method"] for run in document["runs"]):
        for title, label, ticks, xs, pick in kinds:
            lines = []
            for number, kind in enumerate(("with", "without")):
                runs = _runs(document, method, kind)
                values = [[pick(run, x) for run in runs] for x in xs]
                lines.append(Line(f"{kind} hints", list(xs), values, dashed=number == 1, color=number))
            panels.append(Panel(title % method, label, lines, ticks))
    return draw(panels, columns=3)


def _table(document: dict[str, Any], heads: list[str], pick: Any) -> str:
    rows = [["", *heads]]
    for method in dict.fromkeys(run["method"] for run in document["runs"]):
        for kind in ("with", "without"):
            picked = [pick(run) for run in _runs(document, method, kind)]
            rows.append([f"{method} {kind} hints", *(spread(column) for column in zip(*picked, strict=True))])
    return aligned(rows)


def _runs(document: dict[str, Any], method: str, kind: str) -> list[dict[str, Any]]:
    return [run for run in document["runs"] if (run["method"], run["kind"]) == (method, kind)]
