"""Depth schedules: the number of cycles of a training step, depending on the completed fraction of the run."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

DEPTH_SCHEDULES = {
    # arXiv 2603.15641: H grows at 20, 40, 55, 65, 75 and 85 %, L at 30, 50, 70 and 80 %.
    "rsm": "2x2@0 3x2@0.2 3x3@0.3 4x3@0.4 4x4@0.5 5x4@0.55 6x4@0.65 6x5@0.7 7x5@0.75 7x6@0.8 8x6@0.85",
    # arXiv 2511.08653.
    "cgar": "1x2@0 2x4@0.3 3x6@0.6",
}
"""The published schedules. Each stage is H_cycles x L_cycles @ fraction of the run."""

_STAGE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})@(0|0?\.\d+)")


class DepthStage(NamedTuple):
    """A stage of a schedule: it begins when the fraction `start` of the run is complete."""

    start: float
    H_cycles: int
    L_cycles: int


def parse_schedule(text: str) -> list[DepthStage]:
    """Parses a schedule: a name in `DEPTH_SCHEDULES`, or stages such as `2x2@0 3x2@0.2 …`. Raises ValueError."""
    stages = []
    for word in DEPTH_SCHEDULES.get(text, text).split():
        match = _STAGE.fullmatch(word)
        if match is None:
            raise ValueError(
                f"found {text!r}; accepted: {', '.join(DEPTH_SCHEDULES)}, or stages H_cycles x L_cycles "
                f"@ fraction of the run, as in 2x2@0 4x3@0.5"
            )
        stages.append(DepthStage(float(match[3]), int(match[1]), int(match[2])))
    starts = [stage.start for stage in stages]
    if starts[:1] != [0] or any(later <= earlier for earlier, later in pairwise(starts)):
        raise ValueError(f"found {text!r}; the fractions of its stages must start at 0 and increase")
    return stages


def checked_schedule(value: Any) -> Any:
    """Returns `value` unchanged. Raises ValueError if it is text but not a schedule."""
    if isinstance(value, str):
        parse_schedule(value)
    return value


def depth_fractions(schedule: str) -> list[tuple[int, int, float]]:
    """H_cycles and L_cycles of every stage, and the fraction of the run for which it is used."""
    stages = parse_schedule(schedule)
    ends = [*(stage.start for stage in stages[1:]), 1.0]
    return [(s.H_cycles, s.L_cycles, end - s.start) for s, end in zip(stages, ends, strict=True)]


def depth_at(fraction: float, schedule: str | None) -> tuple[int, int] | None:
    """(H_cycles, L_cycles) when the fraction `fraction` of the run is complete; None without a schedule."""
    if schedule is None:
        return None
    stage = [stage for stage in parse_schedule(schedule) if stage.start <= fraction][-1]
    return stage.H_cycles, stage.L_cycles
