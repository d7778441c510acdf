"""A user's request for an evaluation: the options of `hrm eval` as one object that does not need torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hrm_cli.errors import ConfigError
from hrm_cli.printable import quoted


@dataclass(frozen=True)
class EvalRequest:
    """Plain values that can be sent to other processes as JSON. None uses the checkpoint's value."""

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
    depths: tuple[int, ...] = ()
    """Lower maximum numbers of steps for which accuracy is reported too, up to `max_steps`."""
    effort: Literal["low", "medium", "high"] | None = None
    """Level of further effort after a failed first answer. None: only what `attempts` and the fields below request."""
    search: int | None = None
    search_steps: int | None = None
    search_rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None
    ablate_puzzle_id: bool = False
    """Replace every puzzle identifier by the blank one."""
    sample: int | None = None
    """Evaluate only this many examples, chosen by the seed."""
    select: Literal["verify", "confidence", "q_halt", "residual", "agreement"] | None = None
    """Make all `attempts` or `restarts` at every puzzle, and let this selector choose the answer."""
    check_with: str | None = None
    """Own puzzles: `FILE.py:FUNCTION` or `gym`, which also judges the answers."""
    halt_threshold: float | None = None
    """Replaces `arch.halt_threshold`."""

    def check_halting(self) -> None:
        """Raises ConfigError if `halt_threshold` is not usable."""
        if self.halt_threshold is None:
            return
        if not 0 < self.halt_threshold < 1:
            raise ConfigError(f"--halt-threshold {self.halt_threshold:g}: must be above 0 and below 1")
        if self.halt == "full":
            raise ConfigError(
                "--halt-threshold: has no effect with --halt full, which runs all steps; omit one"
            )


def parse_depths(text: str | None) -> tuple[int, ...]:
    """`16,64,256` as numbers in ascending order; empty for None. Raises ConfigError."""
    if text is None:
        return ()
    try:
        depths = sorted({int(part) for part in text.split(",")})
    except ValueError:
        depths = [0]
    if depths[0] < 1:
        raise ConfigError(
            f"{quoted(text, 60)} is not a number of steps; expected whole numbers from 1 up, as in 16 or 16,64,256"
        )
    return tuple(depths)
