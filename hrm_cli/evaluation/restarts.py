"""Gathers the candidates of a puzzle for selection: the final answers of noisy starts or of augmented copies.

`hrm_cli.evaluation.attempts.try_copies` stops at the first verified answer. Here every attempt runs to its end, so that
a selector can choose among the answers and its accuracy can be measured.

Letters in shapes: n puzzles, b unfinished rows, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from hrm_cli.evaluation.attempts import AttemptBudget, Copies, NoisyReasoner, has_rules
from hrm_cli.evaluation.selection import SELECTORS, Candidate, Select
from hrm_cli.models.act import InferenceStep
from hrm_cli.models.core import relative_change
from hrm_cli.puzzles.domain import BulkDomain, Domain, Tokens

"""Default standard deviation of the noise on initial states: equal to that of the states themselves."""


def gather_candidates(
    model: NoisyReasoner,
    domain: Domain,
    puzzles: Tokens,
    budget: AttemptBudget,
    streams: Sequence[int],
    *,
    adaptive: bool = True,
    puzzle_identifiers: NDArray[np.int32] | None = None,
) -> Iterator[tuple[int, list[Candidate]]]:
    """Every attempt's last answer to each of `puzzles` `[n, S]` with its index, in the order of the attempts.

    With `adaptive` an attempt ends when the model halts it. A puzzle's attempts depend only on the seed and on its
    number in `streams`, not on the other puzzles.
    """
    together = max(1, budget.batch_size // budget.count)
    for start in range(0, len(puzzles), together):
        rows = range(start, min(start + together, len(puzzles)))
        copies = Copies.of(domain, puzzles, rows, budget, streams)
        found: dict[int, list[Candidate]] = {row: [] for row in rows}
        back = copies.symmetries.inverse()
        for step in copies.begin(model, puzzles, budget, streams, puzzle_identifiers, adaptive=adaptive):
            ended = step.finished.cpu().numpy()
            if not ended.any():
                continue
            mine = step.rows.cpu().numpy()[ended]
            owners = copies.puzzles[mine]
            answers = back[mine].apply(step.predictions.cpu().numpy().astype(np.uint8)[ended])
            violations = (
                cast(BulkDomain, domain).violations(puzzles[owners], answers).tolist()
                if has_rules(domain)
                else [None] * len(mine)
            )
            q_halt, confidence, residual = _selection_features(step, ended)
            for place, owner in enumerate(owners.tolist()):
                candidate = Candidate(
                    tokens=answers[place],
                    violations=violations[place],
                    q_halt=q_halt[place],
                    confidence=confidence[place],
                    residual=residual[place],
                    steps=step.step,
                    attempt=int(copies.attempts[mine[place]]),
                )
                found[owner].append(candidate)
        for row in rows:
            yield row, sorted(found[row], key=lambda one: one.attempt)


def _selection_features(
    step: InferenceStep, ended: NDArray[np.bool_]
) -> tuple[list[float], list[float], list[float]]:
    """Halt value, confidence and residual of each row that ended."""
    rows = torch.from_numpy(np.flatnonzero(ended)).to(step.rows.device)
    assert step.logits is not None
    assert step.carry is not None
    assert step.before is not None
    confidence = step.logits[rows].float().log_softmax(-1).amax(-1).mean(-1)
    residual = relative_change(step.before.z_H[rows], step.carry.z_H[rows])
    return step.q_halt[rows].tolist(), confidence.tolist(), residual.tolist()


@dataclass
class SelectorFigures:
    """The accuracy of selectors on puzzles with a known answer."""

    puzzles: int = 0
    among: int = 0
    """Number of puzzles with the correct answer among their candidates."""
    chosen: dict[Select, int] = field(default_factory=dict)
    """Number of these for which each selector chose the correct answer."""

    @classmethod
    def of(cls, gathered: Iterable[tuple[int, Sequence[Candidate]]], labels: Tokens) -> SelectorFigures:
        """Compares the choices of all selectors with the correct answers `[n, S]`; uses rules where they exist."""
        figures = cls()
        for index, candidates in gathered:
            right = [bool((one.tokens == labels[index]).all()) for one in candidates]
            figures.puzzles += 1
            figures.among += any(right)
            knows_rules = all(one.violations is not None for one in candidates)
            for name, selector in SELECTORS.items():
                if knows_rules or name != "verify":
                    figures.chosen[name] = figures.chosen.get(name, 0) + right[selector(candidates)]
        return figures
