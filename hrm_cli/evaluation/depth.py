"""Accuracy as a function of the maximum number of steps, measured in one run with the largest number.

Letters in shapes: b rows, D depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hrm_cli.models.core import CoreOutput
from hrm_cli.models.inference import ActiveRows
from hrm_cli.models.losses import compare


@dataclass(frozen=True)
class DepthFigures:
    """The results of the same evaluation with a lower maximum number of steps."""

    max_steps: int
    exact_accuracy: float
    mean_steps: float


class DepthCurve:
    """Counts, during an evaluation, the results that it would have with a lower maximum number of steps."""

    def __init__(self, depths: Sequence[int]) -> None:
        self._depths = torch.tensor(sorted(set(depths)), dtype=torch.int64)
        self.sums = torch.zeros(len(self._depths), 2, dtype=torch.float64)
        """Exact answers and steps at each depth, `[D, 2]`."""

    def unfinished(self, rows: ActiveRows, out: CoreOutput, done: Tensor) -> None:
        """Counts the current answers of the rows that continue (all except `done` `[b]`) as if they ended here."""
        at = (~done & torch.isin(rows.steps, self._depths.to(done.device))).nonzero().squeeze(-1)
        if len(at):
            assert out.logits is not None
            result = compare(out.logits[at].argmax(-1), rows.puzzles.labels[at])
            exact = (result.correct & (result.labeled > 0)).cpu().double()
            self.sums[:, 0].index_add_(0, torch.searchsorted(self._depths, rows.steps[at].cpu()), exact)

    def finished(self, exact: Tensor, counted: Tensor, steps: Tensor) -> None:
        """Counts finished rows: whether they are exact, whether they count, and their steps, `[b]` each."""
        exact, counted, steps = exact.cpu(), counted.cpu(), steps.cpu()
        in_time = steps <= self._depths[:, None]
        self.sums[:, 0] += (exact & in_time).sum(1)
        self.sums[:, 1] += (torch.minimum(steps, self._depths[:, None]) * counted).sum(1)

    def figures(self, sums: Tensor, puzzles: int) -> tuple[DepthFigures, ...]:
        """The curve from the sums `[D, 2]` over all processes."""
        shares = (sums / max(puzzles, 1)).tolist()
        return tuple(
            DepthFigures(depth, exact, steps)
            for depth, (exact, steps) in zip(self._depths.tolist(), shares, strict=True)
        )
