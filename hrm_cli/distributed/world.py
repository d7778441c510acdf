"""Collective communication between the processes that train one model together.

A `World` is one process's view of the process group. Every rank takes its slice of each global batch and divides its
loss by the global batch size, so that sums over ranks equal the result of a single process. All other modules are
written for one process and use the `World` only if they need rows of other ranks. `World()` is a single process without
communication. Gradients are all-reduced after the backward pass, in flat chunks. Overlapping the all-reduce with the
backward pass gave no speedup on CPUs (`benchmarks/distributed.py`).

Letters in shapes: B rows of the global batch, b rows of one rank.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hrm_cli.data.batches import rank_rows
from hrm_cli.models.rng import StepRNG

CHUNK_BYTES = 4 * 2**20


@torch.no_grad()
def sum_gradients(parameters: Sequence[Tensor], chunk_bytes: int = CHUNK_BYTES) -> None:
    """Replaces each parameter's gradient with its sum over all ranks. All ranks must pass them in the same order.

    A parameter without a gradient on every rank keeps no gradient, as in a single process.
    """
    sums = [_ChunkSum(chunk) for chunk in _chunks(parameters, chunk_bytes)]
    for chunk in sums:
        chunk.finish()


def _chunks(parameters: Sequence[Tensor], chunk_bytes: int) -> Iterator[list[Tensor]]:
    """Splits the parameters, in order, when a chunk is large enough or the dtype changes."""
    for _, group in itertools.groupby(parameters, key=lambda p: p.dtype):
        chunk: list[Tensor] = []
        size = 0
        for parameter in group:
            chunk.append(parameter)
            size += parameter.nbytes
            if size >= chunk_bytes:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk


class _ChunkSum:
    """An all-reduce in progress. The flat tensor contains all gradients and, for each, the number of ranks with one."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._present = [p.grad is not None for p in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        first = gradients[0]
        owners = first.new_ones(len(parameters)) if all(self._present) else first.new_tensor(self._present)
        self._flat = torch.cat([*(g.reshape(-1) for g in gradients), owners])
        for parameter in parameters:
            parameter.grad = None  # frees the rank's own gradient during the all-reduce
        work = dist.all_reduce(self._flat, async_op=True)
        assert work is not None
        self._work = work

    def finish(self) -> None:
        """Waits for the sum and assigns its parts to the gradients."""
        self._work.wait()
        sizes = [p.numel() for p in self._parameters]
        *gradients, owners = self._flat.split([*sizes, len(sizes)])
        # Read only if needed, because reading from a GPU synchronizes.
        used = self._present if all(self._present) else owners.tolist()
        for parameter, gradient, is_used in zip(self._parameters, gradients, used, strict=True):
            if is_used:
                parameter.grad = gradient.view_as(parameter)


class PeerLost(RuntimeError):  # noqa: N818 - the name describes the event
    """The connection to another process was lost. The cause is in that process."""


