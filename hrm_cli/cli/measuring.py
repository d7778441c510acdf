"""What `hrm eval` does, in one process or in several: checkpoint and dataset → figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from hrm_cli.checkpoints.bundled import SCHEME, default_attempts
from hrm_cli.checkpoints.model_files import load_model, read_model_card
from hrm_cli.cli import console, eval_output
from hrm_cli.cli.devices import device_of_command
from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.format import Dataset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.arc_voting import Voting
from hrm_cli.evaluation.attempted import AttemptedEvaluation, evaluate_with_attempts
from hrm_cli.evaluation.attempts import Tries, deeper
from hrm_cli.evaluation.baselines import measure_baselines
from hrm_cli.evaluation.evaluate import check_fit, evaluate
from hrm_cli.models.compiling import compile_inference
from hrm_cli.models.out_of_memory import told_as_exhausted


@dataclass(frozen=True)
class Request:
    """The options of `hrm eval`, as plain values: they go to other processes as JSON."""

    checkpoint: str
    data: str | None
    split: str
    max_steps: int | None
    halt: str | None
    batch_size: int | None
    max_puzzles: int | None
    attempts: int | None
    submission: str | None
    device: str
    seed: int
    json: bool
    compile: str = "auto"


def measure(request: Request, world: World = ALONE, device: torch.device | None = None) -> None:
    """Measures and prints. Every rank of `world` calls it, with a device of its own; rank 0 alone prints and writes."""
    json, max_steps = request.json, request.max_steps
    checkpoint = Path(request.checkpoint)
    submission = None if request.submission is None else Path(request.submission)
    card = read_model_card(checkpoint)
    folder = Path(request.data or own_dataset(card.path, card.preset.data.path))
    dataset = Dataset.open(folder, request.split, check_tokens=world.is_first)
    votes = is_arc(dataset) and request.split == "test"
    is_bundled = str(checkpoint).startswith(SCHEME) and not votes
    tried = request.attempts or default_attempts(card.preset.arch, is_bundled=is_bundled)
    if tried > 1 and world.size > 1:
        raise ConfigError(f"--attempts {tried}: only in one process; several need --attempts 1")
    if submission is not None and not votes:
        raise ConfigError(f"--submission {submission}: only for the test split of an ARC dataset")
    asked = {name: getattr(request, name) for name in ("max_steps", "halt", "batch_size", "max_puzzles")}
    config = card.preset.eval.model_copy(update={k: v for k, v in asked.items() if v is not None})
    model, card = load_model(checkpoint, device_of_command(request.device, device))
    check_fit(model, dataset)
    voting = Voting.of(dataset) if votes else None
    rows = dataset.num_examples if voting is None else voting.rows()
    compile_inference(model, request.compile, min(rows, config.max_puzzles or rows) // world.size)
    quiet = json or not world.is_first
    with (
        told_as_exhausted(model.device, lambda: _smaller_batch(config.batch_size)),
        console.progress("evaluating", min(rows, config.max_puzzles or rows), quiet=quiet) as display,
    ):
        attempted: AttemptedEvaluation | None = None
        if tried > 1:
            steps = config.max_steps or model.arch.halt_max_steps
            tries = Tries(tried, max_steps or deeper(steps), request.seed, config.batch_size)
            result, attempted = evaluate_with_attempts(model, dataset, config, tries, progress=display.update)
        elif voting is None:
            result = evaluate(model, dataset, config, progress=display.update, world=world)
        else:
            result = voting.run(model, config, progress=display.update, world=world)
    if not world.is_first:
        return
    arc = {} if voting is None else eval_output.voted(voting, submission)
    baselines = measure_baselines(dataset, limit=config.max_puzzles) if result.puzzles else {}
    if json:
        console.print_json(
            {
                "checkpoint": str(card.path),
                "step": card.step,
                "split": request.split,
                "halt": config.halt,
                "max_steps": config.max_steps or model.arch.halt_max_steps,
                **result.figures(),
                **eval_output.attempted_figures(result, attempted),
                **eval_output.baseline_figures(baselines),
                **({"arc": arc} if voting is not None else {}),
            }
        )
    else:
        eval_output.render(card.path, request.split, result, baselines, arc, attempted)


def _smaller_batch(size: int) -> tuple[str, str]:
    way = f"--batch-size {size // 2}" if size > 1 else "--device cpu"
    return f"evaluating {size} puzzle{'s' * (size != 1)} at once", f"take {way}: the answers are the same"


def own_dataset(model_file: Path, configured: str | None) -> Path:
    """The dataset that a checkpoint's run was trained on. Raises DatasetError where it cannot be found."""
    if configured is not None:
        return Path(configured)
    for folder in model_file.parents[:3]:
        if (folder / "dataset").is_dir():
            return folder / "dataset"
    raise DatasetError(f"{model_file}: the dataset of its run is not beside it; name one with --data DIR")
