"""An ARC task with its answers, as grids with titles: what a terminal and a picture show of it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hrm_cli.puzzles.domain import Domain, Grid
from hrm_cli.solving.solution import Solution
from hrm_cli.views.colored import painted
from hrm_cli.views.drawing import Drawing, changed_cells, draw

if TYPE_CHECKING:
    from rich.console import RenderableType

_ARROW = 5
"""Columns that the arrow between two grids takes with its margins."""
_APART = 4
"""Columns between two grids without an arrow."""


@dataclass(frozen=True)
class TitledGrid:
    """One grid with what it is."""

    title: str
    drawing: Drawing
    different: Set[int] = frozenset()
    """Cells that differ from what was expected; of the expected grid, from the first answer."""


def demonstrations(domain: Domain, solution: Solution) -> list[tuple[TitledGrid, TitledGrid]]:
    """The task's input and output pairs."""
    return [
        (
            TitledGrid(f"demonstration {number}, {_size(given)}", draw(domain, given)),
            TitledGrid(f"output, {_size(output)}", draw(domain, output)),
        )
        for number, (given, output) in enumerate(solution.demonstrations, start=1)
    ]


def tested_grids(domain: Domain, solution: Solution) -> list[TitledGrid]:
    """The test input, the two answers, and the expected one where the file has it."""
    assert solution.puzzle is not None
    grids = [TitledGrid(f"test input, {_size(solution.puzzle.grid)}", draw(domain, solution.puzzle.grid))]
    truth = None if solution.truth is None else draw(domain, solution.truth)
    for name, grid in (("answer", solution.answer), ("second answer", solution.second)):
        if grid is None:
            continue
        if name == "second answer" and solution.answer is not None and np.array_equal(grid, solution.answer):
            continue
        drawing = draw(domain, grid)
        different = changed_cells(truth, drawing)
        grids.append(
            TitledGrid(f"{name}, {_size(grid)}{_verdict(grid, solution, different)}", drawing, different)
        )
    if truth is not None and solution.truth is not None:
        answered = None if solution.answer is None else draw(domain, solution.answer)
        grids.append(TitledGrid(f"expected, {_size(solution.truth)}", truth, changed_cells(answered, truth)))
    return grids


def _verdict(grid: Grid, solution: Solution, different: Set[int]) -> str:
    if solution.truth is None:
        return ""
    if np.array_equal(grid, solution.truth):
        return ": right"
    if grid.shape != solution.truth.shape:
        return ": wrong size"
    return f": {len(different)} of {grid.size} wrong"


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]}×{grid.shape[1]}"


def task_view(domain: Domain, solution: Solution, width: int, *, has_digits: bool) -> RenderableType:
    """The task for a terminal of `width` columns: pairs side by side as far as they fit."""
    from rich.console import Group
    from rich.text import Text

    rows: list[list[list[TitledGrid]]] = [[]]
    for pair in demonstrations(domain, solution):
        rows[0].append(list(pair))
    tested = tested_grids(domain, solution)
    rows.append([tested[:2], *([grid] for grid in tested[2:])])
    parts: list[RenderableType] = []
    for blocks in rows:
        for line in _lines(blocks, width):
            parts += [_line(line, width, has_digits=has_digits), Text()]
    return Group(*parts)


def _lines(blocks: Sequence[list[TitledGrid]], width: int) -> list[list[list[TitledGrid]]]:
    """The blocks, each of grids with arrows between them, in lines that fit; a block that does not is split."""
    lines: list[list[list[TitledGrid]]] = []
    left = 0
    for block in blocks:
        needed = sum(map(_columns, block)) + _ARROW * (len(block) - 1)
        parts = [block] if needed <= width else [[grid] for grid in block]
        for part in parts:
            needed = sum(map(_columns, part)) + _ARROW * (len(part) - 1)
            if not lines or left < needed + _APART:
                lines.append([])
                left = width
            else:
                left -= _APART
            lines[-1].append(part)
            left -= needed
    return lines


def _columns(grid: TitledGrid) -> int:
    return max(2 * len(grid.drawing.columns), len(grid.title))


def _line(blocks: Sequence[list[TitledGrid]], width: int, *, has_digits: bool) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=0)
    titles: list[Text] = []
    cells: list[Text] = []
    for number, block in enumerate(blocks):
        for place, grid in enumerate(block):
            if number or place:
                middle = "\n" * (len(grid.drawing.rows) // 2)
                between = f"{middle}  →  " if place else " " * _APART
                titles.append(Text(" " * (_ARROW if place else _APART)))
                cells.append(Text(between, no_wrap=True))
            titles.append(Text(grid.title, style="dim", no_wrap=True))
            is_narrow = 2 * len(grid.drawing.columns) > width
            cells.append(painted(grid.drawing, grid.different, has_digits=has_digits, is_narrow=is_narrow))
    table.add_row(*titles)
    table.add_row(*cells)
    return table
