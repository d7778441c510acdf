"""The measurements of `hrm eval`, in one or several processes: from checkpoint and dataset to figures."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.checkpoints.bundled import SCHEME, bundled_folder, default_attempts
from hrm_cli.checkpoints.model_files import load_model, read_model_card
from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.format import Dataset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.arc_voting import Voting, named_scores, pass_at, read_test_tasks, submission
from hrm_cli.evaluation.attempted import AttemptedEvaluation, dataset_domain, evaluate_with_effort
from hrm_cli.evaluation.attempts import default_attempt_steps
from hrm_cli.evaluation.baselines import Baseline, measure_baselines, measure_output_baselines
from hrm_cli.evaluation.checking import AnswerCheck
from hrm_cli.evaluation.effort import EffortRequest, How
from hrm_cli.evaluation.evaluate import check_fit, evaluate, sample_examples
from hrm_cli.evaluation.request import EvalRequest
from hrm_cli.evaluation.results import BaselineMeasurement, Measurement, Sample
from hrm_cli.evaluation.selecting import compare_votes, evaluate_selected, is_without_rules, selection_domain
from hrm_cli.evaluation.selection import check_selection, default_select
from hrm_cli.files import whole_file
from hrm_cli.models.act import ACTModel
from hrm_cli.models.compiling import compile_inference
from hrm_cli.models.device import resolve_device
from hrm_cli.models.out_of_memory import memory_errors_reported
from hrm_cli.models.registry import inference_matmuls
from hrm_cli.printable import counted
from hrm_cli.puzzles.arc.domain import NO_RULES
from hrm_cli.puzzles.domain import parse_domain
from hrm_cli.reporting import Reporter, Silent, stages


def measure(
    request: EvalRequest,
    reporter: Reporter | None = None,
    *,
    world: World = ALONE,
    device: torch.device | None = None,
    find_device: Callable[[str], torch.device] = resolve_device,
) -> Measurement:
    """Measures a checkpoint. Every rank of `world` calls it with its own device; only rank 0 reports and writes.

    Raises CheckpointError, ConfigError or DatasetError.
    """
    reporter = (reporter or Reporter()) if world.is_first else Silent()
    checkpoint = Path(request.checkpoint)
    submission_file = None if request.submission is None else Path(request.submission)
    card = read_model_card(checkpoint)
    folder = Path(request.data or own_dataset(card.path, card.preset.data.path))
    dataset = Dataset.open(folder, request.split, check_tokens=world.is_first)
    votes = is_arc(dataset) and request.split == "test"
    if (
        request.select is None
        and is_without_rules(dataset)
        and (request.restarts or (request.attempts or 1) > 1)
    ):
        request = replace(request, select=default_select(has_rules=False))
    _check_select(request, votes=votes, world=world)
    request.check_halting()
    check = _answer_check(request, dataset, world)
    is_bundled = str(checkpoint).startswith(SCHEME) and not votes
    names_stages = any(value is not None for value in (request.effort, request.search, request.restarts))
    tried = request.attempts
    if tried is None and not names_stages:
        tried = default_attempts(card.preset.arch, is_bundled=is_bundled)
    effort_request = EffortRequest(
        request.effort, tried, request.search, request.search_steps, request.search_rules,
        request.restarts, request.noise_init, request.noise, request.seconds, request.select,
    )  # fmt: skip
    if request.sample is not None and request.max_puzzles is not None:
        raise ConfigError("--sample and --max-puzzles: both select a part of the puzzles; omit one of them")
    tries_again = request.select is None and (names_stages or (tried is not None and tried > 1))
    if tries_again and world.size > 1:
        named = "--effort, --search, --restarts" if names_stages else f"--attempts {tried}"
        raise ConfigError(
            f"{named}: works only in one process; with several, use --attempts 1 and no other stage"
        )
    if request.depths and votes:
        raise ConfigError("--max-steps: for ARC, whose augmented copies vote, give only one number")
    if submission_file is not None and not votes:
        raise ConfigError(f"--submission {submission_file}: only for the test split of an ARC dataset")
    among, sample = _sampled(dataset, request, votes=votes)
    asked = {name: getattr(request, name) for name in ("max_steps", "halt", "batch_size")}
    given = {name: value for name, value in asked.items() if value is not None}
    # The limit of the preset is for evaluations during training.
    config = card.preset.eval.model_copy(update={**given, "max_puzzles": request.max_puzzles})
    domain = parse_domain(dataset.metadata.domain)
    model, card = load_model(
        checkpoint, find_device(request.device) if device is None else device, domain=domain
    )
    check_fit(model, dataset)
    if request.halt_threshold is not None:
        model.core.arch = model.arch.model_copy(update={"halt_threshold": request.halt_threshold})
    if request.ablate_puzzle_id:
        _ablate_puzzle_ids(model, card.path)
    voting = Voting.of(dataset, request.select or "agreement") if votes else None
    rows = dataset.num_examples if voting is None else voting.rows()
    rows = min(rows, config.max_puzzles or rows) if among is None else len(among)
    compile_inference(model, request.compile, rows // world.size)
    max_steps = config.max_steps or model.arch.halt_max_steps
    attempted: AttemptedEvaluation | None = None
    with (
        memory_errors_reported(model.device, lambda: _smaller_batch(config.batch_size)),
        stages(reporter) as report,
    ):
        report("evaluating", 0, rows)
        begun: dict[How, int] = {}

        def finished(count: int) -> None:
            # Rank 0 estimates the progress of the other ranks, which may have fewer puzzles.
            report("evaluating", min(count, rows), rows)

        def trying(how: How, left: int) -> None:
            count = begun.setdefault(how, left)
            report(how, count - left, count)

        if tries_again:
            effort = effort_request.of(
                model.arch, dataset_domain(dataset), request.max_steps or default_attempt_steps(max_steps),
                seed=request.seed, batch_size=config.batch_size,
            )  # fmt: skip
            result, attempted = evaluate_with_effort(
                model,
                dataset,
                config,
                effort,
                depths=request.depths,
                among=among,
                progress=finished,
                trying=trying,
            )
        elif voting is None:
            result = evaluate(
                model,
                dataset,
                config,
                progress=finished,
                depths=request.depths,
                among=among,
                on_answers=None if check is None else check.count,
                world=world,
            )
        else:
            result = voting.run(
                model, config, progress=finished, with_opinions=request.select is not None, world=world
            )
        selected = None
        if request.select is not None and voting is None:

            def gathered(count: int) -> None:
                report("attempts", count, rows)

            domain = selection_domain(dataset)
            effort = effort_request.of(
                model.arch, domain, max_steps,
                seed=request.seed, batch_size=config.batch_size,
            )  # fmt: skip
            selected = evaluate_selected(
                model, dataset, domain, effort.tries(effort.attempts_by), effort.select,
                among=among, limit=config.max_puzzles, progress=gathered,
            )  # fmt: skip
    arc, tasks = None, 0
    if voting is not None and world.is_first:
        arc, tasks = _voted(voting, submission_file)
        selected = None if request.select is None else compare_votes(voting)
    baselines: Mapping[str, Baseline] = {}
    if result.puzzles and world.is_first:
        baselines = measure_baselines(dataset, limit=config.max_puzzles, among=among)
    return Measurement(
        card.path, _name(request.checkpoint, card.path), card.step, request.split, config.halt, max_steps, result,
        attempted, baselines, arc, tasks, request.ablate_puzzle_id, sample, card, selected,
        None if check is None else check.result(), request.halt_threshold,
        inference_matmuls(model.inner, model.device)[0],
    )  # fmt: skip


def measure_trivial(
    dataset: Dataset, limit: int | None, sample: int | None = None, seed: int = 0
) -> BaselineMeasurement:
    """Measures trivial baselines on a split; for ARC's test split also on the output grids without padding.

    `limit`: only the first `limit` examples. `sample`: only that many examples, chosen by `seed`.
    """
    among = None if sample is None else sample_examples(dataset.num_examples, sample, seed)
    if not dataset.has_answers:
        return BaselineMeasurement(dataset.directory, dataset.split, 0)
    outputs, on_outputs = 0, dict[str, Baseline]()
    if is_arc(dataset) and dataset.split == "test":
        outputs, found = measure_output_baselines(read_test_tasks(dataset))
        on_outputs = dict(found)
    return BaselineMeasurement(
        dataset.directory,
        dataset.split,
        min(dataset.num_examples if among is None else len(among), limit or dataset.num_examples),
        measure_baselines(dataset, limit=limit, among=among),
        outputs,
        on_outputs,
    )


def _sampled(
    dataset: Dataset, request: EvalRequest, *, votes: bool
) -> tuple[NDArray[np.int64] | None, Sample | None]:
    """The indices of the sampled examples and a record of the sample; None for the whole split. Raises ConfigError."""
    if request.sample is None:
        return None, None
    if votes:
        raise ConfigError("--sample: not for ARC tasks, because all copies of a task must vote; omit it")
    among = sample_examples(dataset.num_examples, request.sample, request.seed)
    return among, Sample(len(among), dataset.num_examples, request.seed)


def _ablate_puzzle_ids(model: ACTModel, path: Path) -> None:
    """Replaces all puzzle identifiers by the blank one. Raises ConfigError if the model has no others."""
    table = getattr(model.inner, "puzzle_emb", None)
    if table is None or len(table.weights) == 1:
        lacks = "no puzzle embeddings" if table is None else "only the blank puzzle identifier"
        raise ConfigError(
            f"--ablate-puzzle-id: {path} has {lacks}, so there is nothing to replace; omit the option"
        )
    table.ablate()


def _check_select(request: EvalRequest, *, votes: bool, world: World) -> None:
    """Raises ConfigError if there is nothing that `request.select` could choose among."""
    if request.select is None:
        return
    if world.size > 1:
        raise ConfigError("--select: only in one process; omit it")
    if not votes:
        others = bool(request.effort or request.search)
        check_selection(request.select, request.attempts, request.restarts, has_others=others)
    elif request.select == "verify":
        raise ConfigError(f"--select verify: {NO_RULES}; agreement is the default")
    elif request.restarts or (request.attempts or 1) > 1 or request.effort or request.search:
        raise ConfigError(
            "--select: for ARC tasks it chooses among their augmented copies; omit --restarts, --attempts, "
            "--effort and --search"
        )


def _answer_check(request: EvalRequest, dataset: Dataset, world: World) -> AnswerCheck | None:
    """The check that `request` names. Raises ConfigError if it does not go with the other options."""
    if request.check_with is None:
        return None
    further = {
        "--effort": request.effort, "--search": request.search, "--restarts": request.restarts,
        "--attempts": (request.attempts or 1) > 1, "--select": request.select,
    }  # fmt: skip
    if named := [option for option, value in further.items() if value]:
        raise ConfigError(
            f"--check and {', '.join(named)}: --check judges the first answers; omit one of them"
        )
    if world.size > 1:
        raise ConfigError("--check: only in one process; omit --nproc-per-node")
    return AnswerCheck(request.check_with, dataset)


def _voted(voting: Voting, file: Path | None) -> tuple[dict[str, float], int]:
    """pass@K by name (empty if no task has known answers), and the number of tasks with known answers.

    Writes the submission to `file`, if given.
    """
    tasks = read_test_tasks(voting.dataset)
    if file is not None:
        with whole_file(file) as stream:
            json_format.dump(submission(voting.votes, tasks), stream)
    known = sum(all(pair.output is not None for pair in task.test) for task in tasks)
    return named_scores(pass_at(voting.votes, tasks)), known


def _name(checkpoint: str, path: Path) -> str:
    if checkpoint.startswith(SCHEME):
        return f"{SCHEME}{path.stem}"
    return checkpoint if checkpoint.startswith("hf:") else str(path)


def _smaller_batch(size: int) -> tuple[str, str]:
    way = f"--batch-size {size // 2}" if size > 1 else "--device cpu"
    return f"evaluating {counted(size, 'puzzle')} at once", f"take {way}: the answers are the same"


def own_dataset(model_file: Path, configured: str | None) -> Path:
    """The dataset that a checkpoint's run was trained on. Raises DatasetError if it cannot be found."""
    if configured is not None:
        return Path(configured)
    for folder in model_file.parents[:3]:
        if (folder / "dataset").is_dir():
            return folder / "dataset"
    if model_file.parent == bundled_folder():
        raise DatasetError(
            f"{SCHEME}{model_file.stem}: its training data is not part of the package; name a dataset with --data DIR "
            "(`hrm build-dataset` makes one)"
        )
    raise DatasetError(f"{model_file}: the dataset of its run was not found; name one with --data DIR")
