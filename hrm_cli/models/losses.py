"""Token losses, the three-part ACT loss and its metrics (hrm-spec "Loss").

Letters in shapes: B rows, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hrm_cli.data.metadata import IGNORED_LABEL
from hrm_cli.models.device import widest_float


def _log_stablemax(logits: Tensor) -> Tensor:
    # s(x) = x + 1 for x ≥ 0, 1/(1 − x + 1e-30) below; float64 where the device has it (MPS has none).
    wide = logits.to(widest_float(logits.device))
    scores = torch.where(wide < 0, 1 / (1 - wide.clamp(max=0) + 1e-30), wide.clamp(min=0) + 1)
    return scores.log() - scores.sum(-1, keepdim=True).log()


def stablemax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log stablemax(label), `[B, S]` float64 (float32 on MPS); 0 where the label is ignored."""
    log_probabilities = _log_stablemax(logits)
    labeled = labels != IGNORED_LABEL
    picked = log_probabilities.gather(-1, labels.clamp(min=0).long().unsqueeze(-1)).squeeze(-1)
    return torch.where(labeled, -picked, 0.0)


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy at the label, `[B, S]` float32; 0 where the label is ignored."""
    return F.cross_entropy(
        logits.float().flatten(0, 1), labels.long().flatten(), ignore_index=IGNORED_LABEL, reduction="none"
    ).view(labels.shape)


def log_probabilities(logits: Tensor, token_loss: str) -> Tensor:
    """Log-probabilities `[B, S, V]` of the tokens, float32, normalized as by the token loss of that name."""
    if token_loss == "stablemax_cross_entropy":
        return _log_stablemax(logits).float()
    return F.log_softmax(logits.float(), dim=-1)


def divergence(targets: Tensor, logits: Tensor, labels: Tensor, token_loss: str) -> Tensor:
    """KL(targets ‖ logits), averaged over each row's labeled tokens and summed over rows.

    `targets` are log-probabilities `[B, S, V]` without gradient, `logits` `[B, S, V]`.
    """
    per_token = (targets.exp() * (targets - log_probabilities(logits, token_loss))).sum(-1)
    labeled = labels != IGNORED_LABEL
    return (torch.where(labeled, per_token, 0.0).sum(-1) / labeled.sum(-1).clamp(min=1)).sum()


TOKEN_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "stablemax_cross_entropy": stablemax_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


@dataclass
class RowResults:
    """How each row's prediction compares with its labels, `[B]` each."""

    labeled: Tensor
    """Number of labeled tokens."""
    accuracy: Tensor
    """Fraction of the labeled tokens that are correct, float32."""
    correct: Tensor
    """Whether every labeled token is correct; true for a row without labels."""


def compare(predictions: Tensor, labels: Tensor) -> RowResults:
    """Compares predictions `[B, S]` with labels `[B, S]`, skipping ignored labels."""
    mask = labels != IGNORED_LABEL
    labeled = mask.sum(-1)
    right = (mask & (predictions == labels)).sum(-1)
    return RowResults(labeled, right.float() / labeled.clamp(min=1), right == labeled)


def act_loss(
    logits: Tensor,
    labels: Tensor,
    q_halt: Tensor | None,
    q_continue: Tensor | None,
    target_q_continue: Tensor | None,
    halted: Tensor,
    steps: Tensor,
    token_loss: str,
    row_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss token + ½·(BCE(q_halt, row correct) + BCE(q_continue, target)), summed over rows, and sums of metrics.

    The metrics `count`, `accuracy`, `exact_accuracy`, `q_halt_accuracy` and `steps` are sums over the rows that
    halted at this step and have labels. The losses are sums over all rows; the caller divides by the global batch
    size. `target_q_continue` None omits the Q-continue term (as for halt_max_steps 1); `q_halt` None omits the Q-halt
    term (a core without a Q head). `row_weights` `[B]` multiplies the rows' losses.
    """
    with torch.no_grad():
        rows = compare(logits.argmax(-1), labels)
        counted = halted & (rows.labeled > 0)

    def summed(losses: Tensor) -> Tensor:
        return (losses if row_weights is None else losses * row_weights).sum()

    per_token = TOKEN_LOSSES[token_loss](logits, labels)
    token = summed((per_token / rows.labeled.clamp(min=1).unsqueeze(-1)).sum(-1))
    total = token
    metrics = {
        "count": counted.sum(),
        "accuracy": torch.where(counted, rows.accuracy, 0.0).sum(),
        "exact_accuracy": (counted & rows.correct).sum(),
        "steps": torch.where(counted, steps, 0).sum(),
        "lm_loss": token.detach(),
    }
    if q_halt is not None:
        halt = summed(
            F.binary_cross_entropy_with_logits(q_halt, rows.correct.to(q_halt.dtype), reduction="none")
        )
        total = total + 0.5 * halt
        metrics["q_halt_accuracy"] = (counted & ((q_halt >= 0) == rows.correct)).sum()
        metrics["q_halt_loss"] = halt.detach()
    if q_continue is not None and target_q_continue is not None:
        q_loss = summed(F.binary_cross_entropy_with_logits(q_continue, target_q_continue, reduction="none"))
        total = total + 0.5 * q_loss
        metrics["q_continue_loss"] = q_loss.detach()
    return total, metrics
