"""Runs as `python ranks.py RANK PORT FOLDER`: one process of a world, for test_distributed.py.

Worlds of two and three processes do the same things, one after the other, as the test does in one process.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import EvalConfig, Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.format import Dataset
from hrm_cli.distributed.world import PeerLost, World, sum_gradients
from hrm_cli.evaluation.arc_voting import Voting, read_test_tasks, submission
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.models.act import ACTModel
from hrm_cli.models.registry import build_model
from hrm_cli.training import loop
from hrm_cli.training.loggers import Listener, MetricsFile
from hrm_cli.training.loop import Run, train
from hrm_cli.training.resuming import load_training_state
from hrm_cli.training.state import Plan, initial_state

STEPS = 20
ARCH: dict[str, Any] = {
    "num_heads": 2, "H_layers": 1, "L_layers": 1, "forward_dtype": "float32", "halt_exploration_prob": 0.5,
}  # fmt: skip


class Stopper(Listener):
    """A signal that reaches one of the ranks, in the middle of a logging interval."""

    def __init__(self, step: int) -> None:
        self.step = step if step < STEPS else -1

    def stepped(self, step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def trained(
    world: World, folder: Path, data: Path, stop_at: int = STEPS, *, resume: bool = False, **settings: Any
) -> None:
    """A run with everything that ranks could get wrong: clipping, averaging, puzzle embeddings, exploration."""
    config = {
        "global_batch_size": 12, "lr": 1e-3, "lr_warmup_steps": 5, "grad_clip": 1.0, "ema_decay": 0.9,
        "log_interval": 3, "checkpoint_interval": 7, **settings,
    }  # fmt: skip
    arch = ArchConfig(**ARCH, hidden_size=32, H_cycles=2, L_cycles=2, halt_max_steps=4, puzzle_emb_ndim=40)
    preset = Preset(arch=arch, train=TrainConfig(**config))
    dataset, test = Dataset.open(data), Dataset.open(data, "test")
    facts = DatasetFacts(11, 6, 11, {})
    state = initial_state(preset, facts, torch.device("cpu"))
    batches = TrainingBatches(dataset, 12, rank=world.rank, world_size=world.size)
    folder.mkdir(exist_ok=True)
    if resume:
        batches.load_state_dict(load_training_state(folder, state, world))
    listeners: list[Listener] = [MetricsFile(folder / "metrics.jsonl")] if world.is_first else []
    if world.rank == world.size - 1:
        listeners.append(Stopper(stop_at))
    # Batches of four for two and three ranks: the last ones are not full, and leave ranks without a row.
    evaluation = EvalConfig(batch_size=4)
    run = Run(
        folder, preset, facts, Plan(STEPS, 1.0, 10), batches,
        lambda model: evaluate(model, test, evaluation, world=world).figures(), listeners, world,
    )  # fmt: skip
    result = train(run, state)
    assert (result.step, result.reason) == (stop_at, "finished" if stop_at == STEPS else "interrupted")
    assert state.average is not None
    tensors = {**state.model.state_dict(), **{f"a/{n}": t for n, t in state.average.parameters.items()}}
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors.values())).hexdigest()
    digests = world.gather_bytes(digest.encode())
    if world.is_first:
        (folder / "digests.json").write_text(json.dumps([d.decode() for d in digests]))


def voted(world: World, file: Path, data: Path) -> None:
    """Every copy of ARC tasks answers, and rank 0 writes down all candidates and the submission."""
    dataset = Dataset.open(data, "test")
    voting = Voting.of(dataset)
    result = voting.run(
        model_that_paints_over(dataset.metadata.num_puzzle_identifiers), EvalConfig(batch_size=5), world=world
    )
    if world.is_first:
        tasks = read_test_tasks(dataset)
        candidates = [
            [(c.grid.tolist(), c.votes, c.confidence) for c in voting.votes.candidates(t.name, pair.input)]
            for t in tasks
            for pair in t.test
        ]
        document = {
            "puzzles": result.puzzles,
            "candidates": candidates,
            "submission": submission(voting.votes, tasks),
        }
        file.write_text(json.dumps(document))


def model_that_paints_over(identifiers: int) -> ACTModel:
    """Answers the puzzle with every color replaced by the next: another answer for each recolored copy."""
    arch = ArchConfig(**ARCH, hidden_size=16, H_cycles=1, L_cycles=1, halt_max_steps=1, puzzle_emb_ndim=0)
    model = build_model(arch, 12, 900, identifiers, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(12, 16)
    tensors["inner.lm_head.weight"] = torch.eye(12, 16)[[0, 1, 11, *range(2, 11)]]
    model.load_state_dict(tensors)
    return model


def rarely_used_parameters(world: World, chunk_bytes: int) -> list[float | None]:
    """Gradients of parameters that all, some, and none of the ranks have used, and of one of another dtype."""
    everywhere, somewhere, nowhere = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    double = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    parameters = [everywhere, somewhere, double, nowhere]
    loss = everywhere.sum() * (world.rank + 1) + double.sum()
    if world.rank == 1:
        loss = loss + 5 * somewhere.sum()
    loss.backward()
    sum_gradients(parameters, chunk_bytes)
    assert all(p.grad is None or p.grad.shape == p.shape for p in parameters)
    return [None if p.grad is None else p.grad.flatten()[-1].item() for p in parameters]


def everything(world: World, folder: Path) -> None:
    """What each world does from beginning to end."""
    name = f"world-{world.size}"
    trained(world, folder / name, folder / "data")
    trained(world, folder / f"{name}-accumulated", folder / "data", accumulation_steps=2)
    voted(world, folder / f"{name}-votes-stored.json", folder / "arc-stored")
    voted(world, folder / f"{name}-votes-online.json", folder / "arc-online")


def alike(world: World) -> list[float]:
    """Tensors that differed at first, one of them a parameter."""
    first, second = torch.nn.Parameter(torch.ones(2) * world.rank), torch.ones(2) * -world.rank
    world.copy_from_rank_0({"a": first}, {"b": second})
    return [*first.tolist(), *second.tolist()]


def small_things(world: World) -> dict[str, Any]:
    rows = torch.arange(4).reshape(2, 2) + 10 * world.rank
    return {
        "rows": [world.gather_rows(t).tolist() for t in (rows, rows > 10, rows.bfloat16(), rows[:, 0])],
        "bytes": [data.decode() for data in world.gather_bytes(b"x" * world.rank)],
        "shared": world.broadcast_bytes(f"from {world.rank}".encode()).decode(),
        "nothing": world.broadcast_bytes(b"").decode(),
        "first": world.ask_rank_0(lambda: True),
        "largest": world.largest(world.rank, -world.rank),
        "alike": alike(world),
        "sums": {n: t.tolist() for n, t in world.sum({"a": torch.tensor(1.5), "b": rows}).items()},
        "used": [rarely_used_parameters(world, size) for size in (1, 30, 2**20)],
    }


def main() -> None:
    rank, port, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    # Ranks tell one another of signals at every step here: these runs stop at a step that is known beforehand.
    loop._MOST_STEPS_BETWEEN_SYNCS = 1
    store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(minutes=5))
    for size in (2, 3):
        if rank < size:
            dist.init_process_group(
                "gloo", store=dist.PrefixStore(str(size), store), rank=rank, world_size=size,
                timeout=timedelta(minutes=5),
            )  # fmt: skip
            world = World(rank, size)
            everything(world, folder)
            resumed = folder / "resumed"
            trained(world, resumed, folder / "data", {2: 7, 3: STEPS}[size], resume=size == 3)
            if size == 2 and rank == 0:
                trained(World(), resumed, folder / "data", 14, resume=True)
            if size == 3:
                (folder / f"small-{rank}.json").write_text(json.dumps(small_things(world)))
                if rank == 2:
                    os._exit(9)
                try:
                    while True:
                        world.largest(0.0)
                except PeerLost as error:
                    (folder / f"lost-{rank}.txt").write_text(str(error))
                    os._exit(0)
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
