"""Stopping a run early: SIGINT and SIGTERM, and the time limit `train.max_minutes`.

After the first signal, the loop saves and stops; a second signal ends the process at once. With a time limit, the run
ends in time, including evaluations, and its learning-rate schedule is fitted to that time.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from types import FrameType, TracebackType

from hrm_cli.training.state import TrainState


class Interruption:
    """A context manager that stores the first signal in `signal_number`. A second signal has its default effect.

    Signals within `echo_seconds` after the first count as the same signal: batch systems and service managers signal
    the launcher and its workers, and the launcher forwards the signal as well.
    """

    def __init__(self, echo_seconds: float = 0.0) -> None:
        self._echo_seconds = echo_seconds
        self._first_came = 0.0
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Setting a handler fails outside the main thread; the caller (a notebook, a test) then handles signals.
            with contextlib.suppress(ValueError):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._first_came = number, time.monotonic()
            if not self._echo_seconds:
                self._restore()
        elif time.monotonic() - self._first_came > self._echo_seconds:
            self._restore()
            os.kill(os.getpid(), number)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]


_MEASURED_STEPS = 3
"""Minimum number of steps, after one warm-up step, for an estimate of the speed."""
_EVALUATIONS = 10
"""Number of evaluations in the time limit if `train.eval_interval` is not set."""


class TimeLimit:
    """The time limit of a run; without `minutes`, the run follows its plan.

    Sets `state.horizon` to the estimated total number of steps, which learning rates and depth schedule follow. With
    several ranks, `follow` must be called at the same steps with the same time on all of them.
    """

    def __init__(self, minutes: float | None, total_steps: int, *, evaluates: bool) -> None:
        self.seconds = math.inf if minutes is None else 60 * minutes
        self._total_steps = total_steps
        self._evaluates = evaluates
        """Whether evaluations are scheduled by time."""
        self._first: tuple[int, float] | None = None
        self._evaluation = 0.0
        self._tenth: int | None = None
        self.evaluation_is_due = False
        self.evaluated_step: int | None = None

    def follow(self, state: TrainState, wall_seconds: float) -> bool:
        """Records the run's progress. Returns whether only the time for the last evaluation is left."""
        if self.seconds == math.inf:
            return False
        if self._first is None or state.step < self._first[0]:
            self._first = state.step, wall_seconds
        first_step, first_seconds = self._first
        left = self.seconds - wall_seconds - self._evaluation
        if state.step - first_step >= _MEASURED_STEPS:
            pace = (wall_seconds - first_seconds) / (state.step - first_step)
            more = math.floor(max(0.0, left) / max(pace, 1e-9))
            state.horizon = max(state.step, min(self._total_steps, state.step + more))
        tenth = math.floor(_EVALUATIONS * wall_seconds / self.seconds)
        if self._tenth is None:
            self._tenth = tenth
        self.evaluation_is_due = self._evaluates and tenth > self._tenth
        return left <= 0

    def evaluated(self, state: TrainState, seconds: float) -> None:
        """Records the duration of an evaluation, to reserve time for the last one."""
        self._evaluation, self.evaluated_step = seconds, state.step
        self.evaluation_is_due = False
        if self.seconds < math.inf:
            self._tenth = math.floor(_EVALUATIONS * state.wall_seconds / self.seconds)
