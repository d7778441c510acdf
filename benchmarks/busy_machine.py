"""Speed on an idle machine and next to one busy process, by how long OpenMP's threads spin before they sleep.

    python benchmarks/busy_machine.py --save benchmarks/results/busy_machine.txt
    python benchmarks/busy_machine.py --int8 --save benchmarks/results/busy_machine_int8.txt

The work is training, or with `--int8` inference with int8 matmuls, which has more and shorter parallel regions.
One process per setting is started once. The processes then work in turns of a few seconds, on an idle and on a busy
machine, in a new random order every round. The script prints medians, and the CPU share of other programs. Results for
an idle machine are valid only if that share is a few percent. `--quiet PERCENT` repeats turns with a larger share.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

SPIN_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
OURS = "as hrm sets it"
SETTINGS: dict[str, dict[str, str]] = {
    "OpenMP's default": {},
    OURS: {},  # filled by the worker, as the command does it
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
ATTEMPTS = 10
"""Largest number of attempts for a turn, repeated while other programs disturb it."""


@dataclass
class Setting:
    """A process that trains with one setting, and its measured speeds."""

    name: str
    worker: subprocess.Popen[str]
    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


def training_step(preset_name: str) -> tuple[Callable[[], object], int]:
    """A training step of a preset, and its batch size."""
    import torch

    from hrm_cli.benchmarking import training
    from hrm_cli.config.presets import load_preset
    from hrm_cli.runs.configuration import domain_of

    preset = load_preset(preset_name)
    batch = preset.train.global_batch_size
    return training(preset_name, preset, domain_of(preset.data), batch, torch.device("cpu")).run, batch


def int8_step() -> tuple[Callable[[], object], int]:
    """An inference step of the bundled Sudoku model with int8 matmuls, and its batch size."""
    from inference_speed import SUDOKU, model_of, stepping

    return stepping(model_of(SUDOKU, 9), 9, 64, "on", shards=True), 64


def work(preset_name: str, *, int8: bool) -> None:
    """The process of one setting. It reads numbers of seconds from standard input and works for each of them."""
    if os.environ.pop("HRM_BENCHMARK_OURS", ""):
        from hrm_cli.environment import limit_spinning

        limit_spinning()
    step, batch = int8_step() if int8 else training_step(preset_name)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        count, started = 0, time.perf_counter()
        while (taken := time.perf_counter() - started) < float(line):
            step()
            count += 1
        print(count * batch / taken, flush=True)


def started(name: str, variables: dict[str, str], preset: str, *, int8: bool) -> Setting:
    environment = {key: value for key, value in os.environ.items() if key not in SPIN_VARIABLES}
    environment |= variables | ({"HRM_BENCHMARK_OURS": "1"} if name == OURS else {})
    command = [sys.executable, __file__, "--worker", "--preset", preset, *(["--int8"] if int8 else [])]
    worker = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    if worker.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name}: the worker did not start")
    return Setting(name, worker)


def processor_seconds(processes: list[int]) -> tuple[float, float]:
    """CPU time used by the whole machine and by these processes; zeros if it is not available."""
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        own = sum(
            sum(int(word) for word in Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
            for one in processes
        )
    except OSError:
        return 0.0, 0.0
    used = sum(fields[:8]) - fields[3] - fields[4]  # less idle and waiting for a disk
    return used / tick, own / tick


def turn(setting: Setting, seconds: float, ours: list[int]) -> tuple[float, float]:
    """Examples per second of one turn, and the CPU share of other programs during it."""
    assert setting.worker.stdin is not None
    assert setting.worker.stdout is not None
    before, began = processor_seconds(ours), time.perf_counter()
    print(seconds, file=setting.worker.stdin, flush=True)
    rate = float(setting.worker.stdout.readline())
    after, taken = processor_seconds(ours), time.perf_counter() - began
    others = (after[0] - before[0]) - (after[1] - before[1])
    return rate, max(others, 0.0) / taken / (os.cpu_count() or 1)


def measured(settings: list[Setting], rounds: int, seconds: float, quiet: float) -> list[float]:
    """Measures the speed of each setting. Returns the CPU shares of other programs."""
    program = (
        f"import os\nwhile os.getppid() == {os.getpid()}: pass"  # ends with this process, however that ends
    )
    burner = subprocess.Popen([sys.executable, "-c", program])
    ours = [burner.pid, *(setting.worker.pid for setting in settings)]
    disturbed: list[float] = []
    try:
        for _ in range(rounds):
            for setting in random.sample(settings, len(settings)):
                for rates, signal_ in ((setting.idle, signal.SIGSTOP), (setting.busy, signal.SIGCONT)):
                    burner.send_signal(signal_)
                    for attempt in range(ATTEMPTS):
                        rate, others = turn(setting, seconds, ours)
                        if others <= quiet or attempt == ATTEMPTS - 1:
                            break
                    rates.append(rate)
                    disturbed.append(others)
    finally:
        burner.kill()
        burner.wait()
    return disturbed


def table(settings: list[Setting]) -> str:
    from timed_training import aligned

    best = median(settings[0].idle)
    rows = [["", "idle: per s", "of the default", "busy: per s", "busy ÷ idle"]]
    for setting in settings:
        idle, busy = median(setting.idle), median(setting.busy)
        rows.append([setting.name, f"{idle:.4g}", f"{idle / best:.0%}", f"{busy:.4g}", f"{busy / idle:.0%}"])
    return aligned(rows)


def _described(given: argparse.Namespace) -> str:
    if given.int8:
        return "Inference with int8 matmuls, 64 puzzles of 9×9, steps × puzzles per second"
    return f"Training {given.preset}, examples per second"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="tiny", help="what to train")
    parser.add_argument("--int8", action="store_true", help="inference of the bundled Sudoku model instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument(
        "--spins", type=int, nargs="*", default=[], help="GOMP_SPINCOUNT: other values to try"
    )
    parser.add_argument(
        "--quiet", type=float, default=100, help="largest percentage that other programs may take"
    )
    parser.add_argument("--save", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.preset, int8=given.int8)
        return
    wanted = SETTINGS | {f"GOMP_SPINCOUNT={n}": {"GOMP_SPINCOUNT": str(n)} for n in given.spins}
    settings = [started(name, variables, given.preset, int8=given.int8) for name, variables in wanted.items()]
    try:
        disturbed = measured(settings, given.rounds, given.seconds, given.quiet / 100)
    finally:
        for setting in settings:  # each also ends by itself, at the end of its standard input
            setting.worker.kill()
            setting.worker.wait()
    from reporting import keep, machine_line

    text = "\n".join(
        [
            f"Machine: {machine_line()}",
            f"{_described(given)}, medians of {given.rounds} turns of {given.seconds:g} s; "
            "busy: next to one process that never sleeps",
            f"Other programs took {median(disturbed):.0%} of the machine (median of the turns), "
            f"at most {max(disturbed):.0%}",
            "",
            table(settings),
        ]
    )
    print(text)
    keep(text, given.save)


if __name__ == "__main__":
    main()
