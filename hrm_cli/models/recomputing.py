"""Activation checkpointing: stores only the inputs of a part of the network, and recomputes it in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hrm_cli.models.rng import replayed_rng


def recomputed(part: Callable[..., Tensor], *given: Any, uses_rng: bool = False) -> Tensor:
    """Calls `part(*given)` with activation checkpointing: same gradient, less memory, one more forward pass.

    `uses_rng`: the part uses torch's generators (dropout). Their state is restored for the second pass.
    """
    options: dict[str, Any] = {"preserve_rng_state": uses_rng}
    if uses_rng and (device := _device(given)).type == "mps":
        # torch does not restore the MPS generator.
        options = {"preserve_rng_state": False, "context_fn": replayed_rng(device)}
    result: Tensor = checkpoint(part, *given, use_reentrant=False, **options)
    return result


def _device(given: Sequence[Any]) -> torch.device:
    return next(tensor.device for tensor in given if isinstance(tensor, Tensor))
