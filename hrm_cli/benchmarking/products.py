"""How fast one large matrix product runs here: what the speed of a model is measured against."""

from __future__ import annotations

import time

import torch

SIZE_ON_CPU = 2048
SIZE_ELSEWHERE = 8192
"""An accelerator needs larger matrices before it is busy."""


class LargeProduct:
    """A product of two square matrices in a format on a device, with the threads that torch has."""

    def __init__(self, device: torch.device, dtype: torch.dtype, size: int | None = None) -> None:
        self.size = size or (SIZE_ON_CPU if device.type == "cpu" else SIZE_ELSEWHERE)
        generator = torch.Generator().manual_seed(0)
        shape = (self.size, self.size)
        self._a, self._b = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        self._device = device

    def gflops(self, times: int = 2) -> float:
        """GFLOP/s now: the mean of `times` products, each a·bᵀ as in a linear layer."""
        wait_for(self._device)
        started = time.perf_counter()
        for _ in range(times):
            torch.mm(self._a, self._b.T)
        wait_for(self._device)
        return times * 2 * self.size**3 / (time.perf_counter() - started) / 1e9


def wait_for(device: torch.device) -> None:
    """Returns once everything that was queued on an accelerator is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
