"""Losses and metrics against their formulas, row by row."""

from __future__ import annotations

import math

import pytest
import torch

from hrm_cli.models.losses import act_loss, compare, softmax_cross_entropy, stablemax_cross_entropy


def test_stablemax_is_its_formula_in_float64() -> None:
    logits = [1.5, -2.0, 0.0]
    scores = [2.5, 1 / 3, 1.0]
    loss = stablemax_cross_entropy(torch.tensor([[logits]]), torch.tensor([[1]]))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(-math.log(scores[1] / sum(scores)), rel=1e-12)


@pytest.mark.parametrize("token_loss", [stablemax_cross_entropy, softmax_cross_entropy])
def test_ignored_labels_cost_nothing_and_get_no_gradient(token_loss) -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    labels = torch.tensor([[1, -100, 2], [-100, -100, -100]])
    loss = token_loss(logits, labels)
    assert loss[labels == -100].eq(0).all()
    loss.sum().backward()
    assert logits.grad is not None
    assert logits.grad[labels == -100].eq(0).all()
    assert logits.grad[0, 0].ne(0).any()


def logits_for(predictions: torch.Tensor, vocabulary: int = 5) -> torch.Tensor:
    return torch.nn.functional.one_hot(predictions, vocabulary).float() * 8


def test_a_rows_loss_is_averaged_over_its_labels_before_rows_are_summed() -> None:
    labels = torch.tensor([[1, 2, 3, 4], [1, -100, -100, -100]])
    logits = torch.zeros(2, 4, 5)
    quiet = torch.full((2,), -50.0)
    wrong = torch.tensor([False, False])
    total, metrics = act_loss(
        logits, labels, quiet, quiet, None, wrong, torch.ones(2), "softmax_cross_entropy"
    )
    assert metrics["lm_loss"].item() == pytest.approx(2 * math.log(5), rel=1e-6)
    assert total.item() == pytest.approx(metrics["lm_loss"].item(), rel=1e-6)


def test_metrics_count_halted_rows_with_labels_only() -> None:
    labels = torch.tensor([[1, 2], [3, 4], [1, 1], [-100, -100]])
    predictions = torch.tensor([[1, 2], [3, 1], [1, 1], [0, 0]])
    q_halt = torch.tensor([2.0, 2.0, -1.0, 1.0])
    halted = torch.tensor([True, True, False, True])
    steps = torch.tensor([3, 5, 7, 9])
    _, metrics = act_loss(
        logits_for(predictions),
        labels,
        q_halt,
        q_halt,
        q_halt.sigmoid(),
        halted,
        steps,
        "softmax_cross_entropy",
    )
    expected = {"count": 2, "accuracy": 1.5, "exact_accuracy": 1, "q_halt_accuracy": 1, "steps": 8}
    assert {name: metrics[name].item() for name in expected} == expected


def test_a_row_without_labels_counts_as_correct() -> None:
    result = compare(torch.tensor([[3, 3]]), torch.tensor([[-100, -100]]))
    assert result.correct.item() is True
    assert result.labeled.item() == 0
