"""Draws a solution as SVG: the puzzle, some reasoning steps and the answer."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import Domain
from hrm_cli.solving.solution import Solution
from hrm_cli.views.drawing import BLANK, DOT, SOLID, Drawing, changed_cells, draw
from hrm_cli.views.svg import MARGIN, box_at, document, text_at
from hrm_cli.views.tasks import task_picture
from hrm_cli.views.trace import Frame, frames, given_cells, wrong_cells

MAX_STEPS = 4
"""Number of reasoning steps shown next to the puzzle; the last one is the answer."""

GAP = 40
TOP, BOTTOM = 124, 96
GRID_SIDE = 216
LARGEST_DIGIT = 28
DIGIT_MIDDLE = 0.36
"""Height of a digit's center above its baseline, in font sizes. Not every viewer can center text vertically."""


@dataclass(frozen=True)
class Panel:
    """One grid of the picture."""

    label: str
    drawing: Drawing
    model_class: str = "model"
    changed: Set[int] = frozenset()
    wrong: Set[int] = frozenset()
    probability: float | None = None
    halt_name: str = ""
    verdict: str = ""


def solve_picture(domain: Domain, solution: Solution) -> str:
    """The SVG of a solution with an answer, including some intermediate steps if they were traced."""
    assert solution.puzzle is not None
    assert solution.answer is not None
    if solution.demonstrations:
        return task_picture(domain, solution)
    given = given_cells(domain, solution.puzzle.grid)
    panels = _panels(domain, solution)
    width = 2 * MARGIN + len(panels) * GRID_SIDE + (len(panels) - 1) * GAP
    height = TOP + GRID_SIDE + BOTTOM
    steps = counted(solution.steps, "reasoning step")
    title = f"{domain.describe()}: {'solved' if solution.verified else 'not solved'} in {steps}"
    parts: list[str] = []
    for number, panel in enumerate(panels):
        left = MARGIN + number * (GRID_SIDE + GAP)
        parts += _panel(panel, left, given)
        if number:
            middle, x = TOP + GRID_SIDE // 2, left - GAP // 2
            parts.append(f'<path class="arrow" d="M{x - 5} {middle - 8}l8 8l-8 8"/>')
    parts += _legend(panels, height - 24)
    return document(width, height, title, _subtitle(solution), parts)


def _panels(domain: Domain, solution: Solution) -> list[Panel]:
    assert solution.puzzle is not None
    assert solution.answer is not None
    thinking = list(frames(domain, solution))
    panels = [Panel("puzzle", draw(domain, solution.puzzle.grid))]
    shown: Drawing | None = None
    for frame in _chosen(thinking):
        is_answer = frame is thinking[-1]
        panels.append(
            Panel(
                f"step {frame.step}",
                frame.drawing,
                "right" if is_answer and solution.verified else "model",
                # Compare with the previous grid in the picture; steps in between are not shown.
                changed_cells(shown, frame.drawing),
                frame.wrong,
                frame.probability,
                frame.halt_name,
                ("✓ verified" if solution.verified else "✗ breaks a rule") if is_answer else "",
            )
        )
        shown = frame.drawing
    if not thinking:
        answer = draw(domain, solution.answer)
        verdict = "✓ verified" if solution.verified else "✗ breaks a rule"
        wrong = wrong_cells(domain, solution, answer)
        panels.append(
            Panel("answer", answer, "right" if solution.verified else "model", wrong=wrong, verdict=verdict)
        )
    return panels


