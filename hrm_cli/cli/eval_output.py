"""How `hrm eval` shows its figures: exact accuracy first, trivial predictors beside every cell accuracy."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hrm_cli.cli import console
from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.format import Dataset
from hrm_cli.evaluation.arc_baselines import measure_output_baselines
from hrm_cli.evaluation.arc_voting import Voting, named_scores, pass_at, read_test_tasks, submission
from hrm_cli.evaluation.attempted import AttemptedEvaluation
from hrm_cli.evaluation.baselines import Baseline, measure_baselines
from hrm_cli.evaluation.evaluate import Evaluation
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.files import whole_file

CLOSE = 0.02
"""Cell accuracies nearer to a trivial predictor's than this say nothing."""

MEANINGS = {
    "most_frequent": "the commonest answer everywhere",
    "copy_input": "the puzzle as its own answer",
    "all_background": "colour 0 everywhere",
    "all_background_padded": "the same, once outputs are padded to 30×30 with colour 0",
}


def voted(voting: Voting, file: Path | None) -> dict[str, float]:
    """pass@K by name, empty where the tasks have no known answers; writes the submission to `file`, if there is one."""
    tasks = read_test_tasks(voting.dataset)
    if file is not None:
        with whole_file(file) as stream:
            json_format.dump(submission(voting.votes, tasks), stream)
    return named_scores(pass_at(voting.votes, tasks))


def baseline_figures(baselines: Mapping[str, Baseline]) -> dict[str, dict[str, float]]:
    """The baselines under their names in `hrm eval --json`."""
    return {
        "baselines": {name: baseline.cell_accuracy for name, baseline in baselines.items()},
        "baselines_exact": {name: baseline.exact_accuracy for name, baseline in baselines.items()},
    }


def attempted_figures(result: Evaluation, attempted: AttemptedEvaluation | None) -> dict[str, Any]:
    """What attempts reach, beside the one pass; without any, they reach what the one pass does."""
    if attempted is None:
        reached = result.exact_accuracy if result.puzzles else None
        return {"attempts": 1, "exact_accuracy_with_attempts": reached}
    by_set = {
        name: {**asdict(result.by_set[name]), "exact_accuracy_with_attempts": share}
        for name, share in attempted.by_set.items()
    }
    return {**attempted.figures(), **({"by_set": by_set} if by_set else {})}


def show_baselines(dataset: Dataset, limit: int | None, *, json: bool) -> None:
    """What trivial predictors score on a split; of ARC's test split also on the outputs as they are."""
    if not dataset.has_answers:
        document = {
            "data": str(dataset.directory),
            "split": dataset.split,
            "puzzles": 0,
            **baseline_figures({}),
        }
        if json:
            console.print_json(document)
        else:
            console.print_line(
                f"{dataset.directory}: the {dataset.split} split has no answers to compare with."
            )
        return
    baselines = measure_baselines(dataset, limit=limit)
    outputs, on_outputs = 0, dict[str, Baseline]()
    if is_arc(dataset) and dataset.split == "test":
        outputs, found = measure_output_baselines(read_test_tasks(dataset))
        on_outputs = dict(found)
    if json:
        console.print_json(
            {
                "data": str(dataset.directory),
                "split": dataset.split,
                "puzzles": min(dataset.num_examples, limit or dataset.num_examples),
                **baseline_figures(baselines),
                **({"outputs": {"count": outputs, **baseline_figures(on_outputs)}} if on_outputs else {}),
            }
        )
        return
    columns = ("trivial predictor", "cells right", "exact", "what it answers")
    rows = [(name, b.cell_accuracy, b.exact_accuracy) for name, b in on_outputs.items()]
    if rows:
        console.print_table(columns, _predictors(rows), title=f"{outputs:,} test outputs as they are")
    rows = [(name, b.cell_accuracy, b.exact_accuracy) for name, b in baselines.items()]
    console.print_table(columns, _predictors(rows), title=f"{dataset.directory}: cells of {dataset.split}")


def _predictors(rows: list[tuple[str, float, float]]) -> list[tuple[str, str, str, str]]:
    return [
        (name.replace("_", " "), f"{cells:.2%}", f"{exact:.2%}", MEANINGS.get(name, ""))
        for name, cells, exact in rows
    ]


def render(
    path: Path,
    split: str,
    result: Evaluation,
    baselines: Mapping[str, Baseline],
    arc: Mapping[str, float],
    attempted: AttemptedEvaluation | None = None,
) -> None:
    """The figures for people, and in words where the cell accuracy means nothing."""
    if not result.puzzles:
        console.print_line(f"{path}: the {split} split has no answers, so there is no accuracy.")
        return
    low, high = wilson_interval(result.exact_accuracy, result.puzzles)
    rows: list[tuple[Any, ...]] = [
        (
            "exact accuracy",
            f"{result.exact_accuracy:.2%}",
            f"whole puzzles right (95 %: {low:.1%} to {high:.1%})",
        )
    ]
    if attempted is not None:
        low, high = wilson_interval(attempted.exact_accuracy, result.puzzles)
        rows.append(
            (
                f"  with {attempted.attempts} attempts",
                f"{attempted.exact_accuracy:.2%}",
                f"first answers that break a rule tried again (95 %: {low:.1%} to {high:.1%})",
            )
        )
    rows += [
        (name, f"{score:.2%}", "tasks whose answer is among the first K by votes" if not number else "")
        for number, (name, score) in enumerate(arc.items())
    ]
    rows.append(("cell accuracy", f"{result.cell_accuracy:.2%}", "share of right cells, mean over puzzles"))
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
    if result.by_set:
        tried = attempted.by_set if attempted is not None else {}
        sets = [
            (
                name,
                f"{part.puzzles:,}",
                f"{part.exact_accuracy:.2%}",
                *((f"{tried[name]:.2%}",) if tried else ()),
                f"{part.cell_accuracy:.2%}",
                f"{part.mean_steps:.2f}",
            )
            for name, part in result.by_set.items()
        ]
        more = ("with attempts",) if tried else ()
        console.print_table(("set", "puzzles", "exact accuracy", *more, "cell accuracy", "mean steps"), sets)
    best = max(baselines.values(), key=lambda b: b.cell_accuracy)
    if result.cell_accuracy <= best.cell_accuracy + CLOSE:
        console.print_line(
            "The cell accuracy is within two points of a trivial predictor's: it says nothing about solving puzzles."
        )
