"""Shared code of the benchmarks: machine information, measurement of rates, and saving of results."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hrm_cli.machine import processor_name

Work = Callable[[], int]
"""Performs some work and returns the number of items processed."""


def machine() -> dict[str, Any]:
    """Processor, cores and versions, without the name of the machine."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }


def machine_line() -> str:
    """The facts of `machine` on one line."""
    facts = machine()
    versions = f"Python {facts['python']}, torch {facts['torch']}, numpy {facts['numpy']}"
    return f"{facts['processor']}, {facts['cores']} cores; {platform.system()}, {versions}"


def keep(text: str, file: Path | None) -> None:
    """Writes a benchmark's text to the file that `--save` named, if it named one."""
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def rate(work: Work, runs: int, seconds: float) -> tuple[float, float, float]:
    """Median, minimum and maximum items per second over `runs`, each of about `seconds`.

    Seconds are CPU time of this program, so other programs on the machine do not count.
    """
    work()
    rates = []
    for _ in range(runs):
        done, start = 0, time.process_time()
        while time.process_time() - start < seconds:
            done += work()
        rates.append(done / (time.process_time() - start))
    return statistics.median(rates), min(rates), max(rates)


def print_rates(rows: Sequence[tuple[str, Work]], runs: int, seconds: float) -> None:
    """A line for each kind of work; a row whose name is indented is compared with the one above."""
    width = max(len(name) for name, _ in rows) + 2
    before = 0.0
    for name, work in rows:
        middle, least, greatest = rate(work, runs, seconds)
        ratio = f"   compiled ÷ plain: {before / middle:,.0f}" if name.startswith(" ") else ""
        print(f"{name:<{width}}{middle:>12,.1f} /s   ({least:,.1f} - {greatest:,.1f}){ratio}", flush=True)
        before = middle
