"""Random numbers of a training step, and saving and restoring torch's global generators.

A step samples its random numbers once for the whole global batch, from a generator on the host. So exploration is the
same on every device and with any number of ranks, and a checkpoint can resume on any of them.

Dropout uses torch's global generators. torch's `fork_rng` and `checkpoint` restore the generators of the host and of
CUDA. In the supported versions they fail on MPS or do not restore its generator, so this module does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.device import pinned_for, to_device

RngStates = tuple[Tensor, Tensor | None]
"""State of the host's generator, and of the accelerator's if there is one."""


def rng_states(device: torch.device) -> RngStates:
    """The states of the generators that a computation on `device` uses."""
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    return torch.get_rng_state(), torch.mps.get_rng_state() if device.type == "mps" else None


def set_rng_states(states: RngStates, device: torch.device) -> None:
    """Restores states returned by `rng_states`."""
    host, accelerator = states
    torch.set_rng_state(host)
    if accelerator is None:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(accelerator, device)
    else:
        torch.mps.set_rng_state(accelerator)


@contextmanager
def forked_rng(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Restores the global generators on exit. Within the block they are seeded with `seed`, if given."""
    before = rng_states(device)
    try:
        if seed is not None:
            torch.manual_seed(seed)
        yield
    finally:
        set_rng_states(before, device)


def replayed_rng(
    device: torch.device,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """A `context_fn` for `checkpoint`: the recomputation uses the same random numbers as the first pass."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        first: list[RngStates] = []

        @contextmanager
        def forward() -> Iterator[None]:
            first.append(rng_states(device))
            yield

        @contextmanager
        def again() -> Iterator[None]:
            with forked_rng(device):
                set_rng_states(first[0], device)
                yield

        return forward(), again()

    return contexts


class StepRNG:
    """The random numbers of one step for its `count` rows; `of` returns those of a slice of rows.

    Micro-batches and ranks use slices of the same numbers, so that their number does not change the exploration.
    """

    def __init__(self, generator: torch.Generator | None, count: int) -> None:
        self.generator = generator
        self._count = count
        self._rows = slice(0, count)
        self._whole = self
        self._minimum_steps: Tensor | None = None
        self._shares: Tensor | None = None
        self._lock = threading.Lock()
        """Threads that train on shards of the rows use the same numbers."""

    def of(self, rows: slice) -> StepRNG:
        """The same random numbers, for a slice of these rows."""
        part = StepRNG(self.generator, self._count)
        own = range(self._count)[self._rows][rows]
        part._rows, part._whole = slice(own.start, own.stop), self._whole
        return part

    def minimum_steps(self, arch: ArchConfig, device: torch.device) -> Tensor:
        """Exploration: minimum number of steps that each of these rows must take, `[b]` int64.

        It is 0, or with a small probability uniform in 2..halt_max_steps (hrm-spec "Adaptive computation").
        """
        with self._whole._lock:
            if self._whole._minimum_steps is None:
                self._whole._minimum_steps = self._draw_minimum_steps(arch, device)
        return self._whole._minimum_steps[self._rows]

    def _draw_minimum_steps(self, arch: ArchConfig, device: torch.device) -> Tensor:
        shape = (self._count,)
        if arch.halt_exploration_prob == 0:
            return torch.zeros(shape, dtype=torch.int64, device=device)
        explores = torch.rand(shape, generator=self.generator) < arch.halt_exploration_prob
        drawn = torch.randint(2, arch.halt_max_steps + 1, shape, generator=self.generator)
        return _sent(torch.where(explores, drawn, 0), device)

    def shares(self, device: torch.device) -> Tensor:
        """A uniform random number in [0, 1) for each of these rows, `[b]`."""
        with self._whole._lock:
            if self._whole._shares is None:
                self._whole._shares = _sent(torch.rand((self._count,), generator=self.generator), device)
        return self._whole._shares[self._rows]

    def seed(self) -> int:
        """A seed for a core's own random numbers (dropout), different for every call and every rank."""
        return int(torch.randint(2**62, (), generator=self.generator).item()) + self._rows.start


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    return to_device(pinned_for(numbers, device), device)
