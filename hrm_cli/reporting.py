"""Progress, notes and warnings of long jobs.

The commands show them on stderr. The Python API shows nothing unless a reporter is passed; its warnings are Python
warnings.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext


class Progress:
    """The progress of one job. This base class shows nothing."""

    def update(self, completed: float, note: str = "", total: float | None = None) -> None:
        """Reports that `completed` units are done. `note` is a short status such as `loss 0.41, train exact 87.2%`.

        `total` replaces the previous total.
        """


class Reporter:
    """Receives notes, warnings and progress. This base class issues Python warnings and drops everything else."""

    def note(self, text: str) -> None:
        """Reports one line of information."""

    def warn(self, text: str) -> None:
        """Reports a problem that does not stop the job."""
        warnings.warn(text, stacklevel=3)

    def progress(
        self, description: str, total: float | None = None, *, start: float = 0
    ) -> AbstractContextManager[Progress]:
        """Shows the progress of a job of `total` units, `start` of them already done."""
        return nullcontext(Progress())


class Silent(Reporter):
    """Drops everything. Used by ranks other than 0."""

    def warn(self, text: str) -> None:
        """Does nothing."""


@contextmanager
def stages(reporter: Reporter) -> Iterator[Callable[[str, int, int | None], None]]:
    """Shows a new progress display for every stage of work that reports `(stage, done, total)`."""
    with ExitStack() as displays:
        current: dict[str, Progress] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in current:
                displays.close()
                current.clear()
                current[stage] = displays.enter_context(reporter.progress(stage, total))
            current[stage].update(done)

        yield report


_waiting: list[Callable[[], None]] = []


def when_compiling(report: Callable[[], None]) -> None:
    """Calls `report`, once, if this process compiles CPU kernels for more than two seconds."""
    _waiting[:] = [report]


class _Compiled(threading.local):
    seconds = 0.0


_compiled = _Compiled()


def count_compiling(seconds: float) -> None:
    """Adds to the seconds that this thread spent compiling CPU kernels. Called by the cache of compiled code."""
    _compiled.seconds += seconds


def working_clock() -> float:
    """`time.perf_counter`, stopped while this thread compiles CPU kernels: for the time that a puzzle takes."""
    return time.perf_counter() - _compiled.seconds


def report_compiling() -> None:
    """Reports that compilation takes long. Called by the cache of compiled code."""
    while _waiting:
        _waiting.pop()()
