"""Measures accuracy in one pass and with further effort on the same puzzles.

Only the rules decide which puzzles get further effort. The dataset's answers are used only for counting.

Letters in shapes: n puzzles, b rows, S tokens of a puzzle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.evaluation.attempts import has_rules
from hrm_cli.evaluation.effort import Effort, How, Progress, forward_flops, run_effort
from hrm_cli.evaluation.evaluate import Answers, Evaluation, SetFigures, evaluate
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import BulkDomain, Tokens, infer_domain, make_domain


@dataclass(frozen=True)
class AttemptedEvaluation:
    """The results with effort beyond one pass; fractions are 0..1."""

    effort: Effort
    exact_accuracy: float
    """Fraction of puzzles with every labeled cell correct, after the first pass or further effort."""
    tried_again: int
    """Number of puzzles whose first answer broke a rule."""
    seconds: float
    """Time of all further effort after the first answers."""
    solved_by: Mapping[How, int] = field(default_factory=dict)
    """Number of verified puzzles by the stage that solved them."""
    steps_per_puzzle: float = 0.0
    """Mean ACT steps per puzzle of the split, including the first pass."""
    flops_per_puzzle: float = 0.0
    """Mean FLOPs of these steps."""
    by_set: Mapping[str, float] = field(default_factory=dict)
    """The exact accuracy on each set of the split; empty if there is only one set."""

    @property
    def attempts(self) -> int:
        """Largest number of augmented copies or restarts per puzzle, including the puzzle itself."""
        return max(self.effort.copies, self.effort.restarts + 1)

    def describe(self) -> str:
        """`8 copies, search of 64 nodes`."""
        effort = self.effort
        parts = [
            (effort.copies > 1, f"{effort.copies:,} copies"),
            (effort.nodes > 0, f"search of {counted(effort.nodes, 'node')}"),
            (effort.nodes > 0 and effort.rules, "pruned by rules"),
            (effort.restarts > 0, counted(effort.restarts, "restart")),
            (effort.seconds is not None, f"in {effort.seconds} s"),
        ]
        return ", ".join(text for is_so, text in parts if is_so)

    def figures(self) -> dict[str, Any]:
        """The figures under the names of `hrm eval --json`."""
        effort = self.effort
        return {
            "attempts": self.attempts,
            "attempts_max_steps": effort.attempt_steps,
            "exact_accuracy_with_attempts": self.exact_accuracy,
            "tried_again": self.tried_again,
            "attempts_seconds": self.seconds,
            "effort": {
                "copies": effort.copies,
                "nodes": effort.nodes,
                "node_steps": effort.node_steps,
                "rules": effort.rules,
                "restarts": effort.restarts,
                "noise_init": effort.noise.initial,
                "noise": effort.noise.step,
                "seconds": effort.seconds,
            },
            "solved_by": dict(self.solved_by),
            "steps_per_puzzle": self.steps_per_puzzle,
            "flops_per_puzzle": self.flops_per_puzzle,
        }


def dataset_domain(dataset: Dataset) -> BulkDomain:
    """The domain whose rules verify a dataset's answers. Raises DatasetError or ConfigError if there is none."""
    metadata = dataset.metadata
    facts = dict(metadata.domain or {})
    name = facts.pop("name", None)
    domain = make_domain(str(name), **facts) if name else infer_domain(metadata.vocab_size, metadata.seq_len)
    if domain is None:
        raise DatasetError(
            f"{dataset.directory}: its puzzles belong to no known domain, so no rules can verify an answer"
        )
    if not has_rules(domain):
        raise ConfigError(
            f"{domain.describe()} has no rules that could verify an answer, so only one pass is possible (--attempts 1)"
        )
    return cast(BulkDomain, domain)


