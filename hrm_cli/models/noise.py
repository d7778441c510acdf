"""Noise on the recurrent states at inference, for different initial states or different trajectories from one state.

Every row has its own generator on the host. So its noise depends only on its seed, not on the other rows of the batch
and not on the device.

Letters in shapes: B rows, P+S positions, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hrm_cli.models.core import InnerCarry

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

    def at_start(self, carry: InnerCarry) -> InnerCarry:
        """Adds noise to the rows' initial states, `[B, P+S, H]` each."""
        return self._added(carry, self._scales.initial)

    def before_step(self, carry: InnerCarry) -> InnerCarry:
        """Adds noise to the states before a step."""
        return self._added(carry, self._scales.step)

    def _added(self, carry: InnerCarry, scale: float) -> InnerCarry:
        if scale == 0:
            return carry
        # z_H before z_L in every row, so that a row's numbers do not depend on how many rows there are.
        samples = [self._sample(generator, carry) for generator in self._generators]
        fast = torch.stack([low for _, low in samples])
        slow = torch.stack([high for high, _ in samples])
        return InnerCarry(_plus(carry.z_H, slow, scale), _plus(carry.z_L, fast, scale))

    @staticmethod
    def _sample(generator: np.random.Generator | None, carry: InnerCarry) -> tuple[Tensor, Tensor]:
        shapes = carry.z_H.shape[1:], carry.z_L.shape[1:]
        if generator is None:
            return torch.zeros(shapes[0]), torch.zeros(shapes[1])
        high, low = (torch.from_numpy(generator.standard_normal(shape, np.float32)) for shape in shapes)
        return high, low


def _plus(state: Tensor, noise: Tensor, scale: float) -> Tensor:
    # Adding zero changes nothing in any dtype, so a row without noise keeps its state bit for bit.
    return state + (scale * noise).to(state.device, state.dtype)
