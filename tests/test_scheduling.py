"""Long tests begin first, and the tests of a file stay together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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
