"""Long tests begin first, and the tests of a file stay together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .processor_time import PROPERTY, ProcessorTime
from .scheduling import longest_first


def item(name: str, *marks: Any) -> Any:
    return SimpleNamespace(
        name=name, path=Path(name[0]), iter_markers=lambda kind: [mark for mark in marks if mark.name == kind]
    )


def test_files_with_long_tests_come_first_and_stay_together() -> None:
    slow, very_slow = pytest.mark.slow.mark, pytest.mark.slow(seconds=60).mark
    items = [
        item("a1"),
        item("a2"),
        item("b1"),
        item("b2", slow),
        item("c1"),
        item("d1", very_slow),
        item("d2"),
    ]
    longest_first(items)
    assert [one.name for one in items] == ["d1", "d2", "b1", "b2", "a1", "a2", "c1"]


def test_processor_time_is_that_of_a_test_with_its_fixtures_and_processes() -> None:
    times = ProcessorTime()
    item: Any = SimpleNamespace(stash=pytest.Stash(), user_properties=[])
    for hook in (times.pytest_runtest_setup(item), times.pytest_runtest_teardown(item)):
        next(hook)
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
        with pytest.raises(StopIteration):
            next(hook)
    ((name, seconds),) = item.user_properties
    assert (name, seconds > 0.02) == (PROPERTY, True)

    for when in ("setup", "call", "teardown"):
        for test in ("a.py::one", "a.py::two", "b.py::three"):
            report: Any = SimpleNamespace(when=when, nodeid=test, user_properties=[(PROPERTY, 1.5)])
            times.pytest_runtest_logreport(report)
    lines: list[str] = []
    times.pytest_terminal_summary(SimpleNamespace(section=lines.append, write_line=lines.append))
    assert lines[0] == "4 s of processor time"
    assert [line.split()[0] for line in lines[1:]] == ["3.0", "1.5", "1.5", "1.5", "1.5"]
