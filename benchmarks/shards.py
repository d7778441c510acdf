"""Training on a CPU with and without shards (`hrm_cli.training.shards`), on all threads and on one.

    python benchmarks/shards.py --save benchmarks/results/shards.txt
    chrt -f 10 python benchmarks/shards.py    # on a busy machine, as root: in short turns before all other programs

All settings of a line run in one process, in turns of a few steps with pauses between them. The script prints medians.
Rates per second of CPU time (of all threads) hardly depend on other programs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from hrm_cli.environment import limit_spinning

limit_spinning()  # as commands do

import torch  # noqa: E402
from reporting import keep, machine_line  # noqa: E402
from timed_training import aligned  # noqa: E402

from hrm_cli.benchmarking import training  # noqa: E402
from hrm_cli.config.presets import load_preset  # noqa: E402
from hrm_cli.environment import keep_freed_memory  # noqa: E402
from hrm_cli.runs.configuration import domain_of  # noqa: E402
from hrm_cli.training import step  # noqa: E402

CYCLES = ["arch.pos_encodings=rope", "arch.halt_max_steps=16", "arch.H_cycles=2", "arch.L_cycles=2"]
LINES: dict[str, tuple[str, int, list[str]]] = {
    "base (H 512, 4+4), batch 16": ("base", 16, []),
    "H 256, 2+2, batch 32": ("small", 32, CYCLES),
    "H 128, 1+1, batch 64": ("tiny", 64, []),
    "H 128, 1+1, batch 64, cycles 2/2": ("tiny", 64, CYCLES),
    "H 128, 1+1, batch 64, float32": ("tiny", 64, ["arch.forward_dtype=float32"]),
    "H 128, 1+1, batch 256": ("tiny", 256, []),
    "TRM mlp (5.0M), batch 16": ("trm-sudoku", 16, []),
    "units (sudoku-units), batch 64": ("sudoku-units", 64, []),
}


def rates(run: Callable[[], None], batch: int, seconds: float) -> tuple[float, float]:
    """Examples per second, and per second of CPU time, of one turn."""
    count, began, used = 0, time.perf_counter(), time.process_time()
    while (taken := time.perf_counter() - began) < seconds:
        run()
        count += 1
    return count * batch / taken, count * batch / (time.process_time() - used)


def line(name: str, batch: int, settings: list[str], rounds: int, seconds: float) -> list[list[str]]:
    """The rows of the table for one preset."""
    preset = load_preset(name, settings)
    run = training(name, preset, domain_of(preset.data), batch, torch.device("cpu")).run
    by_rule, threads = step.shard_count, torch.get_num_threads()
    found: dict[tuple[bool, int], list[tuple[float, float]]] = {}
    for turn in range(rounds + 1):
        for of in (threads, 1):
            for shards in (False, True):
                torch.set_num_threads(of)
                step.shard_count = by_rule if shards else lambda model, rows: 1  # type: ignore[assignment]
                time.sleep(seconds)
                measured = rates(run, batch, seconds)
                if turn:  # the first one warms up
                    found.setdefault((shards, of), []).append(measured)
    step.shard_count = by_rule
    torch.set_num_threads(threads)
    rows = []
    for of in (threads, 1):
        whole, parts = (
            [median(one) for one in zip(*found[shards, of], strict=True)] for shards in (False, True)
        )
        rows.append(
            [
                str(of),
                *(f"{rate:.4g}" for rate in (whole[0], parts[0])),
                f"{parts[0] / whole[0]:.2f}",
                f"{parts[1] / whole[1]:.2f}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--only", nargs="+", default=list(LINES), help="lines of the table")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    keep_freed_memory()  # as commands do
    table = [["training", "threads", "whole: per s", "shards: per s", "ratio", "ratio by CPU time"]]
    for title in given.only:
        name, batch, settings = LINES[title]
        table += [[title, *row] for row in line(name, batch, settings, given.rounds, given.seconds)]
        print("  ".join(table[-2]), file=sys.stderr, flush=True)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    real_time = hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER
    text = "\n".join(
        [
            f"Machine: {machine_line()}",
            f"Examples per second, medians of {given.rounds} turns of {given.seconds:g} s; load average {load}"
            + ("; with real-time priority" if real_time else ""),
            "",
            aligned(table),
        ]
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
