"""How difficult each puzzle is, by its domain's own measure, and accuracy by difficulty.

Letters in shapes: n puzzles, S tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.analysis.measures import group_edges
from hrm_cli.analysis.sampled import PuzzleAnswers
from hrm_cli.data.format import Dataset
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.inspection.grids_in_tokens import MARK_TOKEN, TokenReader
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


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
