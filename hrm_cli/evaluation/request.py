"""What a user asks of an evaluation: the options of `hrm eval` as one object, before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EvalRequest:
    """Plain values, so that they go to other processes as JSON; None leaves a value to the checkpoint."""

    checkpoint: str
    data: str | None = None
    split: str = "test"
    max_steps: int | None = None
    halt: str | None = None
    batch_size: int | None = None
    max_puzzles: int | None = None
    attempts: int | None = None
    submission: str | None = None
    device: str = "auto"
    seed: int = 0
    compile: str = "auto"
    effort: Literal["low", "medium", "high"] | None = None
    """What follows a failed first answer; None: only what `attempts` and those below say."""
    search: int | None = None
    search_steps: int | None = None
    search_rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None
