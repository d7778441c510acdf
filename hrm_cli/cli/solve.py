"""`hrm solve`: puzzles from a file, each answer verified by the rules."""

from __future__ import annotations

import codecs
import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.options import (
    AnyModelOption,
    DeviceOption,
    HaltOption,
    MaxStepsOption,
    SeedOption,
    SubmissionOption,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hrm_cli.puzzles.domain import Domain
    from hrm_cli.solving.solution import Solution

STDIN = "-"
_PEEKED = 4096
"""Bytes looked at to tell tasks from grids."""


def solve(
    puzzle_file: Annotated[
        str | None,
        typer.Argument(
            metavar="PUZZLE_FILE",
            help="A file of puzzles (lines, grids, .sdk, CSV; ARC tasks in .json), or - for standard input.",
            show_default=False,
        ),
    ] = None,
    checkpoint: AnyModelOption = None,
    max_steps: MaxStepsOption = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            "--attempts",
            min=1,
            help="Augmented copies to try where the first answer breaks a rule, until an answer verifies.",
            show_default="8 for bundled models, 1 for others",
        ),
    ] = None,
    halt: HaltOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Also write the verified answers, one a line (empty where there is none); "
            "or every record, where the name ends in .jsonl.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Show the grid after every reasoning step.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.svg",
            help="Also draw a solve: the first solved puzzle, else the first answered.",
            show_default=False,
        ),
    ] = None,
    save_carry: Annotated[
        Path | None,
        typer.Option(
            "--save-carry",
            metavar="FILE",
            help="Keep the reasoning state of the puzzles that run out of steps, to go on later.",
            show_default=False,
        ),
    ] = None,
    resume_carry: Annotated[
        Path | None,
        typer.Option(
            "--resume-carry",
            metavar="FILE",
            help="Go on with the puzzles of a saved state (in place of PUZZLE_FILE), up to --max-steps in all.",
            show_default=False,
        ),
    ] = None,
    votes: Annotated[
        int | None,
        typer.Option(
            "--votes",
            min=1,
            help="ARC: images of a task that vote, itself included.",
            show_default="all that the checkpoint knows, 32 after --adapt",
        ),
    ] = None,
    adapt: Annotated[
        int | None,
        typer.Option(
            "--adapt",
            min=1,
            metavar="STEPS",
            help="ARC: fit puzzle embeddings to the demonstrations of tasks that the checkpoint has never seen.",
            show_default=False,
        ),
    ] = None,
    adapt_weights: Annotated[
        bool, typer.Option("--adapt-weights", help="With --adapt: train a copy of the weights too.")
    ] = False,
    submission: SubmissionOption = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Puzzles that the model works on at once.")
    ] = 256,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON record a line on stdout and nothing else.")
    ] = False,
) -> None:
    """Solve puzzles from a file and verify every answer by the rules.

    Exit status: 0 when all are solved, 1 when some are not (wrong answers, invalid puzzles, puzzles with several
    solutions), 2 when something in the file is no puzzle; the other puzzles are dealt with all the same.
    Interrupted, what was found so far has been printed, and --output keeps it as FILE.partial.

    Without --checkpoint the bundled model for the size of the puzzles solves them (see `hrm models`).

    \b
    Examples:
      hrm solve puzzles.txt
      hrm solve puzzles.txt --checkpoint runs/demo
      hrm solve - --checkpoint runs/demo --attempts 8 --json < puzzles.txt
      hrm solve puzzles.txt --checkpoint runs/demo --max-steps 4 --save-carry state.safetensors
      hrm solve --resume-carry state.safetensors --checkpoint runs/demo --max-steps 16
      hrm solve arc-agi_evaluation_challenges.json --checkpoint runs/arc-1 --submission submission.json
      hrm solve new_task.json --checkpoint runs/arc-1 --adapt 500
    """
    from hrm_cli.checkpoints.bundled import SCHEME, model_for
    from hrm_cli.cli.solve_output import Report
    from hrm_cli.errors import CheckpointError, ConfigError
    from hrm_cli.solving.files import answer_files, first_puzzle, open_puzzles

    if (puzzle_file is None) == (resume_carry is None):
        raise ConfigError("name either a PUZZLE_FILE or a saved state (--resume-carry FILE)")
    for_grids = {
        "--attempts": attempts is not None and attempts > 1,
        "--trace": trace,
        "--picture": picture,
        "--save-carry": save_carry,
        "--resume-carry": resume_carry,
    }
    for_tasks = {
        "--votes": votes,
        "--adapt": adapt,
        "--adapt-weights": adapt_weights,
        "--submission": submission,
    }
    has_tasks = puzzle_file is not None and holds_tasks(puzzle_file)
    for name, value in (for_grids if has_tasks else for_tasks).items():
        if value:
            kind = "puzzles of one grid, and these are ARC tasks" if has_tasks else "ARC tasks in JSON"
            raise ConfigError(f"{name}: only for {kind}")
    if checkpoint is None and (has_tasks or resume_carry is not None):
        what = "ARC tasks" if has_tasks else "a saved state"
        raise CheckpointError(
            f"--checkpoint is missing: no bundled model is for {what}; name a trained model (a run folder, "
            "a checkpoint folder or a .safetensors file)"
        )
    if puzzle_file is not None and has_tasks and checkpoint is not None:
        from hrm_cli.cli.solve_arc import ArcOptions, solve_tasks

        options = ArcOptions(
            checkpoint, device, max_steps, halt, batch_size, seed or 0, votes, adapt, adapt_weights, output,
            submission, json,
        )  # fmt: skip
        solve_tasks(puzzle_file, options)
        return
    if attempts is not None and attempts > 1 and (save_carry or resume_carry):
        raise ConfigError(
            "--attempts: a saved state belongs to the puzzle as it is; leave --attempts at 1 with it"
        )
    # Whatever is wrong with the files is told before torch is imported, which takes seconds.
    source = None if puzzle_file in (STDIN, None) else Path(str(puzzle_file))
    puzzles = open_puzzles(source or sys.stdin.buffer) if resume_carry is None else None
    if checkpoint is None and puzzles is not None and save_carry is not None:
        checkpoint = Path(f"{SCHEME}{model_for(first_puzzle(puzzles.first)).name}")
    from hrm_cli.views.pictures import solve_picture

    with answer_files(source, output, picture, draw=solve_picture, with_trace=trace) as write:
        from hrm_cli.cli.devices import device_of_command
        from hrm_cli.solving import pausing
        from hrm_cli.solving.choosing import Asked, LoadedModel, solve_with_bundled

        asked = Asked(max_steps, halt, attempts, seed or 0, batch_size, trace or picture is not None)
        batches: list[pausing.PausedBatch] = []
        out_of_steps: list[Solution] = []
        solutions: Iterable[tuple[Domain, Solution]]
        if checkpoint is None:
            assert puzzles is not None
            solutions = solve_with_bundled(puzzles, asked, device_of_command(device))
        else:
            loaded = LoadedModel.load(checkpoint, device_of_command(device))
            if resume_carry is not None:
                paused = pausing.load_carry(resume_carry, loaded.card, loaded.domain)
                found = pausing.resume_puzzles(
                    loaded.model, loaded.domain, paused, max_steps=loaded.steps(asked),
                    adaptive=loaded.adaptive(asked), trace=asked.trace, paused_again=batches,
                )  # fmt: skip
            elif save_carry is not None:
                reasoner = pausing.PausingModel(loaded.model, batches)
                found = loaded.solve(puzzles or (), replace(asked, attempts=1), reasoner=reasoner)
            else:
                found = loaded.solve(puzzles or (), asked)
            solutions = ((loaded.domain, solution) for solution in found)
        report = Report(json=json, trace=trace, draws=puzzles is None or puzzles.are_few)
        for domain, solution in solutions:
            # Kept before it is shown: an interruption between the two loses nothing that was said.
            write(domain, solution)
            report.show(domain, solution)
            if save_carry is not None and solution.steps == loaded.steps(asked):
                out_of_steps.append(solution)
        if save_carry is not None:
            count = pausing.save_carry(
                save_carry, loaded.card, loaded.domain, loaded.steps(asked), batches, out_of_steps
            )
            report.note(f"{count:,} puzzles ran out of steps; their state is in {save_carry}.")
    report.finish(None if puzzles is None else puzzles.skipped)


def holds_tasks(puzzle_file: str) -> bool:
    """Whether what is to be solved is a JSON object: ARC tasks. Lists are grids of digits."""
    if puzzle_file != STDIN:
        if not puzzle_file.lower().endswith(".json"):
            return False
        try:
            with Path(puzzle_file).open("rb") as stream:
                return _begins_as_object(stream.read(_PEEKED), default=True)
        except OSError:
            # The reader of tasks says what is wrong with the file.
            return True
    stdin = sys.stdin.buffer
    return isinstance(stdin, io.BufferedReader) and _begins_as_object(stdin.peek(_PEEKED), default=False)


def _begins_as_object(beginning: bytes, *, default: bool) -> bool:
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    return text[:1] == b"{" if text else default
