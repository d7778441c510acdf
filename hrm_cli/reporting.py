"""What a long job tells whoever waits for it.

The commands show it on stderr. From Python nothing is shown unless a reporter is passed; warnings are Python warnings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext


class Progress:
    """The progress of one job; this one shows nothing."""

    def update(self, completed: float, note: str = "", total: float | None = None) -> None:
        """`completed` of the total is done; `note` is short news such as `loss 0.41, exact 87.2 %`.

        `total` replaces the total given before.
        """


class Reporter:
    """Receives notes, warnings and progress; this one turns warnings into Python warnings and drops the rest."""

    def note(self, text: str) -> None:
        """One line about what is being done."""

    def warn(self, text: str) -> None:
        """Something is wrong, and the job continues."""
        warnings.warn(text, stacklevel=3)

    def progress(
        self, description: str, total: float | None = None, *, start: float = 0
    ) -> AbstractContextManager[Progress]:
        """The progress of a job of `total` units, `start` of which were done before."""
        return nullcontext(Progress())


class Silent(Reporter):
    """Drops everything: for ranks other than the first."""

    def warn(self, text: str) -> None:
        """Nothing."""


@contextmanager
def stages(reporter: Reporter) -> Iterator[Callable[[str, int, int | None], None]]:
    """Progress that starts anew with every stage, for work that reports `(stage, done, total)`."""
    with ExitStack() as displays:
        current: dict[str, Progress] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in current:
                displays.close()
                current.clear()
                current[stage] = displays.enter_context(reporter.progress(stage, total))
            current[stage].update(done)

        yield report