def _chosen(thinking: Sequence[Frame]) -> list[Frame]:
    """The first step, the last, and others evenly spaced between them; empty if nothing was traced."""
    if not thinking:
        return []
    count = min(MAX_STEPS, len(thinking))
    places = {len(thinking) - 1} | {i * (len(thinking) - 1) // max(count - 1, 1) for i in range(count)}
    return [thinking[place] for place in sorted(places)]


def _subtitle(solution: Solution) -> str:
    if solution.verified:
        return "The answer was checked against the rules, not against a stored solution."
    return f"Rule violation: {solution.reason}"


def _panel(panel: Panel, left: int, given: Set[int]) -> list[str]:
    drawing = panel.drawing
    rows = {line: number for number, line in enumerate(drawing.rows)}
    columns = {column: number for number, column in enumerate(drawing.columns)}
    cell_height, cell_width = GRID_SIDE / len(rows), GRID_SIDE / len(columns)
    size = min((0.9 if drawing.is_plan else 0.62) * min(cell_width, cell_height), LARGEST_DIGIT)
    parts = [text_at(left, TOP - 14, "label", panel.label)]
    if panel.verdict:
        verdict_class = "right" if panel.model_class == "right" else "wrong"
        parts.append(text_at(left + GRID_SIDE, TOP - 14, f"verdict {verdict_class}", panel.verdict))
    boxes, symbols = [], []
    for cell, (line, column) in enumerate(drawing.cells):
        x, y = left + columns[column] * cell_width, TOP + rows[line] * cell_height
        symbol = drawing.lines[line][column]
        is_written = symbol not in (BLANK, SOLID, DOT)
        box = "endbox" if drawing.is_plan and is_written else "givenbox" if cell in given else None
        if symbol == SOLID:
            box = "solidbox"
        if box or cell in panel.changed:
            boxes.append(box_at(box or "changedbox", x, y, cell_width, cell_height))
        kind = "wrong" if cell in panel.wrong else "given" if cell in given else panel.model_class
        if symbol == DOT or (symbol == BLANK and kind == "wrong" and drawing.is_plan):
            dot = kind if symbol == DOT else "missed"
            symbols.append(_dot(dot, x + cell_width / 2, y + cell_height / 2, min(cell_width, cell_height)))
        elif is_written:
            middle = y + cell_height / 2 + DIGIT_MIDDLE * size
            text_class = "end" if box == "endbox" else kind
            symbols.append(text_at(x + cell_width / 2, middle, f"cell {text_class}", symbol))
    parts += [*boxes, *_lines(drawing, left, cell_width, cell_height)]
    return [*parts, f'<g font-size="{size:.3g}">', *symbols, "</g>", *_footer(panel, left)]


def _dot(style: str, x: float, y: float, cell: float) -> str:
    return f'<circle class="{style}" cx="{x:g}" cy="{y:g}" r="{0.32 * cell:.3g}"/>'


def _lines(drawing: Drawing, left: int, cell_width: float, cell_height: float) -> list[str]:
    frame = f'<rect class="frame" x="{left}" y="{TOP}" width="{GRID_SIDE}" height="{GRID_SIDE}" rx="2"/>'
    if drawing.is_plan:
        return [frame]
    thin: list[str] = []
    thick: list[str] = []
    for number in range(1, len(drawing.rows)):
        y = TOP + number * cell_height
        (thick if number in drawing.ruled_rows else thin).append(f"M{left} {y:g}h{GRID_SIDE}")
    for number in range(1, len(drawing.columns)):
        x = left + number * cell_width
        (thick if number in drawing.ruled_columns else thin).append(f"M{x:g} {TOP}v{GRID_SIDE}")
    return [f'<path class="thin" d="{"".join(thin)}"/>', f'<path class="thick" d="{"".join(thick)}"/>', frame]


def _footer(panel: Panel, left: int) -> list[str]:
    if panel.probability is None:
        return []
    y = TOP + GRID_SIDE + 16
    filled = GRID_SIDE * panel.probability
    return [
        f'<rect class="track" x="{left}" y="{y}" width="{GRID_SIDE}" height="6" rx="3"/>',
        f'<rect class="bar" x="{left}" y="{y}" width="{filled:.4g}" height="6" rx="3"/>',
        text_at(left, y + 24, "small", f"{panel.halt_name} {panel.probability:.0%}"),
    ]


def _legend(panels: Sequence[Panel], y: int) -> list[str]:
    """The legend of the colors that occur."""
    is_plan = panels[0].drawing.is_plan
    entries = [("given", "solidbox", "wall")] if is_plan else [("given", "givenbox", "given")]
    if any(panel.model_class == "model" for panel in panels[1:]):
        entries.append(("model", "", "the model's"))
    if any(panel.changed for panel in panels):
        entries.append(("model", "changedbox", "changed since the grid before"))
    if any(panel.wrong for panel in panels):
        entries.append(("wrong", "", "wrong"))
    if any(panel.model_class == "right" for panel in panels):
        entries.append(("right", "", "verified"))
    parts, x = [], MARGIN
    for symbol_class, box_class, meaning in entries:
        sample = (
            f'<g font-size="12">{text_at(x + 9, y - 5 + 12 * DIGIT_MIDDLE, f"cell {symbol_class}", "5")}</g>'
        )
        if is_plan:
            sample = "" if box_class == "solidbox" else _dot(symbol_class, x + 9, y - 5, 18)
        parts += [
            f'<rect class="{box_class or "plainbox"}" x="{x}" y="{y - 14}" width="18" height="18" rx="3"/>',
            sample,
            text_at(x + 25, y, "small", meaning),
        ]
        x += 25 + 20 + round(6.2 * len(meaning))
    return parts
