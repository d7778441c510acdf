"""Gradients summed over the ranks in flat buckets that travel while backward is still at work.

A bucket leaves when the last of its gradients is there. Buckets leave in one order on all ranks: that in which the
first backward completed the gradients on rank 0. `benchmarks/distributed.py` compares this with torch's
DistributedDataParallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET_BYTES = 4 * 2**20


class _Bucket:
    """Gradients that travel together. Behind them, for each, how many ranks have one."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        sizes = [p.numel() for p in parameters]
        first = parameters[0]
        self._flat = torch.zeros(sum(sizes) + len(sizes), dtype=first.dtype, device=first.device)
        parts = self._flat.split([*sizes, len(sizes)])
        self._views = [part.view_as(p) for part, p in zip(parts, parameters, strict=False)]
        self._owners = parts[-1]
        self.missing = len(self.parameters)
        self._work: dist.Work | None = None

    def send(self) -> None:
        """Starts the sum."""
        present = [p.grad is not None for p in self.parameters]
        if all(present):
            self._owners.fill_(1)
        else:
            self._owners.copy_(torch.tensor(present, dtype=self._owners.dtype))
            torch._foreach_zero_(
                [view for view, there in zip(self._views, present, strict=True) if not there]
            )
        pairs = [(v, p.grad) for v, p in zip(self._views, self.parameters, strict=True) if p.grad is not None]
        if pairs:
            torch._foreach_copy_([view for view, _ in pairs], [gradient for _, gradient in pairs])
        work = dist.all_reduce(self._flat, async_op=True)
        assert work is not None
        self._work = work

    def receive(self) -> None:
        """Waits for the sum and puts it in the place of the rank's own gradients."""
        assert self._work is not None
        self._work.wait()
        self._work = None
        # Read only where needed: a parameter that no rank has used keeps having no gradient, as in one process.
        owners = None if all(p.grad is not None for p in self.parameters) else self._owners.tolist()
        for index, (parameter, view) in enumerate(zip(self.parameters, self._views, strict=True)):
            if owners is None or owners[index]:
                parameter.grad = view
        self.missing = len(self.parameters)


class GradientBuckets:
    """Buckets of some parameters' gradients, for a world of several ranks."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        shared_order: Callable[[list[int]], list[int]],
        bucket_bytes: int = BUCKET_BYTES,
        *,
        overlap: bool = True,
    ) -> None:
        self._parameters = list(parameters)
        self._shared_order = shared_order
        self._bucket_bytes = bucket_bytes
        self._overlap = overlap
        self._buckets: list[_Bucket] = []
        self._bucket_of: dict[int, _Bucket] = {}
        self._completed: list[int] = []
        self._sent = 0
        self._active = False
        for index, parameter in enumerate(self._parameters):
            parameter.register_post_accumulate_grad_hook(self._hook(index))

    def serves(self, parameters: Sequence[Tensor]) -> bool:
        """Whether these are the parameters that the buckets were made for."""
        return len(parameters) == len(self._parameters) and all(
            ours is theirs for ours, theirs in zip(self._parameters, parameters, strict=True)
        )

    @contextmanager
    def summing(self) -> Iterator[None]:
        """Sums, over all ranks, the gradients that a backward within the block completes."""
        self._completed, self._sent, self._active = [], 0, True
        try:
            yield
        finally:
            self._active = False
        if not self._buckets:
            self._fill(self._completed)
        for bucket in self._buckets[self._sent :]:
            bucket.send()
        for bucket in self._buckets:
            bucket.receive()

    def _hook(self, index: int) -> Callable[[Tensor], None]:
        def completed(parameter: Tensor) -> None:
            if not self._active:
                return
            self._completed.append(index)
            if not self._buckets or not self._overlap:
                return
            self._bucket_of[index].missing -= 1
            # In order, even where a later bucket is full first: the ranks must send the same one at the same time.
            while self._sent < len(self._buckets) and self._buckets[self._sent].missing == 0:
                self._buckets[self._sent].send()
                self._sent += 1

        return completed

    def _fill(self, completed: list[int]) -> None:
        """Makes the buckets, in the order in which gradients are completed; those that had none come last."""
        rest = sorted(set(range(len(self._parameters))) - set(completed))
        order = self._shared_order([*completed, *rest])
        members: list[int] = []
        size = 0
        for place, index in enumerate(order):
            parameter = self._parameters[index]
            members.append(index)
            size += parameter.numel() * parameter.element_size()
            following = order[place + 1 : place + 2]
            is_last_of_kind = not following or self._parameters[following[0]].dtype != parameter.dtype
            if size >= self._bucket_bytes or is_last_of_kind:
                bucket = _Bucket([self._parameters[i] for i in members])
                self._buckets.append(bucket)
                self._bucket_of |= dict.fromkeys(members, bucket)
                members, size = [], 0
