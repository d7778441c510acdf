"""The process that measures rows of the stage `speed`: one import, one CUDA context, a line of JSON for each row.

    python -m gpu_stages.speed_worker '{"device": "cuda", "small": false, "output": "OUT", "rows": [...]}'

A row that raises is a line with its error; one that breaks the device's context ends the process with status 3.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from gpu_stages.results import error_lines
from gpu_stages.speed import BROKEN, FIRST, Row
from hrm_cli.benchmarking import Workload, evaluation, training
from hrm_cli.config.presets import load_preset
from hrm_cli.runs.configuration import domain_of

_SECONDS, _FEWEST, _MOST = 4.0, 4, 200
"""The duration of a timing in seconds, and the limits for its number of steps."""


def tell(**document: Any) -> None:
    """Writes a JSON line for the parent process."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def main() -> None:
    document = json.loads(sys.argv[1])
    device, small = torch.device(document["device"]), document["small"]
    if document.get("warm"):
        warm(map(row_of, document["rows"]), device)
        return
    tell(row="device", status="begun")
    rates = device_rates(device, small)
    tell(row="device", status="ok", kind="device", **rates)
    forget(device)
    measured = dict(document["measured"])
    known = {row.name: row for row in map(row_of, document["known"])}
    for row in map(row_of, document["rows"]):
        tell(row=row.name, status="begun")
        try:
            if row.kind == "profile":
                figures = profiled(subject(row, measured, known), device, Path(document["output"]))
            else:
                figures = timed(row, device, small)
            if row.kind == "training":
                measured[row.name] = figures["of_matmul"]
            tell(row=row.name, status="ok", kind=row.kind, what=row.what, mode=row.mode, **figures)
        except Exception as error:
            tell(row=row.name, status="failed", kind=row.kind, error=error_lines(error))
            if device.type == "cuda" and is_broken(device):
                sys.exit(BROKEN)
        forget(device)


def warm(rows: Iterable[Row], device: torch.device) -> None:
    """Compiles the kernels that rows need; torch caches them on disk."""
    for row in rows:
        started = time.perf_counter()
        try:
            workload(row, device).run()
            synchronize(device)
            tell(row=row.name, status="warm", ready_seconds=time.perf_counter() - started)
        except Exception as error:
            tell(row=row.name, status="failed", error=error_lines(error))
        forget(device)


def row_of(fields: dict[str, Any]) -> Row:
    return Row(**{**fields, "overrides": tuple(fields["overrides"])})


def subject(profile: Row, measured: dict[str, float], known: dict[str, Row]) -> Row:
    """The training row that a profile is of: the first that has been measured, or the slowest."""
    names = [name for name in known if name in measured]
    if not names:
        raise LookupError("no training row has been measured")
    return known[names[0] if profile == FIRST else min(names, key=lambda name: measured[name])]


def is_broken(device: torch.device) -> bool:
    """Whether an error has left the device's context unusable, as an illegal access does."""
    try:
        torch.zeros(1, device=device).sum().item()
    except RuntimeError:
        return True
    return False


def forget(device: torch.device) -> None:
    """Frees memory and compiled graphs, so that each row starts like a new run."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_each(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, waited for one by one."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def matmul_rate(device: torch.device, small: bool) -> tuple[float, int]:
    """FLOP/s of a matrix multiplication in bfloat16 on random numbers, and its size."""
    size = 128 if small else 8192
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / seconds_each(lambda: a @ b, 8, device), size


def device_rates(device: torch.device, small: bool) -> dict[str, Any]:
    """The peak rates of the device, with which the rows are compared."""
    rate, size = matmul_rate(device, small)
    numbers = torch.randn(1 << (12 if small else 29), device=device)
    copy = torch.empty_like(numbers)
    seconds = seconds_each(lambda: copy.copy_(numbers), 8, device)
    return {
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "matmul_tflops": rate / 1e12,
        "product": f"{size}³",
        "dtype": "bfloat16",
        "copy_tb_per_s": 2 * numbers.nbytes / seconds / 1e12,
    }


def workload(row: Row, device: torch.device) -> Workload:
    """The same step as in `hrm train` and `hrm eval`, on random tokens."""
    preset = load_preset(row.preset, [*row.overrides, f"train.compile={row.mode}"])
    domain = domain_of(preset.data)
    if row.kind == "evaluation":
        return evaluation(row.what, preset, domain, row.batch, device)
    return training(row.what, preset, domain, None, device)


def timed(row: Row, device: torch.device, small: bool) -> dict[str, Any]:
    """Rounds per second as in a run, and the figures derived from them."""
    started = time.perf_counter()
    work = workload(row, device)
    built = time.perf_counter()
    work.run()
    synchronize(device)
    ready = time.perf_counter()
    for _ in range(2):
        work.run()
    synchronize(device)
    began = time.perf_counter()
    rounds = 0
    # Time bursts without synchronization, as in a run, so that the host can run ahead of the device.
    burst = 1
    while rounds < _FEWEST or (
        time.perf_counter() - began < (0.05 if small else _SECONDS) and rounds < _MOST
    ):
        for _ in range(burst):
            work.run()
        synchronize(device)
        rounds += burst
        burst = min(20, max(1, round(rounds / (time.perf_counter() - began))))
    each = (time.perf_counter() - began) / rounds
    assert work.flops_per_example is not None
    flops = work.examples * work.flops_per_example / each
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    rate, _ = matmul_rate(device, small)
    return {
        "build_seconds": built - started,
        "ready_seconds": ready - built,
        "steps_per_s": 1 / each,
        "puzzles_per_s": work.examples / each,
        "rounds": rounds,
        "tflops": flops / 1e12,
        "of_matmul": flops / rate,
        "choices": dict(work.choices),
        "memory_gib": memory / 2**30,
    }


def profiled(row: Row, device: torch.device, output: Path) -> dict[str, Any]:
    """The costliest operators and kernels of three steps, appended to profile.txt."""
    work = workload(row, device)
    for _ in range(3):
        work.run()
    synchronize(device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            work.run()
        synchronize(device)
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    table = profile.key_averages().table(sort_by=order, row_limit=40, max_name_column_width=80)
    copied = {event.key: event.count / 3 for event in profile.key_averages() if "memcpy" in event.key.lower()}
    listed = ", ".join(f"{name} × {count:g}" for name, count in copied.items())
    with (output / "profile.txt").open("a", encoding="utf-8") as stream:
        stream.write(f"{row.name}: 3 steps\n{table}\nmemory copies in a step: {listed or 'none'}\n\n")
    return {"of": row.name, "memory_copies": copied}


if __name__ == "__main__":
    main()
