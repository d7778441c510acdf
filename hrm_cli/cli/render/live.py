"""`hrm solve --live`: plays the reasoning steps of a puzzle in place on a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hrm_cli.puzzles.domain import Domain
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.views.colored import needs_digits
from hrm_cli.views.heat import confidence, heat_grid
from hrm_cli.views.trace import Frame, frames, given_cells, plain_lines, styled_grid

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

STEP_SECONDS, SHORTEST_SECONDS, ALL_SECONDS = 0.5, 0.04, 15.0
"""Time that a step is shown; less if there are many, so that all take at most `ALL_SECONDS`."""
_BAR = 24
_BELOW = 1
"""Lines that stay free below the animation."""


def play(terminal: Console, domain: Domain, solution: Solution, *, heat: bool = False) -> None:
    """Shows one step after the other in the same place, and removes the last one at the end.

    An interrupt ends it and leaves the cursor as it was.
    """
    from rich.live import Live

    assert solution.puzzle is not None
    steps = list(zip(solution.trace, frames(domain, solution), strict=True))
    pause = max(SHORTEST_SECONDS, min(STEP_SECONDS, ALL_SECONDS / max(len(steps), 1)))
    given = given_cells(domain, solution.puzzle.grid)
    with Live(console=terminal, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        for step, frame in steps:
            live.update(
                _shown(terminal, domain, step, frame, given, heat=heat, last=len(steps)), refresh=True
            )
            time.sleep(pause)


def _shown(
    terminal: Console,
    domain: Domain,
    step: TraceStep,
    frame: Frame,
    given: set[int],
    *,
    heat: bool,
    last: int,
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    title = Text(f"{frame.title} (of {last})", no_wrap=True, overflow="ellipsis")
    bar = Text.assemble(
        ("━" * round(_BAR * frame.probability), "magenta"),
        ("─" * (_BAR - round(_BAR * frame.probability)), "dim"),
        f" {frame.probability:.0%}",
    )
    is_colored = bool(frame.drawing.palette)
    width = 2 * len(frame.drawing.columns) if is_colored else max(map(len, frame.drawing.lines), default=0)
    height = len(frame.drawing.lines) + 2 + _BELOW
    if width > terminal.width or height > terminal.height:
        note = f"(the grid needs a terminal of {width}×{height}; this one has {terminal.width}×{terminal.height})"
        return Group(title, bar, Text(note, style="dim"))
    percents = confidence(domain, step) if heat else None
    if percents is not None and not terminal.no_color and not is_colored:
        return Group(title, bar, heat_grid(frame.drawing, percents, given))
    if terminal.no_color and not is_colored:
        # Without colors, a star marks changed cells.
        return Group(title, bar, Text("\n".join(plain_lines(frame)[1:]), no_wrap=True))
    grid = styled_grid(frame.drawing, given, frame.changed, frame.wrong, has_digits=needs_digits(terminal))
    return Group(title, bar, grid)
