"""Random numbers of a training step, and torch's global generators: seeded, restored, repeated.

A step draws its random numbers once for the whole global batch, from a generator on the host. So a run explores the
same way on every device and with any number of ranks, and its checkpoint resumes on any of
them.
Dropout takes its numbers from torch's global generators. torch's own `fork_rng` and `checkpoint` restore those of the
host and of CUDA; in the versions in use they fail on MPS, or forget its generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.device import pinned_for, to_device

RngStates = tuple[Tensor, Tensor | None]
"""Of the host's generator, and of the accelerator's."""


def rng_states(device: torch.device) -> RngStates:
    """The states of the generators that a computation on `device` takes its numbers from."""
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    return torch.get_rng_state(), torch.mps.get_rng_state() if device.type == "mps" else None


def set_rng_states(states: RngStates, device: torch.device) -> None:
    """Puts back what `rng_states` gave."""
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
    """All global generators are afterwards as they were before; within, they start at `seed`, where one is given."""
    before = rng_states(device)
    try:
        if seed is not None:
            torch.manual_seed(seed)
        yield
    finally:
        set_rng_states(before, device)


def same_numbers_twice(
    device: torch.device,
) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """For `checkpoint(context_fn=…)`: the recomputation gets the random numbers that the first pass got."""

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
    """The random numbers of one step for its `count` rows; `of` gives those of some rows.

    Micro-batches and ranks see slices of the same numbers, so that neither changes what is explored.
    """

    def __init__(self, generator: torch.Generator | None, count: int) -> None:
        self.generator = generator
        self._count = count
        self._rows = slice(0, count)
        self._whole = self
        self._minimum_steps: Tensor | None = None
        self._shares: Tensor | None = None

    def of(self, rows: slice) -> StepRNG:
        """The same random numbers, for some of these rows."""
        part = StepRNG(self.generator, self._count)
        own = range(self._count)[self._rows][rows]
        part._rows, part._whole = slice(own.start, own.stop), self._whole
        return part

    def minimum_steps(self, arch: ArchConfig, device: torch.device) -> Tensor:
        """Exploration: steps that each of these rows must take, `[b]` int64.

        0, and with a small probability drawn from 2..halt_max_steps (hrm-spec "Adaptive computation").
        """
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
        """A number from 0..1 for each of these rows, `[b]`: those below p are a share p of all."""
        if self._whole._shares is None:
            self._whole._shares = _sent(torch.rand((self._count,), generator=self.generator), device)
        return self._whole._shares[self._rows]

    def seed(self) -> int:
        """A seed for a core's own random numbers (dropout); every call and every rank gets a new one."""
        return int(torch.randint(2**62, (), generator=self.generator).item()) + self._rows.start


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    return to_device(pinned_for(numbers, device), device)
