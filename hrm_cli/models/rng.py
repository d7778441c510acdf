"""Random numbers of a training step, noise at inference, and saving and restoring torch's global generators.

A step samples its random numbers once for the whole global batch, from a generator on the host. So exploration is the
same on every device and with any number of ranks, and a checkpoint can resume on any of them.

Dropout uses torch's global generators. torch's `fork_rng` and `checkpoint` restore the generators of the host and of
CUDA. In the supported versions they fail on MPS or do not restore its generator, so this module does.

Noise on the recurrent states gives restarts different initial states, or different trajectories from one state. Every
row has its own generator on the host, so its noise depends only on its seed, not on the other rows or the device.

Letters in shapes: B rows of a batch (b of a slice), P+S positions, H hidden size.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.core import InnerCarry
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
        self._sampled: dict[str, Tensor] = {}
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
        return self._once("minimum_steps", lambda: self._draw_minimum_steps(arch, device))

    def _once(self, name: str, sample: Callable[[], Tensor]) -> Tensor:
        """These rows of numbers that are sampled once per step, for all rows."""
        with self._whole._lock:
            if name not in self._whole._sampled:
                self._whole._sampled[name] = sample()
        return self._whole._sampled[name][self._rows]

    def _draw_minimum_steps(self, arch: ArchConfig, device: torch.device) -> Tensor:
        shape = (self._count,)
        if arch.halt_exploration_prob == 0:
            return torch.zeros(shape, dtype=torch.int64, device=device)
        explores = torch.rand(shape, generator=self.generator) < arch.halt_exploration_prob
        drawn = torch.randint(2, arch.halt_max_steps + 1, shape, generator=self.generator)
        return _sent(torch.where(explores, drawn, 0), device)

    def shares(self, device: torch.device) -> Tensor:
        """A uniform random number in [0, 1) for each of these rows, `[b]`."""
        return self._once("shares", lambda: _sent(self._uniform(), device))

    def shares_on_host(self, purpose: str) -> Tensor:
        """Like `shares`, on the host; other numbers for every purpose."""
        return self._once(f"shares/{purpose}", self._uniform)

    def row_seeds(self, purpose: str) -> list[int]:
        """A seed for each of these rows; other seeds for every purpose and step."""
        sample = functools.partial(torch.randint, 2**62, (self._count,), generator=self.generator)
        seeds: list[int] = self._once(f"seeds/{purpose}", sample).tolist()
        return seeds

    def _uniform(self) -> Tensor:
        return torch.rand((self._count,), generator=self.generator)

    def seed(self) -> int:
        """A seed for a core's own random numbers (dropout), different for every call and every rank."""
        return int(torch.randint(2**62, (), generator=self.generator).item()) + self._rows.start


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    return to_device(pinned_for(numbers, device), device)


Seeds = Sequence[Sequence[int] | None]
"""The seed of each row; a row with None gets no noise."""


@dataclass(frozen=True)
class NoiseScales:
    """Standard deviations of normal noise, in units of the states. States after an RMS norm have RMS 1."""

    initial: float = 0.0
    """Noise added once, to a row's initial states."""
    step: float = 0.0
    """Noise added before every step."""

    @property
    def is_off(self) -> bool:
        """Whether both scales are zero."""
        return self.initial == 0 and self.step == 0


NO_NOISE = NoiseScales()
NOISE_INIT = 1.0
"""Default noise of the initial states of a restart."""


class RowNoise:
    """The noise of the rows of a batch, generated step by step."""

    def __init__(self, scales: NoiseScales, seeds: Seeds) -> None:
        self._scales = scales
        # SFC64 is NumPy's fastest generator; a row of 9×9 Sudoku needs 190,000 numbers per step.
        self._generators = [
            None if seed is None else np.random.Generator(np.random.SFC64([*seed])) for seed in seeds
        ]

    def select(self, rows: Tensor) -> RowNoise:
        """The noise of some rows (indices), whose generators continue."""
        chosen = RowNoise(self._scales, ())
        chosen._generators = [self._generators[row] for row in rows.tolist()]
        return chosen

    def at_start(self, carry: InnerCarry, *, replaces: bool = False) -> InnerCarry:
        """Adds noise to the rows' initial states, `[B, P+S, H]` each.

        `replaces`: the noise takes the place of the states, for models that are trained from random states.
        """
        return self._added(carry, self._scales.initial, replaces=replaces)

    def before_step(self, carry: InnerCarry) -> InnerCarry:
        """Adds noise to the states before a step."""
        return self._added(carry, self._scales.step)

    def _added(self, carry: InnerCarry, scale: float, *, replaces: bool = False) -> InnerCarry:
        if scale == 0:
            return carry
        # Row by row, z_H before z_L, so that a row's numbers do not depend on how many rows there are.
        samples = [self._sample(generator, carry) for generator in self._generators]
        if replaces:
            noisy = torch.tensor([generator is not None for generator in self._generators])
            noisy = noisy.to(carry.z_H.device)
            carry = carry.map(lambda state: torch.where(noisy.view(-1, *[1] * (state.ndim - 1)), 0, state))
        states = {
            name: _plus(state, torch.stack([one[name] for one in samples]), scale)
            for name, state in carry.tensors().items()
        }
        return InnerCarry(**states)

    @staticmethod
    def _sample(generator: np.random.Generator | None, carry: InnerCarry) -> dict[str, Tensor]:
        shapes = {name: state.shape[1:] for name, state in carry.tensors().items()}
        if generator is None:
            return {name: torch.zeros(shape) for name, shape in shapes.items()}
        return {
            name: torch.from_numpy(generator.standard_normal(shape, np.float32))
            for name, shape in shapes.items()
        }


def _plus(state: Tensor, noise: Tensor, scale: float) -> Tensor:
    # Adding zero changes nothing in any dtype, so a row without noise keeps its state bit for bit.
    return state + (scale * noise).to(state.device, state.dtype)
