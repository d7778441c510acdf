"""The model's confidence in each cell, for terminals: as background colors, or as percentages without colors."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from hrm_cli.puzzles.domain import Domain
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.views.drawing import Drawing, draw
from hrm_cli.views.trace import given_cells, styled_grid
from hrm_cli.views.web.boards import confidence_of, shown_chances

if TYPE_CHECKING:
    from rich.text import Text

LEVELS = (
    (95, ""),
    (80, "black on #ffe0b8"),
    (60, "black on #ffb066"),
    (35, "black on #f97316"),
    (0, "white on #b93a07"),
)
"""Lowest confidence in percent, and the style of a cell that has it."""
MOST_COLUMNS = 25
"""Wider grids get one digit a cell, tens of percents, without colors."""
NOT_KEPT = "the confidence of cells is not known: the cells of the answer are not the tokens of the model"


def confidence(domain: Domain, step: TraceStep) -> list[int] | None:
    """The confidence of each cell of a step's grid in percent; None if it was not traced."""
    chances = shown_chances(domain, step)
    return None if chances is None else confidence_of(chances)


def heat_grid(drawing: Drawing, percents: Sequence[int], given: Set[int]) -> Text:
    """A drawing whose cells have the darker a background, the less confident the model is of them."""
    text = styled_grid(drawing, given)
    starts = [sum(len(line) + 1 for line in drawing.lines[:number]) for number in range(len(drawing.lines))]
    if drawing.palette:
        # Colored cells take two columns each, without spaces between them.
        return text
    for cell, (row, column) in enumerate(drawing.cells):
        if cell not in given:
            style = next(style for lowest, style in LEVELS if percents[cell] >= lowest)
            place = starts[row] + column
            text.stylize(style, place, place + len(drawing.symbols[cell]))
    return text


def heat_lines(drawing: Drawing, percents: Sequence[int], given: Set[int]) -> list[str]:
    """The percentages of the cells that are not given, as a grid of numbers up to 99."""
    columns = len(drawing.columns)
    is_wide = columns > MOST_COLUMNS
    shown = [
        ("." if is_wide else " .") if cell in given
        else str(min(percent // 10, 9)) if is_wide else f"{min(percent, 99):2d}"
        for cell, percent in enumerate(percents)
    ]  # fmt: skip
    between = "" if is_wide else " "
    return [between.join(shown[start : start + columns]) for start in range(0, len(shown), columns)]


def last_heat(domain: Domain, solution: Solution, *, has_colors: bool) -> Text | list[str] | None:
    """The confidence at the last step of a solution; None if it was not traced."""
    assert solution.puzzle is not None
    percents = confidence(domain, solution.trace[-1]) if solution.trace else None
    if percents is None:
        return None
    drawing, given = draw(domain, solution.trace[-1].grid), given_cells(domain, solution.puzzle.grid)
    if has_colors and not drawing.palette:
        return heat_grid(drawing, percents, given)
    return heat_lines(drawing, percents, given)
