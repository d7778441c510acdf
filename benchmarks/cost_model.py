"""The cost model of docs/performance.md against measurements on one and on two processes.

    python benchmarks/cost_model.py [--save benchmarks/results/cost_model.txt]

The model is fitted to measurements of a single process at two batch sizes, of a large matmul that two processes run at
the same time, and of all-reduces over the two. Its predictions for a batch size in between, and for two processes that
train together, are then compared with measurements. Every process uses one thread, the machine's forward dtype, and
gloo.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from distributed import TOKENS, VOCABULARY, batch_of, fresh_state, our_step
from reporting import keep
from torch import multiprocessing

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import training_flops
from hrm_cli.benchmarking import LargeMatmul
from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import Preset
from hrm_cli.distributed.world import ALONE, World
from hrm_cli.machine import processor_name

MEASURED = (("tiny", 32, 64, 128), ("small", 8, 16, 32), ("base", 8, 16, 32))
"""Preset and three batch sizes: the model is fitted to the outer two and predicts the middle one."""


@dataclass(frozen=True)
class Costs:
    """The parameters of the cost model for a preset on this machine."""

    flops: int
    """FLOPs per example."""
    parameters: int
    rate: float
    """Throughput of a large matmul, FLOP/s."""
    share: float
    """Fraction of the matmul throughput that training reaches."""
    fixed: float
    """Seconds per step independent of the batch size: casting, prepacking and updating the weights."""
    bandwidth: float
    """Bytes per second between two processes."""

    def seconds(self, examples: float, ranks: int = 1) -> float:
        """Predicted seconds of a step on `examples` examples in total, without overlap of all-reduce and backward."""
        exchange = 2 * (ranks - 1) / ranks * 4 * self.parameters / self.bandwidth
        return self.flops * examples / ranks / (self.share * self.rate) + self.fixed + exchange


def configuration(name: str, global_batch_size: int) -> Preset:
    """The preset with this global batch size."""
    return load_preset(name, [f"global_batch_size={global_batch_size}", "lr=1e-4"])


def timed(action: Callable[[], None], times: int) -> float:
    """The median duration of `times` calls, in seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def step_seconds(name: str, size: int, world: World, times: int) -> float:
    """Seconds of a training step on `size` puzzles, shared by the ranks of `world`."""
    preset = configuration(name, size)
    step, batch = our_step(fresh_state(preset), preset, world), batch_of(0, size, world)
    for _ in range(2):
        step(batch)
    return timed(lambda: step(batch), times)


def bandwidth(world: World, count: int, times: int) -> float:
    """Bytes per second of an all-reduce of `count` float32 values, of which 2·(N−1)/N are transferred."""
    numbers = torch.zeros(count)
    dist.all_reduce(numbers)
    seconds = timed(lambda: dist.all_reduce(numbers), times)
    return 2 * (world.size - 1) / world.size * 4 * count / seconds


def measured(world: World, name: str, sizes: tuple[int, int, int], times: int) -> list[str]:
    """The output lines for one preset; empty on all ranks except the first."""
    preset = configuration(name, sizes[1])
    parts = components(preset.arch, VOCABULARY, TOKENS)
    flops = training_flops(preset.arch, preset.train, VOCABULARY, TOKENS)
    parameters = sum(part.trainable for part in parts)
    matmul = LargeMatmul(torch.device("cpu"), fresh_state(preset).model.core.dtype)
    dist.barrier()
    rate = statistics.median(matmul.gflops() for _ in range(times)) * 1e9
    speed = bandwidth(world, parameters, times)
    alone: list[float] = []
    if world.is_first:
        alone = [step_seconds(name, size, ALONE, times) for size in sizes]
    dist.barrier()
    together = [step_seconds(name, 2 * size, world, times) for size in sizes]
    if not world.is_first:
        return []
    few, some, many = sizes
    of_example = (alone[2] - alone[0]) / (many - few)
    costs = Costs(flops, parameters, rate, flops / of_example / rate, alone[0] - of_example * few, speed)
    lines = [
        "",
        f"{name}: {parameters:,} parameters, {flops / 1e9:.2f} GFLOP an example and step",
        f"learned: product {rate / 1e9:.0f} GFLOP/s, share {costs.share:.0%}, fixed {costs.fixed * 1e3:.1f} ms, "
        f"exchange {speed / 1e9:.2f} GB/s",
        f"{'':34}{'foretold':>10}{'measured':>10}{'':>8}",
        line(f"one process, {some} puzzles", costs.seconds(some), alone[1]),
    ]
    for size, seconds in zip(sizes, together, strict=True):
        lines.append(line(f"two processes, {size} puzzles each", costs.seconds(2 * size, 2), seconds))
    return lines


def line(what: str, said: float, found: float) -> str:
    """One comparison, in milliseconds."""
    return f"{what:34}{said * 1e3:>7.1f} ms{found * 1e3:>7.1f} ms{found / said - 1:>+8.0%}"


def work(rank: int, port: int, times: int, save: Path | None) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    lines = [
        f"Machine: two cores, no GPU, {processor_name()}",
        f"torch {torch.__version__}, gloo on one host, one thread in each process; medians of {times}",
    ]
    for name, *sizes in MEASURED:
        lines += measured(World(rank, 2), name, tuple(sizes), times)
    dist.destroy_process_group()
    if rank == 0:
        print("\n".join(lines))
        keep("\n".join(lines), save)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--times", type=int, default=7)
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    multiprocessing.spawn(work, (store.port, given.times, given.save), nprocs=2)


if __name__ == "__main__":
    main()
