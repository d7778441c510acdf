"""Draws an ARC task with its answers: as titled grids on a terminal, and as an SVG picture.

Both show the demonstrations and the test input with the answers; the picture also shows the reasoning steps.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import Domain, Grid
from hrm_cli.solving.solution import Solution
from hrm_cli.views.colored import painted
from hrm_cli.views.drawing import Drawing, changed_cells, draw
from hrm_cli.views.svg import MARGIN, document, text_at
from hrm_cli.views.trace import Frame, frames

if TYPE_CHECKING:
    from rich.console import RenderableType

_ARROW = 5
"""Width of the arrow between two grids, including its margins, in columns."""
_GAP = 4
"""Width of the gap between two grids without an arrow, in columns."""


@dataclass(frozen=True)
class TitledGrid:
    """A grid with a title."""

    title: str
    drawing: Drawing
    different: Set[int] = frozenset()
    """Cells that differ from the expected grid; in the expected grid itself, from the first answer."""


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
    """The test input, the two answers, and the expected output if the file has one."""
    assert solution.puzzle is not None
    grids = [TitledGrid(f"test input, {_size(solution.puzzle.grid)}", draw(domain, solution.puzzle.grid))]
    truth = None if solution.truth is None else draw(domain, solution.truth)
    for name, grid in (("answer", solution.answer), ("second answer", solution.second)):
        if grid is None:
            continue
        if name == "second answer" and solution.answer is not None and np.array_equal(grid, solution.answer):
            continue
        drawing = draw(domain, grid)
        different = _different(truth, drawing)
        grids.append(
            TitledGrid(f"{name}, {_size(grid)}{_verdict(grid, solution, different)}", drawing, different)
        )
    if truth is not None and solution.truth is not None:
        answered = None if solution.answer is None else draw(domain, solution.answer)
        grids.append(TitledGrid(f"expected, {_size(solution.truth)}", truth, _different(answered, truth)))
    return grids


def _different(before: Drawing | None, after: Drawing) -> set[int]:
    """Cells that differ; none if the sizes differ, because then nothing says which cells belong together."""
    same_size = before is not None and before.cells == after.cells
    return changed_cells(before, after) if same_size else set()


def _verdict(grid: Grid, solution: Solution, different: Set[int]) -> str:
    if solution.truth is None:
        return ""
    if np.array_equal(grid, solution.truth):
        return ": right"
    if grid.shape != solution.truth.shape:
        return f": wrong size, not {_size(solution.truth)}"
    return f": {len(different)} of {grid.size} wrong"


def _size(grid: Grid) -> str:
    return f"{grid.shape[0]}×{grid.shape[1]}"


def task_view(domain: Domain, solution: Solution, width: int, *, has_digits: bool) -> RenderableType:
    """The task for a terminal of `width` columns, with as many pairs side by side as fit."""
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
            parts += [_line(line, has_digits=has_digits), Text()]
    return Group(*parts)


def _lines(blocks: Sequence[list[TitledGrid]], width: int) -> list[list[_Part]]:
    """Arranges blocks of grids (with arrows between them) in lines that fit.

    If a block is too wide, all take one column a cell; if that does not help, its grids stand one below the other.
    """
    lines: list[list[_Part]] = []
    left = 0
    is_narrow = any(_fitting(block, width)[0].is_narrow for block in blocks)
    for block in blocks:
        for part in _fitting(block, width, is_narrow=is_narrow):
            if not lines or left < part.columns + _GAP:
                lines.append([])
                left = width
            else:
                left -= _GAP
            lines[-1].append(part)
            left -= part.columns
    return lines


def _fitting(block: list[TitledGrid], width: int, *, is_narrow: bool = False) -> list[_Part]:
    for narrow in (False, True):
        whole = _Part(block, narrow or is_narrow)
        if whole.columns <= width:
            return [whole]
    return [_Part([grid], is_narrow or 2 * len(grid.drawing.columns) > width) for grid in block]


@dataclass(frozen=True)
class _Part:
    """Grids that stand side by side, with arrows between them."""

    grids: Sequence[TitledGrid]
    is_narrow: bool
    """One column of the terminal for a cell, instead of two."""

    @property
    def columns(self) -> int:
        """Columns of the terminal that the part takes."""
        cell = 1 if self.is_narrow else 2
        grids = sum(max(cell * len(one.drawing.columns), len(one.title)) for one in self.grids)
        return grids + _ARROW * (len(self.grids) - 1)


def _line(parts: Sequence[_Part], *, has_digits: bool) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=0)
    titles: list[Text] = []
    cells: list[Text] = []
    for number, part in enumerate(parts):
        for place, grid in enumerate(part.grids):
            if number or place:
                middle = "\n" * (len(grid.drawing.rows) // 2)
                between = f"{middle}  →  " if place else " " * _GAP
                titles.append(Text(" " * (_ARROW if place else _GAP)))
                cells.append(Text(between, no_wrap=True))
            titles.append(Text(grid.title, style="dim", no_wrap=True))
            cells.append(
                painted(grid.drawing, grid.different, has_digits=has_digits, is_narrow=part.is_narrow)
            )
    table.add_row(*titles)
    table.add_row(*cells)
    return table


MAX_STEPS = 6
"""Largest number of reasoning steps shown; the last one is the answer of the traced copy."""
WIDTH = 1120
SMALL, LARGE = 150, 220
"""Side of the square around a grid: for demonstrations and steps, and for the test."""
LARGEST_CELL = 28
GAP, ARROW = 28, 44
LETTER = 6.6
"""Estimated width of a character of a grid's title."""
HEAD = 100
"""Vertical position of the first section."""
BEFORE_TITLE = 20


