"""`hrm solve` on ARC tasks: options of their own, and answers drawn beside the inputs."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrm_cli.cli import console
from hrm_cli.cli.solve_output import Report
from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.files import refuse_unwritable, whole_file
from hrm_cli.json_text import LARGEST_DOCUMENT, parse_json
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.tasks import Task, parse_tasks, read_tasks
from hrm_cli.puzzles.domain import Domain, Grid
from hrm_cli.solving.files import FEW, answer_files
from hrm_cli.solving.solution import Solution

if TYPE_CHECKING:
    from rich.text import Text

    from hrm_cli.solving.arc_adapting import Adaptation

STDIN = "-"

COLOURS = (
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25"
)  # fmt: skip
"""Of the corpus's own viewer."""


@dataclass(frozen=True)
class ArcOptions:
    """What the options of `hrm solve` say about tasks."""

    checkpoint: Path
    device: str
    max_steps: int | None
    halt: str | None
    batch_size: int
    seed: int
    votes: int | None
    adapt: int | None
    adapt_weights: bool
    output: Path | None
    submission: Path | None
    json: bool

    def adaptation(self) -> Adaptation | None:
        """How tasks that the checkpoint does not know are learned. Raises ConfigError for weights without steps."""
        from hrm_cli.solving.arc_adapting import Adaptation

        if self.adapt is None:
            if self.adapt_weights:
                raise ConfigError("--adapt-weights: say for how many steps with --adapt STEPS")
            return None
        images = {} if self.votes is None else {"images": self.votes}
        return Adaptation(self.adapt, self.adapt_weights, seed=self.seed, **images)


def solve_tasks(puzzle_file: str, options: ArcOptions) -> None:
    """Solves the tasks of a file. Raises PuzzleError, ConfigError, CheckpointError or Exit."""
    # Whatever is wrong with the files is told before torch is imported, which takes seconds.
    tasks = _open_tasks(puzzle_file)
    source = None if puzzle_file == STDIN else Path(puzzle_file)
    with (
        answer_files(source, options.output) as write,
        _submission_file(options.submission) as attempts,
    ):
        from hrm_cli.checkpoints.model_files import load_model
        from hrm_cli.cli.devices import device_of_command
        from hrm_cli.solving.arc_solver import ArcSolver, Effort

        adaptation = options.adaptation()
        model, card = load_model(options.checkpoint, device_of_command(options.device))
        config, domain = card.preset.eval, ArcDomain()
        effort = Effort(
            options.max_steps or config.max_steps or model.arch.halt_max_steps,
            (options.halt or config.halt) == "adaptive",
            options.votes,
            options.batch_size,
            adaptation,
        )
        solver = ArcSolver(model, card, effort)
        report = _Report(json=options.json, trace=False, draws=len(tasks) <= FEW)
        for solution in solver.solve(tasks):
            report.show(domain, solution)
            write(domain, solution)
        attempts.update(solver.submission)
    report.finish()


class _Report(Report):
    """Draws grids in the colours of the corpus's own viewer."""

    def _show_grids(self, domain: Domain, solution: Solution) -> None:
        from rich.table import Table
        from rich.text import Text

        assert solution.puzzle is not None
        assert solution.answer is not None
        side_by_side = Table.grid(padding=(0, 3))
        side_by_side.add_row(_painted(solution.puzzle.grid), Text("→"), _painted(solution.answer))
        terminal = console.console(sys.stdout)
        terminal.print(Text(f"{solution.index} {solution.status}: {solution.where}", style="bold"))
        terminal.print(Text(solution.reason), side_by_side)


def _painted(grid: Grid) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True)
    for row in grid.tolist():
        for colour in row:
            text.append("  ", style=f"on {COLOURS[colour]}")
        text.append("\n")
    return text


def _open_tasks(puzzle_file: str) -> list[Task]:
    if puzzle_file != STDIN:
        return read_tasks(Path(puzzle_file))
    try:
        document = parse_json(sys.stdin.buffer.read(LARGEST_DOCUMENT))
    except ValueError as error:
        raise PuzzleError(f"standard input: cannot be read as JSON ({error})") from None
    return list(parse_tasks(document, "standard input", "task"))


@contextmanager
def _submission_file(path: Path | None) -> Iterator[dict[str, Any]]:
    """A document that is written to `path` when the block ends well."""
    if path is not None:
        refuse_unwritable(path)
    document: dict[str, Any] = {}
    yield document
    if path is not None:
        with whole_file(path) as stream:
            json_format.dump(document, stream)
