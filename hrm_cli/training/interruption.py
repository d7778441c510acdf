"""SIGINT and SIGTERM while training: the first asks the loop to save and stop, a second leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType, TracebackType


class Interruption:
    """While entered, remembers the first signal in `signal_number`; a second takes its ordinary course.

    Signals within `echo_seconds` after the first count as the same: batch systems and service managers send one to a
    launcher and to its workers, and the launcher passes it on.
    """

    def __init__(self, echo_seconds: float = 0.0) -> None:
        self._echo_seconds = echo_seconds
        self._first_came = 0.0
        self.signal_number: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Fails outside the main thread: a notebook or a test decides about signals itself.
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
