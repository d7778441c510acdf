"""Displays the grid after every reasoning step: changed cells, wrong cells, and the model's confidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import Domain, Grid
from hrm_cli.solving.solution import Solution
from hrm_cli.views.colored import painted
from hrm_cli.views.drawing import BLANK, SOLID, Drawing, changed_cells, draw

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

CHANGE_MARK = "*"
"""Marks a changed cell in output without colors."""

EMPTY, GIVEN, ANSWERED, CHANGED, WRONG = "dim", "bold", "cyan", "black on yellow", "bold red"
"""Rich styles of cells. A cell that is both changed and wrong stays red."""
FILLED = "bright_black on bright_black"
"""Style of a wall. It includes the space after the wall, so that cells look nearly square."""


@dataclass(frozen=True)
class Frame:
    """One reasoning step in displayable form."""

    step: int
    drawing: Drawing
    changed: set[int]
    """Cells whose answer differs from the previous step; empty at the first step."""
    wrong: set[int]
    """Cells that differ from the unique solution; if there is more than one solution, changed givens."""
    probability: float
    """The sigmoid of the halt value."""
    halt_name: str = "halt probability"
    """What that is for this model (`ArchConfig.halt_name`)."""

    @property
    def halt(self) -> str:
        """`halt 62 %`, or `confidence 62 %`."""
        return f"{self.halt_name.removesuffix(' probability')} {self.probability:.0%}"

    @property
    def title(self) -> str:
        """`step 3: halt 62 %, 5 cells changed`."""
        cells = "cell" if len(self.changed) == 1 else "cells"
        change = "first answer" if self.step == 1 else f"{len(self.changed)} {cells} changed"
        wrong = f", {len(self.wrong)} wrong" if self.wrong else ""
        return f"step {self.step}: {self.halt}, {change}{wrong}"


def frames(domain: Domain, solution: Solution) -> Iterator[Frame]:
    """The steps of a solution that was traced."""
    before: Drawing | None = None
    for step in solution.trace:
        drawing = draw(domain, step.grid)
        yield Frame(
            step.step,
            drawing,
            changed_cells(before, drawing),
            wrong_cells(domain, solution, drawing),
            halt_probability(step.q_halt),
            solution.halt_name,
        )
        before = drawing


def wrong_cells(domain: Domain, solution: Solution, answer: Drawing) -> set[int]:
    """Cells of an answer that are known to be wrong."""
    assert solution.puzzle is not None
    if solution.verified and solution.answer is not None and answer == draw(domain, solution.answer):
        # A verified answer has no wrong cells, even if it differs from the expected one, such as a longer path in a
        # maze.
        return set()
    if solution.truth is not None:
        truth = draw(domain, solution.truth)
        if truth.cells != answer.cells:
            # An answer of another size (ARC, own puzzles): nothing says which cells belong together.
            return set()
        return changed_cells(truth, answer)
    puzzle = solution.puzzle.grid
    return changed_cells(draw(domain, puzzle), answer) & given_cells(domain, puzzle)


def halt_probability(q_halt: float) -> float:
    """Sigmoid of a halt value, without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * q_halt))


def plain_lines(frame: Frame) -> list[str]:
    """A step as plain lines: its title, then the grid with a star after every changed cell."""
    lines = [f"{line} " for line in frame.drawing.lines]
    symbols = frame.drawing.symbols
    for cell in frame.changed:
        row, column = frame.drawing.cells[cell]
        column += len(symbols[cell]) - 1  # own puzzles may have words
        line = lines[row]
        lines[row] = f"{line[: column + 1]}{CHANGE_MARK}{line[column + 2 :]}"
    return [frame.title, *(f"  {line}".rstrip() for line in lines)]


PLAIN_STEPS = 6
"""Most grids of colored cells (ARC) in a plain trace; each may take 30 lines."""


def plain_trace(steps: Sequence[Frame]) -> Iterator[str]:
    """All steps as plain lines.

    Of ARC tasks, the grid is shown only after the first and last of the steps that change it, at most `PLAIN_STEPS` in
    all; every step has its title.
    """
    bounded = bool(steps) and bool(steps[0].drawing.palette)
    changing = [number for number, frame in enumerate(steps) if number == 0 or frame.changed]
    half = PLAIN_STEPS // 2
    shown = set(changing[:half] + changing[half:][-half:]) if bounded else set(range(len(steps)))
    for number, frame in enumerate(steps):
        yield from plain_lines(frame)[: None if number in shown else 1]
    if left := len(steps) - len(shown):
        note = f"no cell changed, or more than {PLAIN_STEPS} grids; --json has all"
        yield f"{counted(left, 'step')} without the grid: {note}"


def rich_frame(frame: Frame, given: Set[int], *, has_digits: bool = False) -> RenderableType:
    """A step for terminals: givens bold, changed cells on yellow, wrong ones red.

    Colored domains show their colors, and digits if `has_digits`.
    """
    from rich.console import Group
    from rich.text import Text

    grid = styled_grid(frame.drawing, given, frame.changed, frame.wrong, has_digits=has_digits)
    return Group(Text(frame.title.replace(": ", "\n", 1), style="dim"), grid, "")


def styled_grid(
    drawing: Drawing,
    given: Set[int],
    changed: Set[int] = frozenset(),
    wrong: Set[int] = frozenset(),
    *,
    has_digits: bool = False,
) -> Text:
    """A drawing in colors."""
    from rich.text import Text

    if drawing.palette:
        return painted(drawing, wrong, has_digits=has_digits)
    text = Text("\n".join(drawing.lines), no_wrap=True)
    starts = [sum(len(line) + 1 for line in drawing.lines[:i]) for i in range(len(drawing.lines))]
    symbols = drawing.symbols
    for cell, (row, column) in enumerate(drawing.cells):
        place = starts[row] + column
        style = GIVEN if cell in given else EMPTY if drawing.lines[row][column] == BLANK else ANSWERED
        is_solid = drawing.texts is None and drawing.lines[row][column] == SOLID
        if is_solid:
            style = FILLED
        if cell in changed:
            style = CHANGED
        if cell in wrong:
            style = f"{WRONG} on yellow" if cell in changed else WRONG
        end = place + len(symbols[cell])
        if is_solid and column + 1 < len(drawing.lines[row]):
            end += 1
        text.stylize(style, place, end)
    return text


def given_cells(domain: Domain, puzzle: Grid) -> set[int]:
    """The cells that are given in the puzzle."""
    drawing = draw(domain, puzzle)
    if drawing.palette or drawing.texts is not None:
        # The input of an ARC task or an own puzzle is not part of its answer.
        return set()
    return {cell for cell, symbol in enumerate(drawing.symbols) if symbol != BLANK}
