"""Trains on shards of a batch at the same time, each on its own threads, and sums their gradients (CPU only).

Usually all threads work on one operator at a time and wait for each other at its end, thousands of times per step. Here
every worker computes the forward and backward pass of whole shards, and the workers wait for each other only at the end
of a step. Next to a busy process, a worker that has a core to itself takes more of the shards. A shard also fits better
in a core's cache (benchmarks/shards.py).

The number of shards follows from the model and the batch alone, and their gradients are summed in a fixed order. So
the number of threads and the order in which they finish do not change the result.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from hrm_cli.models.act import ACTModel
from hrm_cli.models.cpu.kernels.launch import FORMATS, NUMBERS_PER_ROW, Kernel
from hrm_cli.models.recurrent import RecurrentCore

NUMBERS_PER_SHARD = 670_000
"""Numbers in a state `[b, P+S, H]` of a shard that trains fastest (benchmarks/shards.py)."""
FEWEST_NUMBERS = 150_000
"""Numbers in a state of a batch that is worth two shards: calling the operators twice takes time, too."""
MOST_SHARDS = 64


def shard_count(model: ACTModel, rows: int) -> int:
    """The number of shards for a batch of `rows` rows; 1 where shards are not supported or not faster."""
    core = model.inner
    if not isinstance(core, RecurrentCore) or not core.takes_cpu_blocks or model.compiled_loss is not None:
        return 1
    numbers = rows * core.positions * core.arch.hidden_size
    if numbers < FEWEST_NUMBERS:
        return 1
    # An even number, because most machines have an even number of cores.
    return min(2 * max(1, round(numbers / (2 * NUMBERS_PER_SHARD))), MOST_SHARDS, rows)


class ShardWeights:
    """The weights of a step, cast and prepacked once, and the sum of the gradients of all shards."""

    def __init__(self, weights: Any, count: int) -> None:
        """`weights` is the result of a core's `cast_weights`: tensors in nested tuples and lists."""
        self._weights, self._last = weights, count - 1
        self._cast: dict[int, Tensor] = {}
        self._sums: dict[int, Tensor] = {}
        self._leaves: dict[int, dict[int, Tensor]] = {}
        self._finished: set[int] = set()
        self._next = 0
        self._adding = threading.Lock()

    def of_shard(self, shard: int) -> Any:
        """The same weights, as leaf tensors that receive the gradients of this shard."""
        leaves: dict[int, Tensor] = {}
        self._leaves[shard] = leaves
        return self._with_own_leaves(self._weights, leaves)

    def _with_own_leaves(self, tree: Any, leaves: dict[int, Tensor]) -> Any:
        if isinstance(tree, Tensor):
            if not tree.requires_grad:
                return tree
            if id(tree) not in leaves:
                leaves[id(tree)] = tree.detach().requires_grad_()
                self._cast[id(tree)] = tree
            return leaves[id(tree)]
        if isinstance(tree, tuple | list):
            inside = [self._with_own_leaves(one, leaves) for one in tree]
            return type(tree)(*inside) if hasattr(tree, "_fields") else type(tree)(inside)
        return tree

    def finish(self, shard: int) -> None:
        """Adds the gradients of a finished shard to the sum, once all shards before it are in it. Never waits.

        If an earlier shard is still running, the thread that finishes it adds both. The last shard is left to
        `add_to_parameters`, which has all threads.
        """
        self._finished.add(shard)
        while self._can_add() and self._adding.acquire(blocking=False):
            try:
                while self._can_add():
                    self._add_next()
            finally:
                self._adding.release()

    def _can_add(self) -> bool:
        return self._next in self._finished and self._next < self._last

    @torch.no_grad()
    def _add_next(self) -> None:
        for key, leaf in self._leaves.pop(self._next).items():
            gradient, leaf.grad = leaf.grad, None
            if gradient is None:
                continue
            if key in self._sums:
                _add_to(self._sums[key], gradient)
            else:
                self._sums[key] = gradient.float()
        self._next += 1

    def add_to_parameters(self) -> None:
        """Adds the sums to the gradients of the parameters."""
        while self._next <= self._last:
            self._add_next()
        others, their_sums = [], []
        for key, total in self._sums.items():
            cast = self._cast[key]
            parameter = _parameter_of(cast)
            if parameter is None:
                others.append(cast)
                their_sums.append(total.to(cast.dtype))
            elif parameter.grad is None:
                parameter.grad = total
            else:
                parameter.grad.add_(total)
        if others:
            torch.autograd.backward(others, their_sums)


_add_gradient = Kernel("optimizer.add_gradient")


def _add_to(total: Tensor, gradient: Tensor) -> None:
    """Adds a gradient in the forward dtype to its float32 sum, in one pass over memory."""
    if gradient.dtype not in FORMATS or not (total.is_contiguous() and gradient.is_contiguous()):
        total.add_(gradient)
        return
    count = total.numel()
    _add_gradient(-(-count // NUMBERS_PER_ROW), NUMBERS_PER_ROW * 10, gradient.dtype, count, gradient, total)


def _parameter_of(weight: Tensor) -> Tensor | None:
    """The parameter of which `weight` is a cast (or which it is); None if it is the result of more than a cast."""
    if weight.is_leaf:
        return weight
    function = weight.grad_fn
    if function is None or function.name() != "ToCopyBackward0":
        return None
    return getattr(function.next_functions[0][0], "variable", None)
