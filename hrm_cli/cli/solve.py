"""`hrm solve`: puzzles from a file, each answer verified by the rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hrm_cli.cli.options import DeviceOption, SeedOption

STDIN = "-"


def solve(
    puzzle_file: Annotated[
        str,
        typer.Argument(
            metavar="PUZZLE_FILE",
            help="A file of puzzles (lines, grids, .sdk, CSV), or - for standard input.",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="CHECKPOINT",
            help="A run folder, a checkpoint folder or a .safetensors file.",
            show_default=False,
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            "--max-steps",
            min=1,
            help="Reasoning steps at most; may exceed those trained.",
            show_default="as trained",
        ),
    ] = None,
    attempts: Annotated[
        int,
        typer.Option(
            "--attempts", min=1, help="Tries, under symmetries from the second on, until one verifies."
        ),
    ] = 1,
    halt: Annotated[
        Literal["adaptive", "full"] | None,
        typer.Option(
            "--halt",
            help="adaptive: a puzzle is done when its halt value says so; full: all steps.",
            show_default="as configured",
        ),
    ] = None,
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

    \b
    Examples:
      hrm solve puzzles.txt --checkpoint runs/demo
      hrm solve - --checkpoint runs/demo --attempts 8 --json < puzzles.txt
    """
    from hrm_cli.cli.solve_output import Report
    from hrm_cli.errors import CheckpointError
    from hrm_cli.solving.files import answer_files, open_puzzles

    if checkpoint is None:
        raise CheckpointError(
            "--checkpoint is missing: name a trained model (a run folder, a checkpoint folder or a .safetensors "
            "file); `hrm demo` trains one in minutes, `hrm train` one of your own"
        )
    # Whatever is wrong with the files is told before torch is imported, which takes seconds.
    source = None if puzzle_file == STDIN else Path(puzzle_file)
    puzzles = open_puzzles(source or sys.stdin.buffer)
    with answer_files(source, output, picture, with_trace=trace) as write:
        from hrm_cli.models.device import resolve_device
        from hrm_cli.solving.solver import solve_puzzles, trained_domain
        from hrm_cli.training.model_files import load_model

        model, card = load_model(checkpoint, resolve_device(device))
        domain = trained_domain(card)
        config = card.preset.eval
        report = Report(domain, json=json, trace=trace, draws=puzzles.are_few)
        for solution in solve_puzzles(
            model,
            domain,
            puzzles,
            max_steps=max_steps or config.max_steps or model.arch.halt_max_steps,
            adaptive=(halt or config.halt) == "adaptive",
            attempts=attempts,
            seed=seed or 0,
            batch_size=batch_size,
            trace=trace or picture is not None,
        ):
            report.show(solution)
            write(domain, solution)
    report.finish()
