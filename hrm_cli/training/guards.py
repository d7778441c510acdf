"""What tells that training has gone wrong: the loss, the weights, the exact accuracy, the loss scale."""

from __future__ import annotations

import math

import torch

from hrm_cli.config.schema import TrainConfig
from hrm_cli.training.state import TrainState

_SMALL_LOSS = 0.01
"""Loss in nats below which a model is right nearly everywhere: what a factor is of such a number says nothing."""


class Divergence(Exception):  # noqa: N818 - the event's name in this field
    """Training has diverged; the text says by what sign. The loop decides what follows."""


def check_loss(state: TrainState, loss: float, config: TrainConfig) -> None:
    """Raises Divergence where a logged mean loss is not finite, or `explode_ratio` times the lowest so far.

    A lowest loss below 0.01 counts as 0.01: models that solve everything jump from 0.00001 to 0.01 and back.
    """
    limit = config.explode_ratio
    if not math.isfinite(loss):
        raise Divergence(f"the loss is {loss}")
    if state.lowest_loss is not None and loss > limit * max(state.lowest_loss, _SMALL_LOSS):
        raise Divergence(
            f"the loss is {loss:.4g}, more than {limit:g} times its lowest, {state.lowest_loss:.4g}"
        )
    state.lowest_loss = loss if state.lowest_loss is None else min(loss, state.lowest_loss)


def check_weights(state: TrainState) -> None:
    """Raises Divergence where weights or puzzle embeddings are not finite: none such may reach a checkpoint.

    Between two logged lines the loss is not read, so that this is no repetition of `check_loss`.
    """
    for name, tensor in state.model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise Divergence(f"{name} holds numbers that are not finite")


def check_accuracy(state: TrainState, exact_accuracy: float, config: TrainConfig) -> None:
    """Raises Divergence where an evaluation's exact accuracy has collapsed after it was high.

    That is: it is below `collapse_ratio` of the best, and the best was at least `collapse_from`.
    """
    best = state.best
    if best is None or best.exact_accuracy < config.collapse_from:
        return
    if exact_accuracy < config.collapse_ratio * best.exact_accuracy:
        raise Divergence(
            f"exact accuracy has collapsed to {exact_accuracy:.2%}, from {best.exact_accuracy:.2%} "
            f"at step {best.step}"
        )


def check_scale(state: TrainState) -> None:
    """Raises Divergence where float16 gradients overflow at any loss scale."""
    if state.loss_scale is not None and state.loss_scale.scale < 1:
        raise Divergence("float16 gradients are not finite even without a loss scale")
