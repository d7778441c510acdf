"""`hrm eval`: a checkpoint's figures on a dataset, compared with trivial baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hrm_cli.cli.launching import BackendOption, Processes, ProcessesOption, evaluate_on_processes
from hrm_cli.cli.options import (
    SEARCH,
    AnyModelArgument,
    CheckOption,
    DeviceOption,
    EffortOption,
    HaltOption,
    JsonOption,
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
    option,
)


def _refuse_other_depths(text: str | None) -> str | None:
    from hrm_cli.errors import ConfigError
    from hrm_cli.evaluation.request import parse_depths

    try:
        parse_depths(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return text


SPLITS = {"train", "validation", "test"}
SPLIT_ALIASES = {
    "valid": "validation", "val": "validation", "dev": "validation", "eval": "validation", "training": "train",
    "testing": "test",
}  # fmt: skip


def evaluate(
    checkpoint: AnyModelArgument = None,
    data: Annotated[
        Path | None, option("--data", "Dataset folder.", "the run's own dataset", metavar="DIR")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Split to evaluate: train, validation or test.")
    ] = "test",
    max_steps: Annotated[
        str | None,
        typer.Option(
            "--max-steps",
            help="Maximum number of reasoning (ACT) steps. A list, as in 16,64,256, gives the accuracy at each.",
            show_default="as trained",
            metavar="N[,N…]",
            callback=_refuse_other_depths,
        ),
    ] = None,
    halt: HaltOption = None,
    halt_threshold: Annotated[
        float | None,
        typer.Option(
            "--halt-threshold",
            help="Stop a puzzle at this halt probability or confidence, between 0 and 1.",
            show_default="arch.halt_threshold",
            metavar="P",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Batch size.")] = None,
    max_puzzles: Annotated[
        int | None, typer.Option("--max-puzzles", min=1, help="Evaluate only the first N puzzles.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            help="Use only N puzzles, sampled with --seed; the same ones every time.",
            metavar="N",
        ),
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            "--attempts",
            min=1,
            help="Also report the accuracy with test-time augmentation: if an answer breaks a rule, try "
            "up to N augmented copies.",
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
    submission: SubmissionOption = None,
    check: CheckOption = None,
    ablate_puzzle_id: Annotated[
        bool,
        typer.Option(
            "--ablate-puzzle-id",
            help="ARC: replace every puzzle identifier by the blank one, as an ablation.",
        ),
    ] = False,
    baselines_only: Annotated[
        bool,
        typer.Option(
            "--baselines-only", help="Only score trivial baselines on the data; needs no checkpoint."
        ),
    ] = False,
    compile: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="torch.compile; auto: on CUDA, for 20,000 puzzles or more."),
    ] = "auto",
    nproc_per_node: ProcessesOption = 1,
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    fail_under: Annotated[
        float | None,
        option(
            "--fail-under",
            "Exit with status 1 if the accuracy is below FRACTION, such as 0.95. This is the exact accuracy after all "
            "requested effort; for ARC tasks, pass@2; with --check, the fraction of accepted answers.",
            metavar="FRACTION",
            min=0,
            max=1,
        ),
    ] = None,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Evaluate a checkpoint on a dataset: exact accuracy, cell accuracy, trivial baselines.

    \b
    Examples:
      hrm eval runs/demo
      hrm eval runs/demo/best --data data/sudoku --max-steps 32 --json
      hrm eval bundled:sudoku-9x9 --data data/sudoku --attempts 8
      hrm eval bundled:sudoku-any-size --data data/sudoku --effort medium
      hrm eval runs/arc-1 --submission submission.json --nproc-per-node 8
      hrm eval --baselines-only --data data/arc-1
    """
    from hrm_cli.cli import console
    from hrm_cli.cli.render import figures
    from hrm_cli.errors import CheckpointError, ConfigError
    from hrm_cli.evaluation.request import EvalRequest, parse_depths
    from hrm_cli.files import refuse_unwritable

    if split.lower() in SPLIT_ALIASES or split.lower() in SPLITS - {split}:
        meant = SPLIT_ALIASES.get(split.lower(), split.lower())
        raise ConfigError(f"--split {split}: did you mean {meant}? The splits are train, validation and test")
    if baselines_only:
        if data is None:
            raise ConfigError("--baselines-only: name the dataset with --data DIR")
        of_models = {
            "CHECKPOINT": checkpoint, "--max-steps": max_steps, "--halt": halt, "--halt-threshold": halt_threshold,
            "--batch-size": batch_size,
            "--attempts": attempts, "--effort": effort, "--search": search, "--restarts": restarts,
            "--submission": submission, "--backend": backend, "--select": select,
            "--fail-under": fail_under, "--check": check, "--ablate-puzzle-id": ablate_puzzle_id or None,
        }  # fmt: skip
        unused = [name for name, value in of_models.items() if value is not None]
        if unused:
            raise ConfigError(
                f"--baselines-only and {', '.join(unused)}: baselines need no model; omit one of them"
            )
        from hrm_cli.data.format import Dataset
        from hrm_cli.evaluation.measuring import measure_trivial

        scores = measure_trivial(Dataset.open(data, split), max_puzzles, sample, seed or 0)
        if json:
            console.print_json(scores.document())
        else:
            figures.render_baselines(scores)
        return
    if checkpoint is None:
        raise CheckpointError(
            "CHECKPOINT is missing: name a run folder, a checkpoint folder or a .safetensors file "
            "(or --baselines-only)"
        )
    if submission is not None:
        refuse_unwritable(submission)

    depths = parse_depths(max_steps)
    processes = Processes(nproc_per_node, backend=backend)
    processes.check()
    processes.keep_torch_quiet()
    request = EvalRequest(
        str(checkpoint),
        None if data is None else str(data),
        split,
        depths[-1] if depths else None,
        halt,
        batch_size,
        max_puzzles,
        attempts,
        None if submission is None else str(submission),
        device,
        seed or 0,
        compile,
        depths if len(depths) > 1 else (),
        effort,
        search,
        search_steps,
        search_rules,
        restarts,
        noise_init,
        noise,
        max_seconds,
        ablate_puzzle_id,
        sample,
        select,
        check,
        halt_threshold,
    )
    if processes.are_launched:
        raise typer.Exit(
            evaluate_on_processes(processes, request, json=json, quiet=quiet, fail_under=fail_under)
        )
    from hrm_cli.cli.options import device_of_command
    from hrm_cli.evaluation.measuring import measure

    reporter = console.ConsoleReporter(quiet=quiet)
    measured = measure(request, reporter, find_device=device_of_command)
    figures.show(measured, json=json, fail_under=fail_under)
    if status := figures.status(measured, fail_under):
        raise typer.Exit(status)
