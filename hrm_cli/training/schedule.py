"""The learning-rate schedules (hrm-spec "Optimisation")."""

from __future__ import annotations

import math
from collections.abc import Callable

from hrm_cli.config.schema import TrainConfig

SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1 - progress,
}
"""Share of the way between the full rate and the last one, by progress 0..1 behind the warm-up."""


def learning_rate(
    step: int, total_steps: int, lr: float, *, warmup_steps: int, min_ratio: float, schedule: str = "cosine"
) -> float:
    """The rate of optimiser step `step` (counted from 1) out of `total_steps`.

    Linear warm-up lr·step/W, then lr·(r + (1−r)·shape((k−W)/(T−W))); the cosine's shape is ½(1 + cos πx), the
    linear one's 1 − x. With r = 1 the rate is constant.
    """
    if step < warmup_steps:
        return lr * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return lr * (min_ratio + (1 - min_ratio) * SHAPES[schedule](min(1.0, progress)))


def rate_factor(step: int, total_steps: int, config: TrainConfig) -> float:
    """What a run's learning rates are multiplied by at optimiser step `step`."""
    schedule, min_ratio = config.schedule
    warmup_steps = config.lr_warmup_steps
    if config.max_minutes is not None:
        # Nobody knows beforehand how many steps there will be: the warm-up is a tenth of them at most.
        warmup_steps = min(warmup_steps, total_steps // 10)
    return learning_rate(
        step,
        total_steps,
        1.0,
        warmup_steps=warmup_steps,
        min_ratio=min_ratio,
        schedule=schedule,
    )
