"""How `hrm eval` compares a cell accuracy with trivial baselines."""

from __future__ import annotations

import pytest

from hrm_cli.cli.render.figures import compared_with_baselines
from hrm_cli.evaluation.baselines import Baseline

BASELINES = {"most_frequent": Baseline(0.412, 0.0), "all_background": Baseline(0.743, 0.0)}
MEANINGLESS = ": it says nothing about solving puzzles."


@pytest.mark.parametrize(
    ("accuracy", "place", "end"),
    [
        (0.586, "lower than", MEANINGLESS),
        (0.7229, "lower than", MEANINGLESS),
        (0.7231, "within two points of", MEANINGLESS),
        (0.7629, "within two points of", MEANINGLESS),
        (0.7631, "above", "."),
        (1.0, "above", "."),
    ],
)
def test_a_cell_accuracy_is_compared_with_the_best_trivial_baseline_by_name_and_figures(
    accuracy: float, place: str, end: str
) -> None:
    assert compared_with_baselines(accuracy, BASELINES) == (
        f"The cell accuracy, {accuracy:.2%}, is {place} the best trivial baseline (all background, 74.30%){end}"
    )
