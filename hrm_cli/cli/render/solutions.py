"""Output of `hrm solve`: grids on a terminal, one line per puzzle in pipes, JSON lines on request."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from hrm_cli.cli import console
from hrm_cli.errors import PuzzleError
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain
from hrm_cli.reporting import Progress
from hrm_cli.solving.files import MOST_DRAWN
from hrm_cli.solving.request import Watcher
from hrm_cli.solving.solution import Solution, Status, Tally

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hrm_cli.puzzles.text_lines import SkippedLines

COLORS: dict[Status, str] = {
    "solved": "green",
    "answered": "green",
    "unsolved": "red",
    "multiple": "yellow",
    "invalid": "red",
}
NAMES: dict[Status, str] = {
    "solved": "solved",
    "answered": "answered",
    "unsolved": "unsolved",
    "multiple": "with more than one solution",
    "invalid": "invalid",
}


_BETWEEN_GRIDS = 5
"""Width of the arrow between two grids, including its margins."""


_PROGRESS_DELAY = 2.0
"""Progress of further effort is shown after this many seconds."""


@dataclass
class _Stage:
    """One stage of further effort."""

    name: str
    count: int
    """Number of puzzles at the start of the stage."""
    started: float
    progress: Progress | None = None


class Report(Watcher):
    """Prints solutions as they arrive, and a summary at the end."""

    def __init__(
        self, *, json: bool, trace: bool, quiet: bool = False, live: bool = False, heatmap: bool = False
    ) -> None:
        self._json, self._trace, self._quiet, self._heatmap = json, trace, quiet, heatmap
        if quiet:
            console.disable_heartbeat()
        self._is_plain = console.is_plain(sys.stdout)
        self._to_play = MOST_DRAWN if live and not self._is_plain else 0
        """Number of puzzles whose steps are still to be played."""
        if live and self._is_plain:
            self._trace = True
            self.note("--live: the output is not a terminal, so every step is printed, as with --trace.")
        self._draws = self._are_tasks = False
        self._shown_task = ""
        self._tally = Tally()
        self._started = time.perf_counter()
        self._display = ExitStack()
        self._stage: _Stage | None = None

    def begin(self, *, are_few: bool, are_tasks: bool) -> None:
        """Draws grids if there are few puzzles and stdout is a terminal."""
        self._draws, self._are_tasks = are_few and not self._is_plain, are_tasks

    def show(self, domain: Domain, solution: Solution) -> None:
        """Prints one puzzle and flushes, so that an interrupt loses no printed answer."""
        self._end_stage()
        self._tally.add(solution)
        if self._json:
            console.print_json(solution.document(domain, with_trace=self._trace), indent=None)
        else:
            try:
                if self._to_play and solution.trace:
                    self._play(domain, solution)
                elif self._trace and solution.trace:
                    self._show_trace(domain, solution)
            finally:  # an interrupt of the steps does not lose the answer
                self._show_answer(domain, solution)
        sys.stdout.flush()

    def _show_answer(self, domain: Domain, solution: Solution) -> None:
        if self._draws and (solution.answer is not None or solution.demonstrations):
            self._show_grids(domain, solution)
        else:
            console.print_line(_line(domain, solution, in_rows=self._are_tasks))
        if self._heatmap and solution.answer is not None:
            self._show_heat(domain, solution)

    def _play(self, domain: Domain, solution: Solution) -> None:
        from hrm_cli.cli.render.live import play

        self._to_play -= 1
        play(console.console(sys.stdout), domain, solution, heat=self._heatmap)

    def _show_heat(self, domain: Domain, solution: Solution) -> None:
        from hrm_cli.views.heat import NOT_KEPT, last_heat

        terminal = console.console(sys.stdout)
        has_colors = not self._is_plain and not terminal.no_color
        found = last_heat(domain, solution, has_colors=has_colors)
        if found is None:
            self.note(f"puzzle {solution.index}: {NOT_KEPT}.")
            return
        title = f"confidence of each cell, puzzle {solution.index}, step {solution.trace[-1].step}"
        if isinstance(found, list):
            for line in (f"{title}, in percent", *(f"  {line}" for line in found)):
                console.print_line(line)
        else:
            terminal.print(title, found, "", sep="\n")

    def on_stage(self, stage: str, left: int) -> None:
        """Shows progress on stderr once a stage takes longer."""
        now = time.perf_counter()
        if self._stage is None or self._stage.name != stage:
            self._end_stage()
            self._stage = _Stage(stage, left, now)
        current = self._stage
        if current.progress is None and now - current.started > _PROGRESS_DELAY:
            current.progress = self._display.enter_context(
                console.progress(stage, current.count, quiet=self._quiet)
            )
        if current.progress is not None:
            current.progress.update(current.count - left)

    def _end_stage(self) -> None:
        self._display.close()
        self._stage = None

    def note(self, text: str) -> None:
        """Prints a note on the solve as a whole on stderr."""
        if not self._quiet:
            console.print_message(text)

    def finish(self, skipped: SkippedLines | None = None) -> None:
        """The summary on stderr and what the reader skipped; ends the command unless every puzzle was solved.

        Raises PuzzleError or Exit.
        """
        tally = self._tally
        self.note(_summary(tally, time.perf_counter() - self._started))
        if skipped is not None and skipped.count:
            if self._json:
                console.print_json(skipped.document(), indent=None)
            else:
                console.print_message(f"{skipped}.")
        if tally.first_unreadable is not None:
            count = tally.unreadable
            others = "" if count == 1 else f"; {count - 1:,} more cannot be read or do not fit the model"
            raise PuzzleError(f"{tally.first_unreadable.reason}{others}")
        if tally.statuses["solved"] + tally.statuses["answered"] < tally.total:
            raise typer.Exit(1)

    def _show_trace(self, domain: Domain, solution: Solution) -> None:
        from hrm_cli.views.trace import frames, given_cells, plain_trace, rich_frame

        assert solution.puzzle is not None
        steps = frames(domain, solution)
        copy = f", copy {solution.attempt} of {solution.attempts}" if solution.how == "votes" else ""
        console.print_line(f"puzzle {solution.index} ({solution.where}{copy})")
        if self._is_plain:
            for line in plain_trace(list(steps)):
                console.print_line(line)
            return
        from rich.columns import Columns

        from hrm_cli.views.colored import needs_digits

        given = given_cells(domain, solution.puzzle.grid)
        terminal = console.console(sys.stdout)
        has_digits = needs_digits(terminal)
        drawn = [rich_frame(frame, given, has_digits=has_digits) for frame in steps]
        terminal.print(Columns(drawn, padding=(0, 3)))

    def _show_grids(self, domain: Domain, solution: Solution) -> None:
        if domain.name == OWN_PUZZLES:
            _show_own(domain, solution)
        elif self._are_tasks:
            task = solution.where.rpartition(", test ")[0]
            _show_task(domain, solution, with_demonstrations=task != self._shown_task)
            self._shown_task = task
        else:
            console.console(sys.stdout).print(_grids(domain, solution))


def _line(domain: Domain, solution: Solution, *, in_rows: bool = False) -> str:
    """A line about a puzzle with its answer, or with the answer below it, one line for each row."""
    answer, rows = "-", ""
    if solution.answer is not None and in_rows:
        answer = "×".join(map(str, solution.answer.shape))
        rows = "".join("\n     " + " ".join(map(str, row)) for row in solution.answer.tolist())
    elif solution.answer is not None:
        answer = solution.written(domain, solution.answer)
    parts = [f"{solution.index:>3}", f"{solution.status:<8}", answer]
    if solution.answer is not None:
        parts.append(_effort(solution))
    if solution.reason:
        parts.append(_reason(solution))
    return "  ".join(parts) + rows


def _effort(solution: Solution) -> str:
    steps = counted(solution.steps, "step")
    if solution.how == "search":
        return f"{steps}, search of {counted(solution.nodes, 'node')}"
    if solution.attempts <= 1 or solution.how == "votes":
        return steps
    chosen = ""
    if solution.select not in (None, "verify"):
        chosen = f" by {solution.select}, {solution.agreeing:,} agree"
    return f"{steps}, attempt {solution.attempt} of {solution.attempts}{chosen}"


def _reason(solution: Solution) -> str:
    # The reason of an unreadable item already contains its position.
    is_unreadable = solution.puzzle is None or not solution.where
    return solution.reason if is_unreadable else f"{solution.where}: {solution.reason}"


def _grids(domain: Domain, solution: Solution) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from hrm_cli.views.drawing import draw
    from hrm_cli.views.trace import given_cells, styled_grid, wrong_cells

    assert solution.puzzle is not None
    assert solution.answer is not None
    puzzle, answer = draw(domain, solution.puzzle.grid), draw(domain, solution.answer)
    given = given_cells(domain, solution.puzzle.grid)
    wrong = wrong_cells(domain, solution, answer)
    title = Text.assemble(
        (f"{solution.index} ", "bold"),
        (solution.status, f"bold {COLORS[solution.status]}"),
        f" in {_effort(solution)}, {solution.seconds:.2f} s  ",
        (solution.where, "dim"),
    )
    side_by_side = Table.grid(padding=(0, 2))
    arrow = Text("\n" * (len(answer.lines) // 2) + "→")
    asked, answered = styled_grid(puzzle, given), styled_grid(answer, given, wrong=wrong)
    side_by_side.add_row(asked, arrow, answered)
    parts: list[RenderableType] = [title]
    if solution.reason:
        parts.append(Text(solution.reason))
    fits = 2 * len(answer.lines[0]) + _BETWEEN_GRIDS <= console.console(sys.stdout).width
    return Group(*parts, *([side_by_side] if fits else [asked, "↓", answered]), "")


def _summary(tally: Tally, seconds: float) -> str:
    others = [
        f"{count:,} {NAMES[status]}"
        for status, count in tally.statuses.items()
        if count and status != "solved"
    ]
    listed = f" ({', '.join(others)})" if others else ""
    noun = "puzzle" if tally.total == 1 else "puzzles"
    rate = f", {tally.total / seconds:,.0f} a second" if tally.total >= 10 and seconds else ""
    by = [f"{tally.solved_by.get('pass', 0):,} in one pass"]
    by += [f"{count:,} by {how}" for how, count in tally.solved_by.items() if how != "pass"]
    how = f", {', '.join(by)}" if tally.used_effort else ""
    if tally.statuses["answered"]:
        others = [part for part in others if not part.endswith(" answered")]
        listed = f" ({', '.join(others)})" if others else ""
        return f"Answered {tally.statuses['answered']:,} of {tally.total:,} {noun}{listed} in {seconds:.1f} s{rate}."
    return f"Solved {tally.statuses['solved']:,} of {tally.total:,} {noun}{how}{listed} in {seconds:.1f} s{rate}."


def _show_own(domain: Domain, solution: Solution) -> None:
    from rich.table import Table
    from rich.text import Text

    assert solution.puzzle is not None
    assert solution.answer is not None
    question, answer = ("\n".join(domain.lines(grid)) for grid in (solution.puzzle.grid, solution.answer))
    side_by_side = Table.grid(padding=(0, 3))
    side_by_side.add_row(Text(question), Text("→"), Text(answer))
    title = Text.assemble(
        (f"{solution.index} ", "bold"),
        (solution.status, f"bold {COLORS[solution.status]}"),
        f": {solution.where}",
    )
    reason = [Text(solution.reason)] if solution.reason else []
    console.console(sys.stdout).print(title, *reason, side_by_side, "", sep="\n")


def _show_task(domain: Domain, solution: Solution, *, with_demonstrations: bool) -> None:
    """A test input and its answers; the demonstrations are shown once for each task."""
    from rich.text import Text

    from hrm_cli.views.colored import needs_digits
    from hrm_cli.views.tasks import task_view

    terminal = console.console(sys.stdout)
    title = Text.assemble(
        (f"{solution.index} ", "bold"),
        (solution.status, f"bold {COLORS[solution.status]}"),
        f" in {_effort(solution)}, {solution.seconds:.2f} s  ",
        (solution.where, "dim"),
    )
    terminal.print(title, Text(solution.reason), sep="\n")
    if not with_demonstrations:
        solution = replace(solution, demonstrations=())
    terminal.print(task_view(domain, solution, terminal.width, has_digits=needs_digits(terminal)))
