"""The processes that train one model together, and what passes between them.

A `World` is one process's view of them. Every rank takes its slice of each global batch and divides its loss by the
global batch size, so that sums over the ranks are what one process would have computed. All other modules are written
for one process and call the world where rows of other ranks matter; `World()` is a process by itself and does
nothing. Gradients are summed after the backward pass, in flat chunks: starting the sums during the backward pass was
measured as well, and gained nothing on CPUs (`benchmarks/distributed.py`).

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
    """Replaces each parameter's gradient by its sum over the ranks, all of which name the parameters in the same order.

    A parameter that no rank has used keeps having no gradient, as in one process.
    """
    sums = [_ChunkSum(chunk) for chunk in _chunks(parameters, chunk_bytes)]
    for chunk in sums:
        chunk.finish()


def _chunks(parameters: Sequence[Tensor], chunk_bytes: int) -> Iterator[list[Tensor]]:
    """The parameters in order, cut where a chunk is large enough or the dtype changes."""
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
    """An all-reduce of some gradients in progress. After them, for each, comes the number of ranks that have one."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._present = [p.grad is not None for p in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        first = gradients[0]
        owners = first.new_ones(len(parameters)) if all(self._present) else first.new_tensor(self._present)
        self._flat = torch.cat([*(g.reshape(-1) for g in gradients), owners])
        for parameter in parameters:
            parameter.grad = None  # frees the rank's own gradient while the sum is under way
        work = dist.all_reduce(self._flat, async_op=True)
        assert work is not None
        self._work = work

    def finish(self) -> None:
        """Waits for the sum and writes its parts to the gradients."""
        self._work.wait()
        sizes = [p.numel() for p in self._parameters]
        *gradients, owners = self._flat.split([*sizes, len(sizes)])
        # Read only where needed: a GPU would have to be waited for.
        used = self._present if all(self._present) else owners.tolist()
        for parameter, gradient, is_used in zip(self._parameters, gradients, used, strict=True):
            if is_used:
                parameter.grad = gradient.view_as(parameter)


class PeerLost(RuntimeError):  # noqa: N818 - the event's name, not this process's error
    """Another process of the world went away: the reason is to be found there."""


@dataclass(eq=False)
class World:
    """One process among those that train together."""

    rank: int = 0
    size: int = 1
    through_host: bool = False
    """Whether tensors of an accelerator must be gathered by way of the host's memory (gloo)."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone prints and writes."""
        return self.rank == 0

    def rows(self, global_batch_size: int) -> slice:
        """This rank's rows of a global batch. Raises ConfigError where they cannot be shared equally."""
        return rank_rows(global_batch_size, self.rank, self.size)

    def step_rng(self, generator: torch.Generator, rows: int) -> StepRNG:
        """A step's random numbers for this rank's `rows` rows of the global batch; all generators advance equally."""
        whole = StepRNG(generator, rows * self.size)
        return whole.of(slice(self.rank * rows, (self.rank + 1) * rows))

    def sum_gradients(self, model: nn.Module) -> None:
        """Replaces the model's gradients by their sums over the ranks; called after a step's last backward pass."""
        if self.size > 1:
            with _lost_peers_named():
                sum_gradients([p for p in model.parameters() if p.requires_grad])

    def sum(self, figures: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each of some small tensors, in the same order on all ranks, summed over the ranks; float64 if several."""
        if self.size == 1 or not figures:
            return dict(figures)
        # One trip for all, by way of the host: the numbers are expected there, and 2^53 is more than any count.
        packed = torch.cat([value.detach().cpu().double().reshape(-1) for value in figures.values()])
        with _lost_peers_named():
            dist.all_reduce(packed)
        parts = packed.split([value.numel() for value in figures.values()])
        return {
            name: part.reshape(value.shape)
            for (name, value), part in zip(figures.items(), parts, strict=True)
        }

    def largest(self, *numbers: float) -> tuple[float, ...]:
        """The largest value that any rank gives for each of the numbers."""
        if self.size == 1:
            return numbers
        packed = torch.tensor(numbers, dtype=torch.float64)
        with _lost_peers_named():
            dist.all_reduce(packed, op=dist.ReduceOp.MAX)
        return tuple(packed.tolist())

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, `[b, …]` each → `[B, …]` in the order of the global batch, on every rank."""
        if self.size == 1:
            return rows
        # As bytes: gloo does not support bool or, in some versions, bfloat16.
        own = rows.detach().contiguous()
        sent = (own.cpu() if self.through_host else own).reshape(-1).view(torch.uint8)
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        with _lost_peers_named():
            dist.all_gather(parts, sent)
        shape = (self.size * len(own), *own.shape[1:])
        return torch.cat(parts).view(own.dtype).reshape(shape).to(rows.device)

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """What each rank gives, in the order of ranks, on every rank."""
        if self.size == 1:
            return [data]
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(data)
        with _lost_peers_named():
            dist.all_reduce(lengths)
            own = torch.zeros(max(1, int(lengths.max())), dtype=torch.uint8)
            own[: len(data)] = _as_tensor(data)
            parts = [torch.empty_like(own) for _ in range(self.size)]
            dist.all_gather(parts, own)
        return [part[:n].numpy().tobytes() for part, n in zip(parts, lengths.tolist(), strict=True)]

    def share_bytes(self, data: bytes) -> bytes:
        """What rank 0 gives, on every rank; what the others give is not looked at."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        with _lost_peers_named():
            dist.broadcast(length, 0)
            sent = _as_tensor(data) if self.is_first else torch.empty(int(length), dtype=torch.uint8)
            if sent.numel():
                dist.broadcast(sent, 0)
        return sent.numpy().tobytes()

    def share_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rank 0's tensors, on every rank, in the host's memory; what the others give is not looked at."""
        if self.size == 1:
            return dict(tensors)
        kinds = {name: (list(t.shape), str(t.dtype).removeprefix("torch.")) for name, t in tensors.items()}
        shared: dict[str, Tensor] = {}
        for name, (shape, dtype) in json.loads(self.share_bytes(json.dumps(kinds).encode())).items():
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            if self.is_first:
                tensor = tensors[name].detach().cpu().contiguous()
            if tensor.numel():
                with _lost_peers_named():
                    dist.broadcast(tensor.reshape(-1).view(torch.uint8), 0)
            shared[name] = tensor
        return shared

    def first_says(self, question: Callable[[], bool]) -> bool:
        """Rank 0's answer, on every rank; the others are not asked."""
        return self.share_bytes(b"yes" if self.is_first and question() else b"") == b"yes"

    @torch.no_grad()
    def start_alike(self, *groups: Mapping[str, Tensor]) -> None:
        """Writes rank 0's numbers into these tensors: equal seeds may give other numbers on another processor."""
        if self.size > 1:
            for tensors in groups:
                for name, tensor in self.share_tensors(tensors).items():
                    tensors[name].copy_(tensor)


ALONE = World()
"""A process by itself."""


def _as_tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


@contextmanager
def _lost_peers_named() -> Iterator[None]:
    # What a backend raises when a connection breaks: RuntimeError, or a kind of it that depends on the version.
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
