"""Weights laid out for oneDNN's products, once for all calls without gradient: it would do so at every product.

Worth 3 % of a product of 1000 rows, 12 % of one of 81 (benchmarks/results/training_speed.txt). In bfloat16 only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Packed(NamedTuple):
    """A weight `[out, in]` in oneDNN's own layout."""

    weight: Tensor


def packed(weight: Tensor) -> Tensor | Packed:
    """The weight laid out for `product`; the weight itself where this torch or this format knows no layout."""
    usable = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    if not usable or weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return weight
    return Packed(torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous()))


def product(x: Tensor, weight: Tensor | Packed, plus: Tensor | None = None) -> Tensor:
    """x·weightᵀ for `[…, in]`, and `plus` `[…, out]` added to it where given."""
    if not isinstance(weight, Packed):
        out = F.linear(x, weight)
        return out if plus is None else out.add_(plus)
    linear = torch.ops.mkldnn._linear_pointwise
    if plus is None:
        return linear(x, weight.weight, None, "none", [], None)
    return linear.binary(x, plus, weight.weight, None, "add")


def scaled_product(x: Tensor, weight: Tensor | Packed, times: Tensor) -> Tensor:
    """x·weightᵀ for `[…, in]`, each number times that of `times` `[…, out]`."""
    if not isinstance(weight, Packed):
        return F.linear(x, weight).mul_(times)
    return torch.ops.mkldnn._linear_pointwise.binary(x, times, weight.weight, None, "mul")
