"""Records the reasoning steps of a task's augmented copies, to show those of the copy with the winning answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.symmetry import ArcSymmetry
from hrm_cli.puzzles.domain import Grid, Tokens
from hrm_cli.solving.solution import TraceStep


class StepRecorder:
    """Stores each row's answer after each step, 900 bytes per step."""

    def __init__(self) -> None:
        self._steps: dict[int, list[tuple[int, Tokens, float]]] = {}

    def add(
        self,
        step: int,
        rows: NDArray[np.integer],
        predictions: NDArray[np.integer],
        q_halt: NDArray[np.floating],
    ) -> None:
        """Adds one step of some rows: their indices `[b]`, predicted fields `[b, 900]` and halt values `[b]`."""
        tokens = predictions.astype(np.uint8)
        for row, field, value in zip(rows.tolist(), tokens, q_halt.tolist(), strict=True):
            self._steps.setdefault(row, []).append((step, field, value))

    def trace(self, row: int, symmetry: ArcSymmetry) -> tuple[TraceStep, ...]:
        """The steps of a row whose task is transformed by `symmetry`, mapped back to the original task."""
        domain, undo = ArcDomain(), symmetry.inverse()
        return tuple(
            TraceStep(step, _undone(domain.decode(tokens), undo), value)
            for step, tokens, value in self._steps.get(row, ())
        )


def _undone(grid: Grid, undo: ArcSymmetry) -> Grid:
    return undo.apply(grid) if grid.size else grid
