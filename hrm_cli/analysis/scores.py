"""The scores of a sample as one document: steps, effort, halting, accuracy by difficulty, calibration, failures.

Letters in shapes: n puzzles, S tokens, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.analysis.measures import calibration, group_edges, separation
from hrm_cli.analysis.sampled import PuzzleAnswers, Scored, Steps, steps_of
from hrm_cli.config.arch import ArchConfig
from hrm_cli.data.format import Dataset
from hrm_cli.evaluation.effort import forward_flops
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.inspection.grids_in_tokens import MARK_TOKEN, TokenReader
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

MOST_FAILURES = 8
MOST_FRAMES = 64
"""Steps shown of a failure. If there are more, some in the middle are left out."""

_MEANING = {
    "q_learning": "the halt probability σ(Q-halt) of the Q head",
    "certain": "the probability of the least confident cell (this model has no Q head)",
    "settle": "how far the state has settled, mapped to 0..1 (this model has no Q head; not a probability)",
}


def confidence_meaning(arch: ArchConfig) -> str:
    """What the confidence of a whole answer is for this model, as text."""
    if arch.core == "nova":
        return "the halt probability of the halt predictor"
    return _MEANING.get(arch.halting, "the halt value as a probability")


def scores_document(scored: Scored, failures: Steps | None = None) -> dict[str, Any]:
    """Everything that the report shows of the scores, for JSON and for the page."""
    measured, answers = scored.measurement, scored.answers
    result, count = measured.result, measured.result.puzzles
    name, value = measured.headline()
    regime = measured.regime()
    return {
        "data": str(scored.dataset.directory),
        "split": measured.split,
        "puzzles": count,
        "sample": None if measured.sample is None else asdict(measured.sample),
        "headline": {"name": name, "value": value},
        "max_steps": measured.max_steps,
        "trained_steps": scored.model.arch.halt_max_steps,
        "halt": measured.halt,
        "figures": result.figures(),
        "interval": list(wilson_interval(result.exact_accuracy, count)),
        "baselines": {name: asdict(one) for name, one in measured.baselines.items()},
        "regime": None if regime is None else regime.document(),
        "regime_text": "" if regime is None else regime.describe(),
        "by_depth": [
            {**asdict(one), "interval": list(wilson_interval(one.exact_accuracy, count))}
            for one in result.by_depth
        ],
        "effort": effort_rows(scored),
        "halting": halting(answers, measured.max_steps),
        "difficulty": [one.document() for one in by_difficulty(answers, scored.dataset)],
        "calibration": calibrations(scored),
        "failures": failure_records(scored, failures),
        "notes": scored.notes,
    }


def effort_rows(scored: Scored) -> list[dict[str, Any]]:
    """The accuracy after each stage of effort, cumulatively; one row for a single pass."""
    result, attempted = scored.measurement.result, scored.measurement.attempted
    arch, core = scored.model.arch, scored.model.core
    each = forward_flops(arch, core.vocab_size, core.seq_len)
    first = {
        "stage": "one pass",
        "exact_accuracy": result.exact_accuracy,
        "interval": list(wilson_interval(result.exact_accuracy, result.puzzles)),
        "solved": round(result.exact_accuracy * result.puzzles),
        "flops_per_puzzle": result.mean_steps * each,
    }
    if attempted is None:
        return [first]
    rows, solved = [first], attempted.solved_by.get("pass", 0)
    stages = [(how, found) for how, found in attempted.solved_by.items() if how != "pass"]
    for how, found in stages:
        solved += found
        share = solved / max(result.puzzles, 1)
        rows.append(
            {
                "stage": f"then {how}", "exact_accuracy": share,
                "interval": list(wilson_interval(share, result.puzzles)), "solved": solved, "flops_per_puzzle": None,
            }
        )  # fmt: skip
    whole = {
        "exact_accuracy": attempted.exact_accuracy,
        "interval": list(wilson_interval(attempted.exact_accuracy, result.puzzles)),
        "flops_per_puzzle": attempted.flops_per_puzzle,
    }
    if stages:
        rows[-1] |= whole
    else:
        rows.append({"stage": f"then {attempted.describe()}", "solved": solved, **whole})
    return rows


def halting(answers: PuzzleAnswers, max_steps: int) -> dict[str, Any]:
    """How many puzzles finished after each number of steps, with a right and with a wrong answer."""
    exact = answers.exact
    steps = [
        {
            "steps": step,
            "right": int((exact & (answers.steps == step)).sum()),
            "wrong": int((~exact & (answers.steps == step)).sum()),
        }
        for step in range(1, max_steps + 1)
    ]
    means = {
        name: float(answers.steps[chosen].mean()) if chosen.any() else None
        for name, chosen in (("right", exact), ("wrong", ~exact))
    }
    return {"steps": steps, "mean_steps": means}


def calibrations(scored: Scored) -> dict[str, Any]:
    """Calibration of whole answers (two kinds of confidence) and of single cells."""
    answers = scored.answers
    exact = answers.exact
    halt = 1 / (1 + np.exp(-np.clip(answers.halt_values.astype(np.float64), -60, 60)))
    logs = np.where(answers.labeled, np.log(np.clip(answers.cells.astype(np.float64), 1e-12, 1)), 0)
    product = np.exp(logs.sum(axis=1))
    chosen = answers.labeled & to_fill_in(scored)
    right = answers.right_cells[chosen]
    return {
        "answers": {
            "meaning": confidence_meaning(scored.model.arch),
            **calibration(halt, exact).document(),
            "separation": separation(halt, exact),
        },
        "product": {
            "meaning": "the product of the probabilities of all labeled cells",
            **calibration(product, exact).document(),
            "separation": separation(product, exact),
        },
        "cells": {
            "meaning": "the probability of the answered token, in cells to fill in",
            **calibration(answers.cells[chosen], right).document(),
            "separation": separation(answers.cells[chosen], right),
        },
    }


def to_fill_in(scored: Scored) -> NDArray[np.bool_]:
    """Cells that the model has to find, `[n, S]`: blank ones; where no token means blank, all."""
    blank = getattr(TokenReader.of(scored.dataset.metadata).domain, "blank_token", None)
    inputs = scored.answers.inputs
    return np.ones(inputs.shape, bool) if blank is None else np.equal(inputs, blank)


def failure_records(scored: Scored, steps: Steps | None) -> list[dict[str, Any]]:
    """The failures of `steps` with the answer after every step."""
    if steps is None:
        return []
    answers = scored.answers
    reader = TokenReader.of(scored.dataset.metadata)
    known = properties(answers, scored.dataset)
    records = []
    for number, place in enumerate(steps.places.tolist()):
        labels = answers.labels[place]
        wrong = answers.labeled[place] & ~answers.right_cells[place]
        taken = min(int(answers.steps[place]), len(steps.tokens))
        records.append(
            {
                "example": int(answers.examples[place]),
                "wrong_cells": int(wrong.sum()),
                "steps": taken,
                "properties": {unit: int(values[place]) for _, unit, _, values in known},
                "input": _cells(reader, answers.inputs[place]),
                "solution": _cells(reader, labels, is_output=True),
                "frames": [_frame(reader, steps, at, number, labels) for at in shown_steps(taken)],
            }
        )
    return records


def failure_steps(scored: Scored, most: int) -> Steps | None:
    """The steps of at most `most` of the hardest failures, the hardest first; None if there are none."""
    chosen = hardest_failures(scored.answers, scored.dataset, most)
    return steps_of(scored, chosen) if len(chosen) else None


def shown_steps(taken: int) -> list[int]:
    """Indices of the steps to show, from 0: all, or the first and last ones of a long series."""
    if taken <= MOST_FRAMES:
        return list(range(taken))
    half = MOST_FRAMES // 2
    return [*range(half), *range(taken - half, taken)]


def _frame(
    reader: TokenReader, steps: Steps, at: int, number: int, labels: NDArray[np.int32]
) -> Mapping[str, Any]:
    tokens = steps.tokens[at, number, :, 0]
    return {
        "step": at + 1,
        "answer": _cells(reader, tokens, is_output=True),
        "halt_value": round(float(steps.halt_values[at, number]), 4),
        "confidence": [round(value, 3) for value in steps.probabilities[at, number, :, 0].tolist()],
        "wrong_cells": int(((labels >= 0) & (tokens != labels)).sum()),
    }


def _cells(reader: TokenReader, tokens: NDArray[np.integer], *, is_output: bool = False) -> Any:
    """The grid of tokens as rows of the domain's cells; None if it has none."""
    grid = reader.grid(tokens, is_output=is_output)
    return None if grid is None else grid.tolist()


