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
from hrm_cli.evaluation.arc_voting import Voting, pass_at, read_test_tasks
from hrm_cli.evaluation.attempted import dataset_domain
from hrm_cli.evaluation.attempts import AttemptBudget
from hrm_cli.evaluation.restarts import SelectorFigures, gather_candidates
from hrm_cli.evaluation.selection import Select
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain, make_domain


@dataclass(frozen=True)
class SelectedEvaluation:
    """How often selectors choose the correct answer among the attempts at a puzzle."""

    select: Select
    attempts: int
    puzzles: int
    among: float
    """Fraction of puzzles with the correct answer among their candidates."""
    by_selector: Mapping[Select, float] = field(default_factory=dict)
    """Exact accuracy by selector; without `verify` where the domain has no rules."""
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
    figures = SelectorFigures()
    for batch in evaluation_batches(dataset, budget.batch_size, limit=limit, among=among):
        labeled = batch.labels != IGNORED_LABEL
        rows = np.flatnonzero(labeled.any(axis=1))
        gathered = gather_candidates(
            fixed,
            domain,
            batch.inputs[rows].astype(getattr(domain, "token_type", np.uint8)),
            budget,
            batch.examples[rows].tolist(),
            puzzle_identifiers=batch.puzzle_identifiers[rows],
        )
        for index, candidates in gathered:
            row = rows[index]
            wanted = batch.labels[row][labeled[row]]
            right = [bool((one.tokens[labeled[row]] == wanted).all()) for one in candidates]
            figures.add(candidates, right)
        if progress is not None:
            progress(figures.puzzles)
    total = max(figures.puzzles, 1)
    by_selector = {name: count / total for name, count in figures.chosen.items()}
    seconds = time.perf_counter() - started
    return SelectedEvaluation(
        select, budget.count, figures.puzzles, figures.among / total, by_selector, seconds
    )


def compare_votes(voting: Voting) -> SelectedEvaluation:
    """How often each selector ranks the correct answer first among the copies of ARC tasks: pass@1, mean over tasks."""
    votes, tasks = voting.votes, read_test_tasks(voting.dataset)
    known = sum(all(pair.output is not None for pair in task.test) for task in tasks)
    most = max(votes.most(), 1)
    by_selector: dict[Select, float] = {
        select: pass_at(votes, tasks, (1,), select).get(1, 0.0) for select in votes.selectors()
    }
    among = pass_at(votes, tasks, (most,)).get(most, 0.0)
    return SelectedEvaluation(votes.select, votes.most(), known, among, by_selector)


def selection_domain(dataset: Dataset) -> Domain:
    """The domain of a dataset, with or without rules. Raises DatasetError or ConfigError if it is unknown."""
    facts = dict(dataset.metadata.domain or {})
    name = facts.pop("name", None)
    return dataset_domain(dataset) if name is None else make_domain(str(name), **facts)


def is_without_rules(dataset: Dataset) -> bool:
    """Whether a dataset holds own puzzles, whose answers no rules can verify."""
    return (dataset.metadata.domain or {}).get("name") == OWN_PUZZLES