@dataclass(frozen=True)
class _Block:
    """Grids that stay together on one line, with arrows between them."""

    grids: Sequence[TitledGrid]
    side: int
    small_print: str = ""

    @property
    def width(self) -> float:
        """Includes the last title, which may be wider than its grid. Titles before an arrow are short."""
        last = max(self.side, LETTER * len(self.grids[-1].title))
        return (len(self.grids) - 1) * (self.side + ARROW) + last

    @property
    def height(self) -> float:
        tallest = max(_cell(grid, self.side) * len(grid.drawing.rows) for grid in self.grids)
        return tallest + (18 if self.small_print else 0)


def task_picture(domain: Domain, solution: Solution) -> str:
    """The SVG of a task's solution. The solution must have an answer."""
    sections = [
        ("Demonstrations", [_Block(pair, SMALL) for pair in demonstrations(domain, solution)]),
        ("Test", _tested(domain, solution)),
    ]
    if solution.trace:
        copy = f"copy {solution.attempt} of {solution.attempts}, the first that gave the answer"
        sections.append((f"Reasoning steps of {copy}", _steps(domain, solution)))
    parts: list[str] = []
    y: float = HEAD
    for name, blocks in sections:
        parts.append(text_at(MARGIN, y, "label", name))
        y += BEFORE_TITLE
        for line in _picture_lines(blocks):
            x: float = MARGIN
            for block in line:
                parts += _block(block, x, y)
                x += block.width + GAP
            y += 12 + max(block.height for block in line) + GAP
        y += 8
    # Without the path of the file: pictures are shown to others.
    title = f"ARC {solution.where.rpartition(': ')[2]}: {_picture_verdict(solution)}"
    return document(WIDTH, y, title, solution.reason, parts)


def _picture_verdict(solution: Solution) -> str:
    steps = counted(solution.steps, "reasoning step")
    if solution.truth is None:
        return f"answered in {steps}"
    return f"{'solved' if solution.verified else 'not solved'} in {steps}"


def _tested(domain: Domain, solution: Solution) -> list[_Block]:
    grids = tested_grids(domain, solution)
    return [_Block(grids[:2], LARGE), *(_Block([grid], LARGE) for grid in grids[2:])]


def _steps(domain: Domain, solution: Solution) -> list[_Block]:
    thinking = list(frames(domain, solution))
    count = min(MAX_STEPS, len(thinking))
    places = sorted({place * (len(thinking) - 1) // max(count - 1, 1) for place in range(count)})
    return [_Block([_step(thinking[place])], SMALL, thinking[place].halt) for place in places]


def _step(frame: Frame) -> TitledGrid:
    wrong = f", {len(frame.wrong)} wrong" if frame.wrong else ""
    return TitledGrid(f"step {frame.step}{wrong}", frame.drawing, frame.wrong)


def _picture_lines(blocks: Sequence[_Block]) -> list[list[_Block]]:
    lines: list[list[_Block]] = []
    left = 0.0
    for block in blocks:
        if not lines or left < block.width:
            lines.append([])
            left = WIDTH - 2 * MARGIN
        lines[-1].append(block)
        left -= block.width + GAP
    return lines


def _block(block: _Block, left: float, top: float) -> list[str]:
    parts: list[str] = []
    for number, grid in enumerate(block.grids):
        x = left + number * (block.side + ARROW)
        parts.append(text_at(x, top, "small", grid.title))
        parts += _grid(grid, x, top + 8, block.side)
        if block.small_print:
            parts.append(text_at(x, top + 8 + block.height, "small", block.small_print))
        if number:
            middle, tip = top + 8 + block.height / 2, x - ARROW / 2
            parts.append(f'<path class="arrow" d="M{tip - 5:g} {middle - 8:g}l8 8l-8 8"/>')
    return parts


def _cell(grid: TitledGrid, side: int) -> float:
    longest = max(len(grid.drawing.rows), len(grid.drawing.columns), 1)
    return min(side / longest, LARGEST_CELL)


def _grid(grid: TitledGrid, left: float, top: float, side: int) -> list[str]:
    drawing, cell = grid.drawing, _cell(grid, side)
    if not drawing.cells:
        return [text_at(left, top + 16, "small", "(no grid)")]
    rows = {line: number for number, line in enumerate(drawing.rows)}
    columns = {column: number for number, column in enumerate(drawing.columns)}
    boxes, crosses = [], []
    for number, (line, column) in enumerate(drawing.cells):
        x, y = left + columns[column] * cell, top + rows[line] * cell
        color = drawing.palette[drawing.lines[line][column]]
        boxes.append(f'<rect x="{x:g}" y="{y:g}" width="{cell:g}" height="{cell:g}" fill="{color}"/>')
        if number in grid.different:
            part = cell / 2
            crosses.append(
                f"M{x + cell / 4:g} {y + cell / 4:g}l{part:g} {part:g}m0 {-part:g}l{-part:g} {part:g}"
            )
    width, height = cell * len(columns), cell * len(rows)
    mesh = [f"M{left:g} {top + number * cell:g}h{width:g}" for number in range(len(rows) + 1)]
    mesh += [f"M{left + number * cell:g} {top:g}v{height:g}" for number in range(len(columns) + 1)]
    parts = [*boxes, f'<path class="mesh" stroke-width="{min(cell / 16, 0.75):.3g}" d="{"".join(mesh)}"/>']
    if crosses:
        cross = "".join(crosses)
        parts += [
            f'<path class="crossedge" stroke-width="{cell / 5:.3g}" d="{cross}"/>',
            f'<path class="cross" stroke-width="{cell / 10:.3g}" d="{cross}"/>',
        ]
    return parts
