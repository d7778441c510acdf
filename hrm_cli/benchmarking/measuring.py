"""Times a workload over and over, and a large matrix product between any two rounds."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from hrm_cli.benchmarking.products import LargeProduct, wait_for
from hrm_cli.benchmarking.workloads import Workload
from hrm_cli.files import peak_memory_mb

_FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Measurement:
    """What was measured of a workload; the fields are the keys of `hrm bench --json`."""

    what: str
    preset: str
    batch: int
    """Puzzles at once; of a build, its examples."""
    dtype: str | None
    device: str
    threads: int
    examples_per_second: float
    """From the median round."""
    seconds: float
    """The median round."""
    spread: float
    """Distance between the quartiles of the rounds ÷ the median."""
    rounds: int
    first_seconds: float
    """The first round, before any of those counted: with what is made once, compiled code above all."""
    flops_per_example: int | None
    """Of the model's matrix products; None for a build, which has none."""
    gflops: float | None
    product_gflops: float | None
    """A large matrix product in this process, dtype and number of threads: the median over the run."""
    product_size: int | None
    share: float | None
    """gflops ÷ product_gflops."""
    peak_memory_mb: float | None
    """Of the process; on CUDA, of torch's tensors on the device."""
    choices: dict[str, str]
    """What the model computes with: attention, blocks, compilation, optimiser; empty for a build."""

    def document(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return dict(self.__dict__)


def measure(workload: Workload, *, seconds: float, rounds: int | None = None) -> Measurement:
    """Rounds for about `seconds`, at least three, or exactly `rounds`, after two that are not counted."""
    device = workload.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # The first round may compile, the second fills caches and allocators.
    first = _timed(workload)
    _timed(workload)
    # Read before the product's matrices are made: they are not the workload's.
    held = _peak_memory(device)
    product = None if workload.dtype is None else LargeProduct(device, workload.dtype)
    if product is not None:
        product.gflops()
    times: list[float] = []
    rates: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < (rounds or _FEWEST_ROUNDS) or (rounds is None and time.perf_counter() < ends):
        if product is not None:
            rates.append(product.gflops())
        times.append(_timed(workload))
    if product is not None:
        rates.append(product.gflops())
    return _summary(workload, first, times, rates, product, held)


def _timed(workload: Workload) -> float:
    wait_for(workload.device)
    started = time.perf_counter()
    workload.run()
    wait_for(workload.device)
    return time.perf_counter() - started


def _peak_memory(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_memory_mb()


def _summary(
    workload: Workload,
    first: float,
    times: list[float],
    rates: list[float],
    product: LargeProduct | None,
    peak_memory: float | None,
) -> Measurement:
    median = statistics.median(times)
    quartiles = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [median] * 3
    per_second = workload.examples / median
    flops = workload.flops_per_example
    gflops = None if flops is None else flops * per_second / 1e9
    rate = statistics.median(rates) if rates else None
    return Measurement(
        what=workload.what,
        preset=workload.preset,
        batch=workload.examples,
        dtype=None if workload.dtype is None else str(workload.dtype).removeprefix("torch."),
        device=workload.device_name,
        threads=torch.get_num_threads(),
        examples_per_second=per_second,
        seconds=median,
        spread=(quartiles[2] - quartiles[0]) / median,
        rounds=len(times),
        first_seconds=first,
        flops_per_example=flops,
        gflops=gflops,
        product_gflops=rate,
        product_size=None if product is None else product.size,
        share=None if gflops is None or rate is None else gflops / rate,
        peak_memory_mb=peak_memory,
        choices=dict(workload.choices),
    )
