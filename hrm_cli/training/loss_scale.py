"""Loss scaling for float16, whose smallest numbers are too large for many gradients.

The loss is multiplied by a scale before the backward pass and the gradients are divided by it, in float32, behind
it. A step whose gradients are not finite is skipped and halves the scale; many good ones in a row double it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH_INTERVAL = 2000
"""Good steps in a row that double the scale."""
LARGEST = 2.0**24


@dataclass
class LossScale:
    """The scale and its history; part of the resume state."""

    scale: float = 2.0**16
    good_steps: int = 0
    """Since the scale last changed."""
    skipped_steps: int = 0
    """In the whole run."""

    def overflowed(self) -> None:
        """The step is skipped."""
        self.scale, self.good_steps = self.scale / 2, 0
        self.skipped_steps += 1

    def held(self) -> None:
        """The step's gradients were finite."""
        self.good_steps += 1
        if self.good_steps == GROWTH_INTERVAL:
            self.scale, self.good_steps = min(2 * self.scale, LARGEST), 0


@torch.no_grad()
def unscale(gradients: Sequence[Tensor], scale: float) -> bool:
    """Divides float32 gradients by `scale` in place; returns whether all are finite."""
    if not gradients:
        return True
    torch._foreach_mul_(list(gradients), 1 / scale)
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())
