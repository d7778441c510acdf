"""How much memory a model takes, in bytes: stored, and while training a batch.

Parameters, gradients and AdamATan2's two moments are float32 in either forward dtype; in bfloat16 a step adds a copy
of the weights in that format. Activations are what autograd keeps between forward and backward: an estimate, within
5 % of what is measured (the loss's own tensors, the carry and what only passes by are left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrm_cli.models.anatomy import Part

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one number in each format."""

_MASTER = BYTES["float32"]
_MOMENTS = 2


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes held while a batch is trained."""

    weights: int
    """Parameters, float32."""
    working_copy: int
    """The weights in the forward dtype, where that is not float32."""
    gradients: int
    optimizer: int
    """AdamATan2's two moments."""
    averaged_weights: int
    """The moving average, where one is kept."""
    buffers: int
    """The puzzle-embedding table and the other stored tensors."""
    activations: int
    """Kept for the backward pass, with fused attention (CUDA; a CPU in float32 without dropout)."""
    total: int
    """All of the above."""
    activations_on_cpu: int
    """What takes the place of `activations` on a CPU."""


def activation_bytes(parts: Sequence[Part], batch_size: int, dtype: str) -> int:
    """Bytes that autograd keeps for the backward pass of a batch, attention fused."""
    per_puzzle = sum(
        part.runs.with_gradient * (BYTES[dtype] * part.kept.numbers + _MASTER * part.kept.wide)
        for part in parts
    )
    return batch_size * per_puzzle


def activation_bytes_on_cpu(parts: Sequence[Part], batch_size: int, dtype: str) -> int:
    """The same on a CPU, where blocks are computed in another way."""
    per_puzzle = sum(
        part.runs.with_gradient * (kept.on_cpu_in_float32 if dtype == "float32" else kept.on_cpu_in_bfloat16)
        for part in parts
        for kept in [part.kept]
    )
    return activation_bytes(parts, batch_size, dtype) + batch_size * per_puzzle


def training_memory(
    parts: Sequence[Part], batch_size: int, dtype: str, *, averages_weights: bool = False
) -> TrainingMemory:
    """Bytes held while a batch of `batch_size` puzzles is trained in `dtype`."""
    trainable = sum(part.trainable for part in parts)
    weights = _MASTER * trainable
    held = {
        "weights": weights,
        "working_copy": 0 if dtype == "float32" else BYTES[dtype] * trainable,
        "gradients": weights,
        "optimizer": _MOMENTS * weights,
        "averaged_weights": weights if averages_weights else 0,
        "buffers": _MASTER * sum(part.buffers for part in parts),
        "activations": activation_bytes(parts, batch_size, dtype),
    }
    on_cpu = activation_bytes_on_cpu(parts, batch_size, dtype)
    return TrainingMemory(**held, total=sum(held.values()), activations_on_cpu=on_cpu)
