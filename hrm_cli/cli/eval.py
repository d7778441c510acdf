"""`hrm eval`: a checkpoint's figures on a dataset, beside what trivial predictors score there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hrm_cli.cli.options import DeviceOption, JsonOption, SeedOption


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A run folder, a checkpoint folder, a .safetensors file or bundled:NAME.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset folder.", show_default="the run's own dataset"),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    max_steps: Annotated[
        int | None,
        typer.Option(
            "--max-steps",
            min=1,
            help="ACT steps at most; may exceed those trained.",
            show_default="as trained",
        ),
    ] = None,
    halt: Annotated[
        Literal["adaptive", "full"] | None,
        typer.Option(
            "--halt",
            help="adaptive: a puzzle leaves when the model is sure of its answer; full: all steps.",
            show_default="as configured",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Puzzles in a batch.")] = None,
    max_puzzles: Annotated[
        int | None, typer.Option("--max-puzzles", min=1, help="Only the first N puzzles.")
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            "--attempts",
            min=1,
            help="Also the accuracy when every refused answer is tried again as N images of its puzzle.",
            show_default="8 for bundled models, 1 for others",
        ),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            "--submission",
            metavar="FILE",
            help="ARC: also write Kaggle's submission.json, two attempts for each test input.",
            show_default=False,
        ),
    ] = None,
    baselines_only: Annotated[
        bool,
        typer.Option(
            "--baselines-only", help="Only what trivial predictors score on the data; no checkpoint."
        ),
    ] = False,
    device: DeviceOption = "auto",
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Measure a checkpoint on a dataset: exact accuracy first, trivial baselines beside cell accuracy.

    \b
    Examples:
      hrm eval runs/demo
      hrm eval runs/demo/best --data data/sudoku --max-steps 32 --json
      hrm eval bundled:sudoku-9x9 --data data/sudoku --attempts 8
      hrm eval runs/arc-1 --submission submission.json
      hrm eval --baselines-only --data data/arc-1
    """
    from hrm_cli.cli import eval_output
    from hrm_cli.data.arc_online import is_arc
    from hrm_cli.data.format import Dataset
    from hrm_cli.errors import CheckpointError, ConfigError
    from hrm_cli.whole_files import refuse_unwritable

    if baselines_only:
        if data is None:
            raise ConfigError("--baselines-only: name the dataset with --data DIR")
        eval_output.show_baselines(Dataset.open(data, split), max_puzzles, json=json)
        return
    if checkpoint is None:
        raise CheckpointError(
            "CHECKPOINT is missing: name a run folder, a checkpoint folder or a .safetensors file "
            "(or --baselines-only)"
        )
    if submission is not None:
        refuse_unwritable(submission)

    from hrm_cli.cli import console
    from hrm_cli.evaluation.arc_voting import Voting
    from hrm_cli.evaluation.attempted import AttemptedEvaluation, evaluate_with_attempts
    from hrm_cli.evaluation.attempts import Tries, deeper
    from hrm_cli.evaluation.baselines import measure_baselines
    from hrm_cli.evaluation.evaluate import check_fit
    from hrm_cli.evaluation.evaluate import evaluate as run_evaluation
    from hrm_cli.models.device import resolve_device
    from hrm_cli.training.bundled import ATTEMPTS, SCHEME
    from hrm_cli.training.model_files import load_model, read_model_card

    card = read_model_card(checkpoint)
    dataset = Dataset.open(data or own_dataset(card.path, card.preset.data.path), split)
    votes = is_arc(dataset) and split == "test"
    tried = attempts or (ATTEMPTS if str(checkpoint).startswith(SCHEME) and not votes else 1)
    if submission is not None and not votes:
        raise ConfigError(f"--submission {submission}: only for the test split of an ARC dataset")
    asked = {"max_steps": max_steps, "halt": halt, "batch_size": batch_size, "max_puzzles": max_puzzles}
    config = card.preset.eval.model_copy(update={k: v for k, v in asked.items() if v is not None})
    model, card = load_model(checkpoint, resolve_device(device))
    check_fit(model, dataset)
    voting = Voting.of(dataset) if votes else None
    rows = dataset.num_examples if voting is None else voting.rows()
    with console.progress("evaluating", min(rows, config.max_puzzles or rows), quiet=json) as display:
        attempted: AttemptedEvaluation | None = None
        if tried > 1:
            steps = config.max_steps or model.arch.halt_max_steps
            tries = Tries(tried, max_steps or deeper(steps), seed or 0, config.batch_size)
            result, attempted = evaluate_with_attempts(model, dataset, config, tries, progress=display.update)
        elif voting is None:
            result = run_evaluation(model, dataset, config, progress=display.update)
        else:
            result = voting.run(model, config, progress=display.update)
    arc = {} if voting is None else eval_output.voted(voting, submission)
    baselines = measure_baselines(dataset, limit=config.max_puzzles)
    if json:
        console.print_json(
            {
                "checkpoint": str(card.path),
                "step": card.step,
                "split": split,
                "halt": config.halt,
                "max_steps": config.max_steps or model.arch.halt_max_steps,
                **result.figures(),
                **eval_output.attempted_figures(result, attempted),
                **eval_output.baseline_figures(baselines),
                **({"arc": arc} if voting is not None else {}),
            }
        )
    else:
        eval_output.render(card.path, split, result, baselines, arc, attempted)


def own_dataset(model_file: Path, configured: str | None) -> Path:
    """The dataset that a checkpoint's run was trained on. Raises DatasetError where it cannot be found."""
    from hrm_cli.errors import DatasetError

    if configured is not None:
        return Path(configured)
    for folder in model_file.parents[:3]:
        if (folder / "dataset").is_dir():
            return folder / "dataset"
    raise DatasetError(f"{model_file}: the dataset of its run is not beside it; name one with --data DIR")