@dataclass(frozen=True)
class Grouped:
    """Accuracy by one property of the puzzles."""

    title: str
    unit: str
    """What the numbers count, such as `givens`."""
    harder: str
    """`more` or `fewer`: the direction in which puzzles get harder; empty if unknown."""
    groups: list[Mapping[str, Any]] = field(default_factory=list)
    """From easy to hard or by size: first, last, puzzles, exact_accuracy, low, high, mean_steps."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "groups": [dict(group) for group in self.groups]}


def properties(answers: PuzzleAnswers, dataset: Dataset) -> list[tuple[str, str, str, NDArray[np.int64]]]:
    """For each property: its title, its unit, the harder direction, and its value for each puzzle `[n]`."""
    reader = TokenReader.of(dataset.metadata)
    domain = reader.domain
    inputs, labels = answers.inputs, answers.labels
    if isinstance(domain, SudokuDomain):
        givens = (inputs > domain.blank_token).sum(axis=1)
        found = [("Accuracy by number of givens", "givens", "fewer", givens.astype(np.int64))]
        if domain.size <= 9:
            branches = domain.solve_all(inputs.astype(np.uint8)).difficulties
            found.append(
                ("Accuracy by difficulty (branches of the exact solver)", "branches", "more", branches)
            )
        return found
    if isinstance(domain, MazeDomain):
        moves = (labels == MARK_TOKEN).sum(axis=1) + 1
        return [("Accuracy by length of the path", "moves", "more", moves.astype(np.int64))]
    if isinstance(domain, GridsDomain | ArcDomain):
        sizes = reader.sizes(labels, is_output=True)
        cells = sizes[:, 0] * sizes[:, 1]
        return [("Accuracy by size of the output", "cells", "more", cells.astype(np.int64))]
    blank = getattr(domain, "blank_token", None)
    if blank is not None:
        empty = (inputs == blank).sum(axis=1)
        return [("Accuracy by number of empty cells", "empty cells", "more", empty.astype(np.int64))]
    changed = (answers.labeled & (inputs != labels)).sum(axis=1)
    return [("Accuracy by number of cells that change", "cells", "more", changed.astype(np.int64))]


def by_difficulty(answers: PuzzleAnswers, dataset: Dataset) -> list[Grouped]:
    """Accuracy by each property of the domain; properties that all puzzles share are left out."""
    found = []
    for title, unit, harder, values in properties(answers, dataset):
        edges = group_edges(values)
        if len(edges) > 1:
            found.append(Grouped(title, unit, harder, _groups(answers, values, edges)))
    return found


def _groups(
    answers: PuzzleAnswers, values: NDArray[np.int64], edges: Sequence[tuple[int, int]]
) -> list[Mapping[str, Any]]:
    groups: list[Mapping[str, Any]] = []
    for first, last in edges:
        chosen = (values >= first) & (values <= last)
        count, share = int(chosen.sum()), float(answers.exact[chosen].mean())
        low, high = wilson_interval(share, count)
        groups.append(
            {
                "first": first, "last": last, "puzzles": count, "exact_accuracy": share, "low": low, "high": high,
                "mean_steps": float(answers.steps[chosen].mean()),
            }
        )  # fmt: skip
    return groups


def hardest_failures(answers: PuzzleAnswers, dataset: Dataset, most: int) -> NDArray[np.int64]:
    """Indices of at most `most` puzzles with a wrong answer, the hardest first, `[f]`.

    Puzzles are compared by the last of the domain's properties, and equally hard ones by their number of wrong cells.
    """
    wrong = np.flatnonzero(~answers.exact)
    cells = (answers.labeled & ~answers.right_cells).sum(axis=1)[wrong]
    _, _, harder, values = properties(answers, dataset)[-1]
    hardness = values[wrong] if harder == "more" else -values[wrong]
    return wrong[np.lexsort((wrong, -cells, -hardness))][:most].astype(np.int64)
