"""Training on two processes compared with one: samples per second, ways to sum gradients, differences of the results.

    python benchmarks/distributed.py [--save benchmarks/results/distributed.txt]

Every process uses one CPU thread and gloo. All variants take turns in the same processes, round after round, so that
other load on the machine affects them equally. The best round of each variant counts. In single-process rounds, the
other process waits without computing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from reporting import keep
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import Preset
from hrm_cli.data.batches import Batch
from hrm_cli.distributed.world import ALONE, World, sum_gradients
from hrm_cli.machine import processor_name
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.training.objectives import Progress, Supervised, objective_of
from hrm_cli.training.prefetch import as_tensors
from hrm_cli.training.state import TrainState, initial_state
from hrm_cli.training.step import train_one_step

TOKENS, VOCABULARY, IDENTIFIERS = 81, 11, 50
MEASURED = (("tiny", 64, 4), ("small", 16, 1))
"""Preset, global batch size, steps in a round."""
PARITY_BATCH, PARITY_STEPS = 12, 20
MEGABYTE = 2**20


def configuration(name: str, global_batch_size: int) -> Preset:
    """A preset with all features enabled that several processes must agree on."""
    return load_preset(
        name,
        [
            "arch.forward_dtype=float32", f"global_batch_size={global_batch_size}", "lr=1e-3", "lr_warmup_steps=5",
            "grad_clip=1", "ema_decay=0.9", f"arch.puzzle_emb_ndim={load_preset(name).arch.hidden_size}",
        ],
    )  # fmt: skip


def fresh_state(preset: Preset) -> TrainState:
    """The state before the first step, the same in every process."""
    return initial_state(preset, DatasetFacts(VOCABULARY, TOKENS, IDENTIFIERS, {}), torch.device("cpu"))


def batch_of(step: int, size: int, world: World) -> PuzzleBatch:
    """This rank's rows of a step's random puzzles."""
    rng = np.random.default_rng(step)
    inputs = rng.integers(1, VOCABULARY, (size, TOKENS), dtype=np.int32)
    identifiers = rng.integers(0, IDENTIFIERS, size, dtype=np.int32)
    own = world.rows(size)
    return as_tensors(Batch(inputs[own], inputs[own, ::-1].copy(), identifiers[own]))


class StepLoss(nn.Module):
    """One step's loss as the forward pass of a module, which is what DistributedDataParallel wraps."""

    def __init__(self, state: TrainState, preset: Preset, world: World) -> None:
        super().__init__()
        self.model = state.model
        self._state, self._preset, self._world = state, preset, world
        self.out: Supervised | None = None

    def forward(self, batch: PuzzleBatch) -> Tensor:
        """Returns the loss and stores carry and outputs as attributes."""
        state, config = self._state, self._preset.train
        objective = objective_of(state.model, config)
        rng = self._world.step_rng(state.generator, len(batch.inputs))
        state.carry, self.out = objective(
            state.model, state.carry, batch, config, rng, Progress(state.step, 1000)
        )
        return self.out.loss


def ddp_step(state: TrainState, preset: Preset, world: World) -> Callable[[PuzzleBatch], None]:
    """hrm's step with torch's DistributedDataParallel instead of hrm's gradient sums."""
    whole = StepLoss(state, preset, world)
    parallel = DistributedDataParallel(whole, gradient_as_bucket_view=True)
    config = preset.train

    def step(batch: PuzzleBatch) -> None:
        state.model.train()
        # DDP averages over the ranks, but the loss is already divided by the global batch size, so undo the average.
        (parallel(batch) * (world.size / config.global_batch_size)).backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip)
        state.network.step()
        state.network.zero_grad(set_to_none=True)
        out = whole.out
        assert out is not None
        if state.sparse is not None and out.puzzle_rows is not None and out.puzzle_rows.grad is not None:
            state.sparse.step(
                world.gather_rows(out.current.puzzle_identifiers), world.gather_rows(out.puzzle_rows.grad)
            )
        if state.average is not None:
            state.average.update(state.model)
        state.step += 1

    return step


def our_step(state: TrainState, preset: Preset, world: World) -> Callable[[PuzzleBatch], None]:
    """hrm's step."""
    return lambda batch: void(train_one_step(state, batch, preset.train, 1000, world))


@dataclass(eq=False)
class OtherChunks(World):
    """A world that sums gradients in chunks of another size."""

    chunk_bytes: int = 0

    def sum_gradients(self, model: nn.Module) -> None:
        """Like hrm's version, with the other chunk size."""
        sum_gradients([p for p in model.parameters() if p.requires_grad], self.chunk_bytes)


def step_with_chunks(
    megabytes: float,
) -> Callable[[TrainState, Preset, World], Callable[[PuzzleBatch], None]]:
    """hrm's step with chunks of another size."""

    def make(state: TrainState, preset: Preset, world: World) -> Callable[[PuzzleBatch], None]:
        return our_step(
            state, preset, OtherChunks(world.rank, world.size, chunk_bytes=int(megabytes * MEGABYTE))
        )

    return make