@dataclass
class _Unsolved:
    """Collects puzzles whose first answer breaks a rule."""

    domain: BulkDomain
    inputs: list[Tokens] = field(default_factory=list)
    labels: list[NDArray[np.int32]] = field(default_factory=list)
    identifiers: list[NDArray[np.int32]] = field(default_factory=list)
    examples: list[NDArray[np.int64]] = field(default_factory=list)
    were_exact: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the first answer equals the dataset's answer."""

    def add(self, answers: Answers) -> None:
        """Keeps the answers that break a rule."""
        labeled = answers.labels != IGNORED_LABEL
        inputs = answers.inputs.astype(np.uint8)
        wrong = self.domain.violations(inputs, answers.predictions.astype(np.uint8)) > 0
        wrong &= labeled.any(axis=1)
        self.inputs.append(inputs[wrong])
        self.labels.append(answers.labels[wrong])
        self.identifiers.append(answers.puzzle_identifiers[wrong])
        self.examples.append(answers.examples[wrong])
        self.were_exact.append(_exact(answers.predictions, answers.labels)[wrong])


def evaluate_with_effort(
    model: ACTModel,
    dataset: Dataset,
    config: EvalConfig,
    effort: Effort,
    *,
    depths: Sequence[int] = (),
    among: NDArray[np.int64] | None = None,
    progress: Callable[[int], None] | None = None,
    trying: Progress | None = None,
    on_answers: Callable[[Answers], None] | None = None,
    with_opinions: bool = False,
) -> tuple[Evaluation, AttemptedEvaluation]:
    """One pass over the split as in `evaluate`, then the stages of `effort` on puzzles whose answer breaks a rule.

    `progress` receives the progress of the pass, `trying` that of the stages; `depths`, `among`, `on_answers` (of the
    pass) and `with_opinions` as in `evaluate`.
    Raises DatasetError or ConfigError if the dataset does not fit the model, or has no rules.
    """
    unsolved = _Unsolved(dataset_domain(dataset))

    def finished(answers: Answers) -> None:
        unsolved.add(answers)
        if on_answers is not None:
            on_answers(answers)

    one_pass = evaluate(
        model, dataset, config, progress=progress, on_answers=finished, depths=depths, among=among,
        with_opinions=with_opinions,
    )  # fmt: skip
    started = time.perf_counter()
    names = [part.name for part in dataset.sets]
    gained = np.zeros(len(names), np.int64)
    solved_by: dict[How, int] = {}
    count = work = 0
    if unsolved.inputs:
        # Sort by index in the split: a puzzle's copies depend on this index, not on when the puzzle finished.
        examples = np.concatenate(unsolved.examples)
        order = np.argsort(examples, kind="stable")
        examples, inputs = examples[order], np.concatenate(unsolved.inputs)[order]
        labels, were_exact = (
            np.concatenate(unsolved.labels)[order],
            np.concatenate(unsolved.were_exact)[order],
        )
        identifiers = np.concatenate(unsolved.identifiers)[order]
        sets = dataset.set_of(examples)
        count = len(inputs)
        for index, found in run_effort(
            FixedModel(model),
            unsolved.domain,
            inputs,
            effort,
            examples.tolist(),
            puzzle_identifiers=identifiers,
            progress=trying,
        ):
            work += found.work
            if found.violations == 0:
                solved_by[found.how] = solved_by.get(found.how, 0) + 1
            if found.how != "pass":
                is_exact = bool(_exact(found.tokens[None].astype(np.int64), labels[index][None])[0])
                gained[sets[index]] += int(is_exact) - int(were_exact[index])
    steps = one_pass.mean_steps + work / max(one_pass.puzzles, 1)

    def with_gain(figures: Evaluation | SetFigures, solved: int) -> float:
        return figures.exact_accuracy + solved / max(figures.puzzles, 1)

    return one_pass, AttemptedEvaluation(
        effort,
        with_gain(one_pass, int(gained.sum())),
        count,
        time.perf_counter() - started,
        {"pass": one_pass.puzzles - count, **solved_by},
        steps,
        steps * forward_flops(model.arch, model.core.vocab_size, model.core.seq_len),
        {name: with_gain(one_pass.by_set[name], int(gained[names.index(name)])) for name in one_pass.by_set},
    )


def _exact(predictions: NDArray[np.integer], labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Rows whose labeled cells are all correct, `[b]`."""
    return ((predictions == labels) | (labels == IGNORED_LABEL)).all(axis=1)