@dataclass(eq=False)
class World:
    """One process's view of the group of processes that train together."""

    rank: int = 0
    size: int = 1
    through_host: bool = False
    """Whether accelerator tensors must be gathered through host memory (gloo)."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only rank that prints and writes."""
        return self.rank == 0

    def rows(self, global_batch_size: int) -> slice:
        """This rank's rows of a global batch. Raises ConfigError if the batch is not divisible by the world size."""
        return rank_rows(global_batch_size, self.rank, self.size)

    def step_rng(self, generator: torch.Generator, rows: int) -> StepRNG:
        """A step's random numbers for this rank's `rows` rows of the global batch.

        The generators of all ranks advance equally.
        """
        whole = StepRNG(generator, rows * self.size)
        return whole.of(slice(self.rank * rows, (self.rank + 1) * rows))

    def sum_gradients(self, model: nn.Module) -> None:
        """Replaces the model's gradients with their sums over ranks.

        Must be called after a step's last backward pass.
        """
        if self.size > 1:
            with _as_peer_lost():
                sum_gradients([p for p in model.parameters() if p.requires_grad])

    def sum(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums small tensors over ranks. All ranks must pass them in the same order.

        With more than one rank, the sums are float64.
        """
        if self.size == 1 or not figures:
            return dict(figures)
        # One all-reduce for all tensors, on the host, where the sums are used. float64 is exact for counts up to 2^53.
        packed = torch.cat([value.detach().cpu().double().reshape(-1) for value in figures.values()])
        with _as_peer_lost():
            dist.all_reduce(packed)
        parts = packed.split([value.numel() for value in figures.values()])
        return {
            name: part.reshape(value.shape)
            for (name, value), part in zip(figures.items(), parts, strict=True)
        }

    def largest(self, *numbers: float) -> tuple[float, ...]:
        """The maximum over ranks of each number."""
        if self.size == 1:
            return numbers
        packed = torch.tensor(numbers, dtype=torch.float64)
        with _as_peer_lost():
            dist.all_reduce(packed, op=dist.ReduceOp.MAX)
        return tuple(packed.tolist())

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Gathers the rows of all ranks on every rank: `[b, …]` each → `[B, …]`, in the order of the global batch."""
        if self.size == 1:
            return rows
        # Sent as bytes, because gloo does not support bool or, in some versions, bfloat16.
        own = rows.detach().contiguous()
        sent = (own.cpu() if self.through_host else own).reshape(-1).view(torch.uint8)
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        with _as_peer_lost():
            dist.all_gather(parts, sent)
        shape = (self.size * len(own), *own.shape[1:])
        return torch.cat(parts).view(own.dtype).reshape(shape).to(rows.device)

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """Gathers each rank's bytes on every rank, in rank order."""
        if self.size == 1:
            return [data]
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(data)
        with _as_peer_lost():
            dist.all_reduce(lengths)
            own = torch.zeros(max(1, int(lengths.max())), dtype=torch.uint8)
            own[: len(data)] = _as_tensor(data)
            parts = [torch.empty_like(own) for _ in range(self.size)]
            dist.all_gather(parts, own)
        return [part[:n].numpy().tobytes() for part, n in zip(parts, lengths.tolist(), strict=True)]

    def broadcast_bytes(self, data: bytes) -> bytes:
        """Broadcasts rank 0's bytes to every rank; the other ranks' argument is ignored."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        with _as_peer_lost():
            dist.broadcast(length, 0)
            sent = _as_tensor(data) if self.is_first else torch.empty(int(length), dtype=torch.uint8)
            if sent.numel():
                dist.broadcast(sent, 0)
        return sent.numpy().tobytes()

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Broadcasts rank 0's tensors to every rank, in host memory; the other ranks' argument is ignored."""
        if self.size == 1:
            return dict(tensors)
        kinds = {name: (list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()}
        shared: dict[str, Tensor] = {}
        for name, (shape, dtype) in json.loads(self.broadcast_bytes(json.dumps(kinds).encode())).items():
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            if self.is_first:
                tensor = tensors[name].detach().cpu().contiguous()
            if tensor.numel():
                with _as_peer_lost():
                    dist.broadcast(tensor.reshape(-1).view(torch.uint8), 0)
            shared[name] = tensor
        return shared

    def ask_rank_0(self, question: Callable[[], bool]) -> bool:
        """Calls `question` on rank 0 only and broadcasts the answer to every rank."""
        return self.broadcast_bytes(b"yes" if self.is_first and question() else b"") == b"yes"

    @torch.no_grad()
    def copy_from_rank_0(self, *groups: Mapping[str, Tensor]) -> None:
        """Copies rank 0's values into these tensors.

        Needed because equal seeds may give different random numbers on different processors.
        """
        if self.size > 1:
            for tensors in groups:
                for name, tensor in self.broadcast_tensors(tensors).items():
                    tensors[name].copy_(tensor)


ALONE = World()
"""A single process."""


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


@contextmanager
def _as_peer_lost() -> Iterator[None]:
    # When a connection breaks, backends raise RuntimeError, or a subclass that depends on their version.
    try:
        yield
    except PeerLost:
        raise
    except RuntimeError as error:
        if _is_about_communication(error):
            raise PeerLost(str(error)) from error
        raise


def _is_about_communication(error: RuntimeError) -> bool:
    kinds: tuple[Any, ...] = (dist.DistError,)
    text = str(error).lower()
    return isinstance(error, kinds) or any(word in text for word in ("gloo", "nccl", "connection"))