def void(_: object) -> None:
    """Nothing."""


ONE = "one process"
HALVES = "two that exchange nothing"
WAYS = {
    "ours: flat chunks of 4 MB, after backward": our_step,
    "chunks of 1 MB": step_with_chunks(1),
    "chunks of 25 MB": step_with_chunks(25),
    "DistributedDataParallel": ddp_step,
}


@dataclass
class Round:
    """Seconds per step: wall-clock time and CPU time (of the slower rank)."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def best(self) -> float:
        """The minimum wall-clock time."""
        return min(self.seconds)

    def work(self) -> float:
        """The median CPU time."""
        return statistics.median(self.processor)


def half_step(state: TrainState, preset: Preset, world: World) -> Callable[[PuzzleBatch], None]:
    """Half of the batch without communication: the upper bound for two cores."""
    return our_step(state, preset, ALONE)


def measure(world: World, name: str, size: int, steps: int, rounds: int) -> dict[str, Round]:
    """Seconds per step for one process alone, for two without communication, and for each way to communicate."""
    preset = configuration(name, size)
    makers = {ONE: our_step, HALVES: half_step, **WAYS}
    ways = {
        way: make(fresh_state(preset), preset, ALONE if way == ONE else world) for way, make in makers.items()
    }
    found = {way: Round() for way in ways}
    for number in range(rounds + 1):
        for way, step in ways.items():
            own = ALONE if way == ONE else world
            batches = [batch_of(i, size, own) for i in range(steps)]
            dist.barrier()
            started, before = time.perf_counter(), time.process_time()
            if way != ONE or world.is_first:
                for batch in batches:
                    step(batch)
            work = world.largest((time.process_time() - before) / steps)[0]
            if number:  # the first round warms up
                found[way].seconds.append((time.perf_counter() - started) / steps)
                found[way].processor.append(work)
    return found


def parity(world: World) -> dict[str, Tensor]:
    """Weights, puzzle embeddings and averages after some steps."""
    preset = configuration("tiny", PARITY_BATCH)
    state = fresh_state(preset)
    for step in range(PARITY_STEPS):
        batch = batch_of(step, PARITY_BATCH, world)
        train_one_step(state, batch, preset.train, 1000, world)
    assert state.average is not None
    averages = {f"average of {n}": t.clone() for n, t in state.average.parameters.items()}
    return {n: t.clone() for n, t in state.model.state_dict().items()} | averages


def work(rank: int, port: int, rounds: int, save: Path | None) -> None:
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    lines = []
    alone = parity(ALONE) if rank == 0 else {}
    for size in (2, 3):
        if rank < size:
            dist.init_process_group(
                "gloo", store=dist.PrefixStore(str(size), store), rank=rank, world_size=size
            )
            world = World(rank, size)
            shared = parity(world)
            worst = (
                max(((shared[n] - t).abs().max().item(), n) for n, t in alone.items())
                if rank == 0
                else (0, "")
            )
            lines.append(f"{size} ranks  {worst[0]:.1e}  ({worst[1]})")
            if size == 2:
                for name, batch, steps in MEASURED:
                    lines += table(name, batch, measure(world, name, batch, steps, rounds))
            dist.destroy_process_group()
    if rank == 0:
        parities = [line for line in lines if " ranks " in line]
        rest = [line for line in lines if line not in parities]
        text = "\n".join(
            [
                f"Machine: two cores, no GPU, {processor_name()}",
                f"torch {torch.__version__}, gloo on one host, one thread in each process, float32",
                f"Best of {rounds} rounds that take turns; a sample is a puzzle of 81 tokens. Efficiency is speed",
                "÷ 2 × one process. By work: the same from CPU time (median, of the busier rank), which other",
                "work on the machine hardly changes: what the exchange costs in computing, without time spent waiting.",
                *rest,
                "",
                f"Largest difference to one process after {PARITY_STEPS} steps at lr 1e-3 (tiny with {IDENTIFIERS}",
                f"puzzle identifiers, global batch {PARITY_BATCH}, clipping and averaging on)",
                *parities,
            ]
        )
        print(text)
        keep(text, save)


def table(name: str, batch: int, found: dict[str, Round]) -> list[str]:
    """The lines of one preset."""
    one = found[ONE]
    lines = ["", f"{name + f', global batch {batch}':46} {'samples/s':>9} {'efficiency':>11} {'by work':>8}"]
    for way, result in found.items():
        shares = (one.best() / result.best() / 2, one.work() / result.work() / 2)
        cells = ("", "") if way == ONE else (f"{shares[0]:.0%}", f"{shares[1]:.0%}")
        lines.append(f"{way:46} {batch / result.best():9.1f} {cells[0]:>11} {cells[1]:>8}".rstrip())
    return lines


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--save", type=Path)
    given = options.parse_args()
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    multiprocessing.spawn(work, (store.port, given.rounds, given.save), nprocs=3)


if __name__ == "__main__":
    main()
