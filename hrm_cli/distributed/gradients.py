"""Gradients summed over the ranks after the backward pass, in flat chunks.

`benchmarks/distributed.py` compares this with torch's DistributedDataParallel. Starting the sums during the backward
pass was measured as well, and gained nothing on CPUs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

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
    """The sum of some gradients on its way. Behind them, for each, stands how many ranks have one."""

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
        """Waits for the sum and makes its parts the gradients."""
        self._work.wait()
        sizes = [p.numel() for p in self._parameters]
        *gradients, owners = self._flat.split([*sizes, len(sizes)])
        # Read only where needed: a GPU would have to be waited for.
        used = self._present if all(self._present) else owners.tolist()
        for parameter, gradient, is_used in zip(self._parameters, gradients, used, strict=True):
            if is_used:
                parameter.grad = gradient.view_as(parameter)
