"""torch's global random number generators, of the host and of an accelerator: seeded, put back, repeated.

Dropout can take its numbers from nowhere else. torch's own `fork_rng` and `checkpoint` put back the generators of the
host and of CUDA; in the versions in use they fail on MPS, or forget its generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

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
