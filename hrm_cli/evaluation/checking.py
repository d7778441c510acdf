"""How many answers to own puzzles a check accepts (`--check`), for tasks where more than one output is right.

The check is a function that the user names, or the scorer of a reasoning-gym task. Code runs only because the user asks
for it: nothing in a dataset or a checkpoint can name a check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrm_cli.data.format import IGNORED_LABEL, Dataset
from hrm_cli.data.grids.gym import PREFIX, GymSource, Rows
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import Answers
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.puzzles.domain import OWN_PUZZLES, parse_domain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.own_code import OwnCheck

GYM = "gym"
"""The value of `--check` for the task's own scorer."""
_ENTRIES_PER_PAIR = 20
"""Number of questions generated per pair of the dataset when searching for the questions of the split."""
_FEWEST_ENTRIES = 10_000
Accepts = Callable[[list[list[Any]], list[list[Any]]], bool]


@dataclass(frozen=True)
class Accepted:
    """The answers that a check accepts."""

    check: str
    """`FILE.py:FUNCTION` or `gym:NAME`."""
    accepted: int
    puzzles: int

    @property
    def share(self) -> float:
        """Fraction of the answers that are accepted."""
        return self.accepted / max(self.puzzles, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson_interval(self.share, self.puzzles)

    def figures(self) -> dict[str, Any]:
        """The figures under the names of `hrm eval --json`."""
        return {"check": self.check, "accepted": self.share, "accepted_interval": list(self.interval)}


class AnswerCheck:
    """Counts accepted answers; `count` receives them from `evaluate`. Raises ConfigError or DatasetError."""

    def __init__(self, check: str, dataset: Dataset) -> None:
        domain = parse_domain(dataset.metadata.domain)
        if (dataset.metadata.domain or {}).get("name") != OWN_PUZZLES or not isinstance(domain, GridsDomain):
            raise ConfigError(
                f"--check {check}: only for own puzzles (grids); {dataset.directory} holds other puzzles, whose rules "
                "are known"
            )
        self._domain, self._dataset = domain, dataset
        self.name = check
        if check == GYM:
            self.name, self._accepts = _scorer(dataset, domain)
        else:
            self._accepts = OwnCheck.load(check).accepts
        self._accepted = self._puzzles = 0

    def count(self, answers: Answers) -> None:
        """Checks the answers to puzzles that have just finished."""
        for given, answer, labels in zip(answers.inputs, answers.predictions, answers.labels, strict=True):
            if not (labels != IGNORED_LABEL).any():
                continue
            self._puzzles += 1
            grid = self._domain.decode(answer)
            if self._domain.fault(grid):
                continue
            puzzle = self._domain.decode_input(given.astype(self._domain.token_type))
            self._accepted += self._accepts(self._domain.record(puzzle), self._domain.record(grid))

    def result(self) -> Accepted:
        """What has been counted."""
        return Accepted(self.name, self._accepted, self._puzzles)


def _scorer(dataset: Dataset, domain: GridsDomain) -> tuple[str, Accepts]:
    """The scorer of a reasoning-gym task, with the questions of this split. Raises ConfigError."""
    source, seed = str(dataset.metadata.source or ""), dataset.metadata.seed
    if not source.startswith(PREFIX) or seed is None:
        raise ConfigError(
            f"--check {GYM}: {dataset.directory} was not made from a task of reasoning-gym (source "
            f"{source or 'unknown'}); name a function, as in rules.py:is_right"
        )
    task = GymSource.parse(source)
    wanted = _inputs(dataset, domain)
    entries: dict[str, Any] = {}
    most = max(_FEWEST_ENTRIES, _ENTRIES_PER_PAIR * dataset.num_examples)
    for number, (question, entry) in enumerate(task.questions(seed)):
        key = str(question)
        if key in wanted:
            entries.setdefault(key, entry)
        if len(entries) == len(wanted):
            break
        if number == most:
            raise ConfigError(
                f"--check {GYM}: {len(wanted) - len(entries):,} of {len(wanted):,} questions of {dataset.directory} "
                f"are not among the first {most:,} of {source} with seed {seed}; was it made with another version of "
                "reasoning-gym?"
            )

    def accepts(given: list[list[Any]], answer: list[list[Any]]) -> bool:
        return task.score(_texts(answer), entries[str(_texts(given))]) >= 1.0

    return source, accepts


def _inputs(dataset: Dataset, domain: GridsDomain) -> set[str]:
    """Every input of the split."""
    inputs, _ = dataset.gather(np.arange(dataset.num_examples))
    grids = (domain.decode_input(tokens.astype(domain.token_type)) for tokens in inputs)
    return {str(_texts(domain.record(grid))) for grid in grids}


def _texts(rows: list[list[Any]]) -> Rows:
    return [[str(cell) for cell in row] for row in rows]
