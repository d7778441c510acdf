"""The learning-rate schedule (hrm-spec "Optimisation")."""

from __future__ import annotations

import math

from hrm_cli.config.schema import TrainConfig


def learning_rate(step: int, total_steps: int, lr: float, *, warmup_steps: int, min_ratio: float) -> float:
    """The rate of optimiser step `step` (counted from 1) out of `total_steps`.

    Linear warm-up lr·step/W, then lr·(r + (1−r)·½(1 + cos(π(k−W)/(T−W)))); with r = 1 the rate is constant.
    """
    if step < warmup_steps:
        return lr * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return lr * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def rate_factor(step: int, total_steps: int, config: TrainConfig) -> float:
    """What a run's learning rates are multiplied by at optimiser step `step`."""
    return learning_rate(
        step, total_steps, 1.0, warmup_steps=config.lr_warmup_steps, min_ratio=config.lr_min_ratio
    )
