"""Weights prepacked for oneDNN's matrix multiplications, once for all forward calls of a step, not at every call.

Worth 15 % of a multiplication (benchmarks/results/cpu_speed.txt). Not so in backward: the transposed layout costs
twice as much, and each is used once, or few times. In bfloat16 only, and only where a call has shown that it works.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from hrm_cli.models.cpu.kernels.availability import prepack, prepacked_linear, prepacking_unavailable


class LaidOut:
    """A weight `[out, in]`, in oneDNN's own layout where this process can use it."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        usable = weight.device.type == "cpu" and prepacking_unavailable(weight.dtype) is None
        self._packed = prepack(self._weight) if usable else None

    def product(self, x: Tensor) -> Tensor:
        """x·weightᵀ for `[…, in]`."""
        return F.linear(x, self._weight) if self._packed is None else prepacked_linear(x, self._packed)
