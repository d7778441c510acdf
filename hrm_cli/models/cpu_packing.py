"""Weights laid out for oneDNN's products, once for all forward calls of a step: it would do so at every product.

Worth 15 % of a product (benchmarks/results/cpu_speed.txt). Not so for those of backward: the transposed layout costs
twice as much, and each is used once, or few times. In bfloat16 only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class LaidOut:
    """A weight `[out, in]`, in oneDNN's own layout where this torch and the format know one."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight.detach()
        self._packed = _packed(self._weight)

    def product(self, x: Tensor) -> Tensor:
        """x·weightᵀ for `[…, in]`."""
        if self._packed is None:
            return F.linear(x, self._weight)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], None)


def _packed(weight: Tensor) -> Tensor | None:
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if not usable or weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
