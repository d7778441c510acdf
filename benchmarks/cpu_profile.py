"""Profiles a training step on a CPU with torch's profiler: time by kernel.

python benchmarks/cpu_profile.py [--preset base --batch 16] [--save benchmarks/results/cpu_profile.txt]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from reporting import keep, machine_line
from torch.profiler import ProfilerActivity, profile, record_function

from hrm_cli.benchmarking import training
from hrm_cli.config.presets import load_preset
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.runs.configuration import domain_of

STEPS, LINES = 3, 20


@contextmanager
def kernels_by_name() -> Iterator[None]:
    """Labels hrm's kernels in the profile, which otherwise distinguishes only torch operators."""
    plain = Kernel.__call__

    def told(self: Kernel, *given: Any) -> None:
        with record_function(f"kernel {self.name}"):
            plain(self, *given)

    Kernel.__call__ = told  # type: ignore[method-assign]
    try:
        yield
    finally:
        Kernel.__call__ = plain  # type: ignore[method-assign]


def shares(name: str, batch: int) -> list[str]:
    """The slowest operators of a step, with their fraction of the step and their time."""
    preset = load_preset(name)
    step = training(name, preset, domain_of(preset.data), batch, torch.device("cpu")).run
    for _ in range(STEPS):
        step()
    with kernels_by_name(), profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(STEPS):
            step()
    found = sorted(measured.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in found)
    return [
        f"{one.self_cpu_time_total / total:>7.1%}{one.self_cpu_time_total / STEPS / 1e3:>10.1f} ms"
        f"{one.count / STEPS:>8.0f} times  {one.key}"
        for one in found[:LINES]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    text = "\n".join(
        [
            f"Machine: {machine_line()}",
            f"One training step of {given.preset} on {given.batch} puzzles, {torch.get_num_threads()} threads",
            "",
            *shares(given.preset, given.batch),
        ]
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
