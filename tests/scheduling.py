"""In which order the tests run, and on which worker: all workers are to finish together."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

FEW_SECONDS = 5.0
"""What `@pytest.mark.slow` stands for; `@pytest.mark.slow(seconds=100)` says it of a test that takes longer."""


def longest_first(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, the slowest of them at the front; tests of one file stay together."""
    seconds: dict[Path, float] = defaultdict(float)
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds[item.path] += mark.kwargs.get("seconds", FEW_SECONDS)
    items.sort(key=lambda item: -seconds[item.path])


def stealing_scheduler(config: Any, log: Any) -> Any:
    """Each worker has a stretch of the tests, so that it sets up a file's fixtures once. At its end it helps others."""
    if config.getoption("dist") != "load":  # another way was requested
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
