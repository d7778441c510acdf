"""How much processor time each test takes, with its fixtures and the processes that it starts.

Unlike the elapsed time, it hardly depends on what else the machine does. `pytest --processor-time` prints the sums by
file and the longest tests; with `--junitxml`, every test has the property `processor_seconds`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

FILES, TESTS = 40, 30
"""How many of each are printed."""
PROPERTY = "processor_seconds"
_BEGUN = pytest.StashKey[float]()


def used() -> float:
    """Seconds of processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class ProcessorTime:
    """The hooks of a worker, which measure, and of the main process, which adds up."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        item.stash[_BEGUN] = used()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            item.user_properties.append((PROPERTY, round(used() - item.stash[_BEGUN], 2)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.tests[report.nodeid] += dict(report.user_properties).get(PROPERTY, 0)  # type: ignore[operator]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.partition("::")[0]] += seconds
        terminalreporter.section(f"{sum(files.values()):,.0f} s of processor time")
        for name, seconds in (*files.most_common(FILES), *self.tests.most_common(TESTS)):
            terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
