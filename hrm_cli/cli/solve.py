"""`hrm solve`: puzzles from a file, each answer verified by the rules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hrm_cli.cli.options import (
    ARC,
    PAUSE,
    SEARCH,
    SEEING,
    AnyModelOption,
    DeviceOption,
    EffortOption,
    HaltOption,
    MaxStepsOption,
    NoiseInitOption,
    NoiseOption,
    QuietOption,
    RestartsOption,
    SearchOption,
    SearchRulesOption,
    SearchStepsOption,
    SecondsOption,
    SeedOption,
    SelectOption,
    SubmissionOption,
)
from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain
    from hrm_cli.solving.solution import Solution


def solve(
    puzzle_files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PUZZLE_FILE",
            help="Files of puzzles (lines, grids, .sdk, CSV; ARC tasks in .json), - for standard input, or a puzzle "
            "typed on one line.",
            show_default="standard input, unless that is a terminal",
        ),
    ] = None,
    checkpoint: AnyModelOption = None,
    max_steps: MaxStepsOption = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            "--attempts",
            min=1,
            help="Test-time augmentation: if the first answer breaks a rule, try up to N augmented copies.",
            show_default="8 for bundled models, 1 for others",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    effort: EffortOption = None,
    search: SearchOption = None,
    search_steps: SearchStepsOption = None,
    search_rules: SearchRulesOption = False,
    restarts: RestartsOption = None,
    noise_init: NoiseInitOption = None,
    noise: NoiseOption = None,
    max_seconds: SecondsOption = None,
    select: SelectOption = None,
    halt: HaltOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Also write the verified answers, one per line (an empty line if there is none); or all "
            "records, if the name ends in .jsonl.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Show the grid after every reasoning step.", rich_help_panel=SEEING),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            metavar="FILE.svg",
            help="Also write a picture of the first solved puzzle; if none is solved, of the first with an answer.",
            show_default=False,
            rich_help_panel=SEEING,
        ),
    ] = None,
    gif: Annotated[
        Path | None,
        typer.Option(
            "--gif",
            metavar="FILE.gif",
            help="Also write an animation of that puzzle's steps. Needs Pillow: pip install 'hrm-cli[pictures]'.",
            show_default=False,
            rich_help_panel=SEEING,
        ),
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            "--png",
            metavar="FILE.png",
            help="Also write that picture as a PNG file. Needs Pillow, like --gif.",
            show_default=False,
            rich_help_panel=SEEING,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE.html",
            help="Also write a page for stepping through the reasoning on the first 20 puzzles, with candidates, "
            "confidence and search tree. It is one file and works offline.",
            show_default=False,
            rich_help_panel=SEEING,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="On a terminal, animate the steps of the first 12 puzzles in place; elsewhere the same as --trace.",
            rich_help_panel=SEEING,
        ),
    ] = False,
    heatmap: Annotated[
        bool,
        typer.Option(
            "--heatmap",
            help="Show the model's confidence in each cell, on the terminal and in --gif, --png and --html.",
            rich_help_panel=SEEING,
        ),
    ] = False,
    save_carry: Annotated[
        Path | None,
        typer.Option(
            "--save-carry",
            metavar="FILE",
            help="Save the reasoning state of the puzzles that run out of steps, to continue later.",
            show_default=False,
            rich_help_panel=PAUSE,
        ),
    ] = None,
    resume_carry: Annotated[
        Path | None,
        typer.Option(
            "--resume-carry",
            metavar="FILE",
            help="Continue the puzzles of a saved state (instead of PUZZLE_FILE), up to --max-steps in total.",
            show_default=False,
            rich_help_panel=PAUSE,
        ),
    ] = None,
    votes: Annotated[
        int | None,
        typer.Option(
            "--votes",
            min=1,
            help="ARC: how many augmented copies of a task vote, including the task itself.",
            show_default="all in the checkpoint, 32 after --adapt",
            rich_help_panel=ARC,
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
            rich_help_panel=ARC,
        ),
    ] = None,
    adapt_weights: Annotated[
        bool,
        typer.Option(
            "--adapt-weights", help="With --adapt: train a copy of the weights too.", rich_help_panel=ARC
        ),
    ] = False,
    submission: SubmissionOption = None,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="FILE.py:FUNCTION",
            help="Own puzzles: check answers with FUNCTION, which gets the input and the output and returns whether "
            "the output is right. Name only code that you trust.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Batch size.")] = 256,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    quiet: QuietOption = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON record per line on stdout, and nothing else there.")
    ] = False,
) -> None:
    """Solve puzzles from a file and verify every answer by the rules.

    Exit status: 0 when all are solved, 1 when some are not (wrong answers, invalid puzzles, puzzles with more than
    one solution), 2 when part of the file is not a puzzle; the other puzzles are still solved. After an interrupt,
    the answers found so far are printed, and --output keeps them as FILE.partial.

    Without --checkpoint, hrm uses the bundled model for the size of the puzzles (see `hrm models`).

    \b
    Examples:
      hrm solve puzzles.txt
      hrm solve monday.txt tuesday.sdk --output answers.txt
      hrm solve puzzles.txt --effort high
      hrm solve puzzles.txt --checkpoint runs/demo
      hrm solve puzzles.txt --checkpoint runs/demo --restarts 7 --select agreement
      hrm solve puzzles.txt --live
      hrm solve puzzles.txt --gif thinking.gif --html thinking.html
      hrm solve - --checkpoint runs/demo --attempts 8 --json < puzzles.txt
      hrm solve hard.txt --checkpoint runs/demo --save-carry carry.safetensors
      hrm solve --resume-carry carry.safetensors --checkpoint runs/demo \\
        --max-steps 16
      hrm solve arc-agi_evaluation_challenges.json --checkpoint runs/arc-1 \\
        --submission submission.json
      hrm solve new_task.json --checkpoint runs/arc-1 --adapt 500
    """
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.cli.render.solutions import Report
    from hrm_cli.solving.request import STDIN, SolveRequest
    from hrm_cli.solving.session import solve_request

    sources = tuple(puzzle_files or ())
    if not sources and resume_carry is None and not sys.stdin.isatty():
        sources = (STDIN,)
    request = SolveRequest(
        sources, checkpoint, max_steps, attempts, halt, output, trace, picture, save_carry, resume_carry,
        votes, adapt, adapt_weights, submission, batch_size, device, seed or 0, effort, search, search_steps,
        search_rules, restarts, noise_init, noise, max_seconds, select, check,
        gif, png, html, live, heatmap,
    )  # fmt: skip
    if live and json:
        raise ConfigError("--live: not with --json, which prints nothing but records")
    if heatmap and json and not request.pictures:
        raise ConfigError("--heatmap: --json prints nothing but records; add --html, --png or --gif")
    if gif is not None or png is not None:
        from hrm_cli.views.raster import check_pillow

        check_pillow("--gif" if gif is not None else "--png")
    report = Report(json=json, trace=trace, quiet=quiet, live=live, heatmap=heatmap)
    skipped = solve_request(
        request,
        report,
        stdin=getattr(sys.stdin, "buffer", None),
        draw=partial(_drawn, heat=heatmap),
        find_device=device_of_command,
    )
    report.finish(skipped)


def _drawn(option: str, shown: Sequence[tuple[Domain, Solution]], *, heat: bool) -> bytes:
    """The file of a picture option."""
    if option == "--picture":
        from hrm_cli.views.pictures import solve_picture

        return solve_picture(*shown[0]).encode()
    from hrm_cli.views.web.boards import board_of

    boards = [board_of(domain, solution) for domain, solution in shown]
    if option == "--html":
        from hrm_cli.views.web.page import solutions_page

        return solutions_page(boards, heat=heat).encode("utf-8", "replace")
    from hrm_cli.views import raster_pictures

    draw = raster_pictures.gif if option == "--gif" else raster_pictures.png
    return draw(boards[0], heat=heat)
