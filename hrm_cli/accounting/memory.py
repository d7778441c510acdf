"""Memory of a model in bytes: stored, and during training on a batch.

Parameters, gradients and the optimizer's moments are float32 in every forward dtype. In half precision, a step adds a
copy of the weights in that dtype and the copy's gradients. Activations are the tensors that autograd saves for the
backward pass; their estimate is within 5 %. The backward pass frees activations while it allocates gradients, so only
the larger of the two counts, unless gradients of several micro-batches are accumulated. The total is within 10 % of the
measured peak (benchmarks/memory_plan.py). `_TRANSIENT` covers the tensors of the loss, the carry and temporary tensors.
A CPU needs less for a batch of many shards (`hrm_cli.training.shards`): it computes only one per thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrm_cli.accounting.components import components, state_positions
from hrm_cli.accounting.kinds import Part
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.levels import level_layers
from hrm_cli.config.train import TrainConfig, depth_fractions

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes per number in each dtype."""

_FLOAT32 = BYTES["float32"]
_MOMENTS = 2
_TRANSIENT = 45_000_000
"""Bytes of temporary memory within a step, for any batch size: library workspaces, logits, states."""


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes allocated during a training step."""

    weights: int
    """Parameters in float32."""
    working_copy: int
    """The weights in the forward dtype, if that is not float32, and their gradients in that dtype."""
    gradients: int
    optimizer: int
    """The optimizer's moments: two for each parameter, or one where Muon trains it."""
    averaged_weights: int
    """The moving average of the weights, if enabled."""
    buffers: int
    """The puzzle-embedding table and the other stored tensors."""
    activations: int
    """Tensors saved for the backward pass, with fused attention (CUDA, or a CPU in float32 without dropout)."""
    total: int
    """Peak of the total."""
    activations_on_cpu: int
    """`activations` on a CPU."""
    total_on_cpu: int
    """`total` on a CPU."""

    def on(self, device_type: str) -> int:
        """The total on a device of this type."""
        return self.total_on_cpu if device_type == "cpu" else self.total


@dataclass(frozen=True)
class Recomputed:
    """Activation checkpointing: blocks save only their inputs and are recomputed in the backward pass."""

    blocks: int
    """Runs of a block with gradient in one step."""
    state: int
    """Numbers in one block's input, for one puzzle."""


def activation_bytes(parts: Sequence[Part], batch_size: int, dtype: str) -> int:
    """Bytes that autograd saves for the backward pass of a batch, with fused attention."""
    per_puzzle = sum(
        part.runs.with_gradient * (BYTES[dtype] * part.kept.numbers + _FLOAT32 * part.kept.wide)
        for part in parts
    )
    return batch_size * per_puzzle


def activation_bytes_on_cpu(parts: Sequence[Part], batch_size: int, dtype: str) -> int:
    """As `activation_bytes`, on a CPU, where blocks are implemented differently."""
    per_puzzle = sum(
        part.runs.with_gradient * (kept.on_cpu_in_float32 if dtype == "float32" else kept.on_cpu_in_bfloat16)
        for part in parts
        for kept in [part.kept]
    )
    return activation_bytes(parts, batch_size, dtype) + batch_size * per_puzzle


def moment_numbers(parts: Sequence[Part], optimizer: str) -> int:
    """Numbers in the moments of `train.optimizer`: two for each parameter, with Muon one for those of blocks."""
    of_blocks = sum(part.trainable for part in parts if part.module.endswith(("_level", "_layers")))
    return _MOMENTS * sum(part.trainable for part in parts) - (of_blocks if optimizer == "muon" else 0)


def training_memory(
    parts: Sequence[Part],
    batch_size: int,
    dtype: str,
    *,
    averages_weights: bool = False,
    recomputes: Recomputed | None = None,
    accumulates: bool = False,
    portable_on_cpu: int | None = None,
    optimizer: str = "adam_atan2",
) -> TrainingMemory:
    """Bytes allocated during a training step on `batch_size` puzzles with forward dtype `dtype`.

    `accumulates`: whether gradients are accumulated over several micro-batches. `optimizer` is `train.optimizer`.
    """
    trainable = sum(part.trainable for part in parts)
    weights = _FLOAT32 * trainable
    on_gpu = activation_bytes(parts, batch_size, dtype)
    on_cpu = activation_bytes_on_cpu(parts, batch_size, dtype)
    if portable_on_cpu is not None:
        on_cpu = on_gpu + batch_size * portable_on_cpu
    if recomputes is not None:
        inputs = batch_size * recomputes.blocks * recomputes.state * BYTES[dtype]
        # One block at a time is recomputed and saves its usual activations.
        on_gpu, on_cpu = (min(kept, inputs + kept // recomputes.blocks) for kept in (on_gpu, on_cpu))
    half = 0 if dtype == "float32" else BYTES[dtype] * trainable
    averages = weights if averages_weights else 0
    buffers = _FLOAT32 * sum(part.buffers for part in parts)
    moments = _FLOAT32 * moment_numbers(parts, optimizer)
    persistent = weights + half + moments + averages + buffers + _TRANSIENT
    totals = [
        persistent + (kept + half + weights if accumulates else max(kept + half, weights))
        for kept in (on_gpu, on_cpu)
    ]
    return TrainingMemory(
        weights=weights,
        working_copy=2 * half,
        gradients=weights,
        optimizer=moments,
        averaged_weights=averages,
        buffers=buffers,
        activations=on_gpu,
        total=totals[0],
        activations_on_cpu=on_cpu,
        total_on_cpu=totals[1],
    )


def memory_in_training(
    arch: ArchConfig,
    train: TrainConfig,
    vocab_size: int,
    seq_len: int,
    num_puzzle_identifiers: int,
    rows: int,
    dtype: str,
) -> TrainingMemory:
    """Bytes that training needs at its maximum depth, for a process with `rows` rows of each batch."""
    depths = [(arch.H_cycles, arch.L_cycles)]
    if train.depth_schedule is not None:
        depths = [(H, L) for H, L, _ in depth_fractions(train.depth_schedule)]
    positions = seq_len if arch.core == "nova" else state_positions(arch, vocab_size, seq_len)
    found = []
    for H, L in depths:
        deep = arch.model_copy(update={"H_cycles": H, "L_cycles": L})
        parts = components(
            deep, vocab_size, seq_len, num_puzzle_identifiers, train.objective, train.gradient,
            reads_L=train.l_distill_weight > 0, reaches_back=train.reach_back > 0,
        )  # fmt: skip
        layers = {f"{name}_level": count for name, count in level_layers(arch).items()}
        layers |= {"h_layers": arch.H_layers, "l_layers": arch.L_layers}
        runs = {part.module: part.runs.with_gradient for part in parts if part.module in layers}
        blocks = sum(count * layers[module] for module, count in runs.items())
        recomputes = Recomputed(max(blocks, 1), positions * arch.hidden_size)
        portable = None
        if arch.state_dtype == "float32" and dtype != "float32":
            # The float32 states are copies that norms save anyway. Explicit attention also saves its weights.
            explicit = arch.mixer == "attention" and dtype == "bfloat16"
            portable = blocks * arch.num_heads * positions**2 * BYTES[dtype] if explicit else 0
        found.append(
            training_memory(
                parts,
                -(-rows // train.accumulation_steps),
                dtype,
                averages_weights=train.ema_decay > 0,
                recomputes=recomputes if train.activation_checkpointing else None,
                accumulates=train.accumulation_steps > 1,
                portable_on_cpu=portable,
                optimizer=train.optimizer,
            )
        )
    return max(found, key=lambda memory: memory.total)
