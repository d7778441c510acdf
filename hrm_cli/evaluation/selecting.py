"""Accuracy when a selector chooses among several attempts at every puzzle, without stopping at a verified one.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.batches import evaluation_batches
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.evaluation.attempted import dataset_domain
from hrm_cli.evaluation.attempts import AttemptBudget
from hrm_cli.evaluation.effort import EffortRequest
from hrm_cli.evaluation.request import EvalRequest
from hrm_cli.evaluation.restarts import gather_candidates
from hrm_cli.evaluation.selection import SELECTORS, Select
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.noise import NO_NOISE, NOISE_INIT, NoiseScales
from hrm_cli.puzzles.domain import Domain, make_domain


@dataclass(frozen=True)
class SelectedEvaluation:
    """How often selectors choose the correct answer among the attempts at a puzzle."""

    select: Select
    attempts: int
    puzzles: int
    among: float
    """Fraction of puzzles with the correct answer among their candidates."""
    by_selector: Mapping[str, float] = field(default_factory=dict)
    """Exact accuracy by selector; without `verify` if the domain has no rules."""
    seconds: float = 0.0

    @property
    def exact_accuracy(self) -> float:
        """The accuracy of the requested selector."""
        return self.by_selector[self.select]

    def figures(self) -> dict[str, Any]:
        """The figures under the names of `hrm eval --json`."""
        return {
            "select": {
                "selector": self.select,
                "attempts": self.attempts,
                "exact_accuracy": self.exact_accuracy,
                "among_candidates": self.among,
                "by_selector": dict(self.by_selector),
                "seconds": self.seconds,
            }
        }


def evaluate_selected(
    model: ACTModel,
    dataset: Dataset,
    domain: Domain,
    budget: AttemptBudget,
    select: Select,
    *,
    among: NDArray[np.int64] | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SelectedEvaluation:
    """Makes all attempts at every puzzle with an answer, and compares the choice of each selector with the dataset."""
    fixed, started = FixedModel(model), time.perf_counter()
    puzzles = reachable = 0
    chosen: dict[str, int] = {}
    for batch in evaluation_batches(dataset, budget.batch_size, limit=limit, among=among):
        labeled = batch.labels != IGNORED_LABEL
        rows = np.flatnonzero(labeled.any(axis=1))
        gathered = gather_candidates(
            fixed,
            domain,
            batch.inputs[rows].astype(np.uint8),
            budget,
            batch.examples[rows].tolist(),
            puzzle_identifiers=batch.puzzle_identifiers[rows],
        )
        for index, candidates in gathered:
            row = rows[index]
            wanted = batch.labels[row][labeled[row]]
            right = [bool((one.tokens[labeled[row]] == wanted).all()) for one in candidates]
            puzzles += 1
            reachable += any(right)
            knows_rules = all(one.violations is not None for one in candidates)
            for name, selector in SELECTORS.items():
                if knows_rules or name != "verify":
                    chosen[name] = chosen.get(name, 0) + right[selector(candidates)]
        if progress is not None:
            progress(puzzles)
    total = max(puzzles, 1)
    by_selector = {name: count / total for name, count in chosen.items()}
    return SelectedEvaluation(
        select, budget.count, puzzles, reachable / total, by_selector, time.perf_counter() - started
    )


def selection_domain(dataset: Dataset, select: str) -> Domain:
    """The domain of a dataset. Raises DatasetError if it is unknown, ConfigError if `verify` has no rules to use."""
    facts = dict(dataset.metadata.domain or {})
    name = facts.pop("name", None)
    if name is None or select == "verify":
        return dataset_domain(dataset)
    return make_domain(str(name), **facts)


def attempt_budget(
    request: EvalRequest, asked: EffortRequest, max_steps: int, batch_size: int
) -> AttemptBudget:
    """The attempts to select from: augmented copies, or the puzzle itself with noise from the second start on."""
    copies = request.restarts is None
    noise = NO_NOISE
    if not copies:
        initial = NOISE_INIT if asked.noise_init is None else asked.noise_init
        noise = NoiseScales(initial=initial, step=asked.noise or 0.0)
    count = (request.attempts or 1) if copies else (request.restarts or 0) + 1
    return AttemptBudget(count, max_steps, request.seed, batch_size, copies=copies, noise=noise)
