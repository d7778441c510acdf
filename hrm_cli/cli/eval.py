"""`hrm eval`: a checkpoint's figures on a dataset, beside what trivial predictors score there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hrm_cli.cli.options import DeviceOption, JsonOption

if TYPE_CHECKING:
    from hrm_cli.evaluation.baselines import Baseline
    from hrm_cli.evaluation.evaluate import Evaluation


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A run folder, a checkpoint folder or a .safetensors file."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Dataset folder.", show_default="the run's own dataset"),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="train or test.")] = "test",
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
            help="adaptive: a puzzle leaves when its halt value says so; full: all steps.",
            show_default="as configured",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Puzzles in a batch.")] = None,
    max_puzzles: Annotated[
        int | None, typer.Option("--max-puzzles", min=1, help="Only the first N puzzles.")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Measure a checkpoint on a dataset: exact accuracy first, trivial baselines beside cell accuracy.

    \b
    Examples:
      hrm eval runs/demo
      hrm eval runs/demo/best --data data/sudoku --max-steps 32 --json
    """
    from hrm_cli.cli import console
    from hrm_cli.data.format import Dataset
    from hrm_cli.evaluation.baselines import measure_baselines
    from hrm_cli.evaluation.evaluate import check_fit
    from hrm_cli.evaluation.evaluate import evaluate as run_evaluation
    from hrm_cli.models.device import resolve_device
    from hrm_cli.training.model_files import load_model, read_model_card

    card = read_model_card(checkpoint)
    dataset = Dataset.open(data or own_dataset(card.path, card.preset.data.path), split)
    asked = {"max_steps": max_steps, "halt": halt, "batch_size": batch_size, "max_puzzles": max_puzzles}
    config = card.preset.eval.model_copy(update={k: v for k, v in asked.items() if v is not None})
    model, card = load_model(checkpoint, resolve_device(device))
    check_fit(model, dataset)
    count = min(dataset.num_examples, config.max_puzzles or dataset.num_examples)
    with console.progress("evaluating", count, quiet=json) as display:
        result = run_evaluation(model, dataset, config, progress=display.update)
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
                "baselines": {name: baseline.cell_accuracy for name, baseline in baselines.items()},
                "baselines_exact": {name: baseline.exact_accuracy for name, baseline in baselines.items()},
            }
        )
    else:
        _render(card.path, split, result, baselines)


def own_dataset(model_file: Path, configured: str | None) -> Path:
    """The dataset that a checkpoint's run was trained on. Raises DatasetError where it cannot be found."""
    from hrm_cli.errors import DatasetError

    if configured is not None:
        return Path(configured)
    for folder in model_file.parents[:3]:
        if (folder / "dataset").is_dir():
            return folder / "dataset"
    raise DatasetError(f"{model_file}: the dataset of its run is not beside it; name one with --data DIR")


def _render(path: Path, split: str, result: Evaluation, baselines: Mapping[str, Baseline]) -> None:
    from hrm_cli.cli import console

    rows: list[tuple[str, str, str]] = [
        ("exact accuracy", f"{result.exact_accuracy:.2%}", "whole puzzles right"),
        ("cell accuracy", f"{result.cell_accuracy:.2%}", "share of right cells, mean over puzzles"),
    ]
    rows += [
        (
            f"  {name.replace('_', ' ')}",
            f"{b.cell_accuracy:.2%}",
            f"trivial predictor; exact {b.exact_accuracy:.2%}",
        )
        for name, b in baselines.items()
    ]
    rows += [
        ("mean steps", f"{result.mean_steps:.2f}", "ACT steps until a puzzle halts"),
        ("efficiency", f"{result.efficiency:.3f}", "exact accuracy ÷ mean steps"),
        ("q-halt accuracy", f"{result.q_halt_accuracy:.2%}", "does the model know whether it is right?"),
        ("puzzles per second", f"{result.puzzles_per_second:,.0f}", ""),
    ]
    console.print_table(
        ("figure", "value", "meaning"), rows, title=f"{path}: {result.puzzles:,} puzzles of {split}"
    )
    best = max(baselines.values(), key=lambda b: b.cell_accuracy)
    if result.cell_accuracy <= best.cell_accuracy + 0.02:
        console.print_line(
            "The cell accuracy is within two points of a trivial predictor's: it says nothing about solving puzzles."
        )
