"""Activation checkpointing: a part of the network keeps its inputs alone and is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hrm_cli.models.rng import same_numbers_twice


def recomputed(part: Callable[..., Tensor], *given: Any, uses_rng: bool = False) -> Tensor:
    """`part(*given)`, with the same gradient from less memory and one more forward pass of the part.

    `uses_rng`: the part takes numbers from torch's generators (dropout), which are restored for the second pass.
    """
    options: dict[str, Any] = {"preserve_rng_state": uses_rng}
    if uses_rng and (device := _device(given)).type == "mps":
        # torch itself puts back no generator of MPS.
        options = {"preserve_rng_state": False, "context_fn": same_numbers_twice(device)}
    result: Tensor = checkpoint(part, *given, use_reentrant=False, **options)
    return result


def _device(given: Sequence[Any]) -> torch.device:
    return next(tensor.device for tensor in given if isinstance(tensor, Tensor))
