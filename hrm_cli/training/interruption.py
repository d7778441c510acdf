"""SIGINT and SIGTERM while training: the first asks the loop to save and stop, a second leaves at once."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType, TracebackType


class Interruption:
    """While entered, remembers the first signal in `signal_number`; a second takes its ordinary course."""

    def __init__(self) -> None:
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
        self.signal_number = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]
