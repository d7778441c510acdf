"""Counts the parameters of a model exactly, from tensors on the meta device or from a model file's header.

For a core or a mixer that a plugin adds, it also measures the FLOPs of its model on the meta device.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hrm_cli.accounting.kinds import NEVER_TRAINED, PUZZLE_EMBEDDING, kind_of, module_of
from hrm_cli.config.arch import ArchConfig


@dataclass(frozen=True)
class GroupCount:
    """The counts of one group of tensors: a module or a kind."""

    name: str
    trainable: int
    buffers: int
    """Numbers stored but not trained by the network's optimizer: puzzle embeddings, initial states, position tables."""


@dataclass(frozen=True)
class ExactCount:
    """Exact counts of a model's numbers."""

    trainable: int
    """Parameters that the network's optimizer trains. Papers report this count."""
    puzzle_embedding: int
    """Numbers in the puzzle-embedding table, trained by its own sparse optimizer."""
    buffers: int
    """Numbers in other stored tensors, which are never trained: fixed initial states, position tables."""
    state_dict: int
    """All numbers in a checkpoint's model file."""
    modules: tuple[GroupCount, ...]
    kinds: tuple[GroupCount, ...]


def count_exactly(
    arch: ArchConfig,
    vocab_size: int,
    seq_len: int,
    num_puzzle_identifiers: int = 1,
    domain: Mapping[str, Any] | None = None,
) -> ExactCount:
    """Counts the model of `arch` on the meta device, without allocating memory. `domain` is as for `components`."""
    from hrm_cli.models.registry import build_model

    model = build_model(arch, vocab_size, seq_len, num_puzzle_identifiers, domain=domain, device="meta")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return count_tensors(shapes, {name for name, _ in model.named_parameters()})


def count_stored(shapes: Mapping[str, Sequence[int]]) -> ExactCount:
    """Counts the tensors of a model file. Their names determine which are trained."""
    return count_tensors(shapes, {name for name in shapes if kind_of(name) not in NEVER_TRAINED})


def count_tensors(shapes: Mapping[str, Sequence[int]], trainable: Collection[str]) -> ExactCount:
    """Counts tensors with the given names and shapes. `trainable` contains the names of trained tensors."""
    numbers = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(numbers.values())
    trained = sum(numbers[name] for name in trainable)
    table = sum(numbers[name] for name in shapes if kind_of(name) == PUZZLE_EMBEDDING)
    return ExactCount(
        trained,
        table,
        total - trained - table,
        total,
        _grouped(numbers, trainable, module_of),
        _grouped(numbers, trainable, kind_of),
    )


def _grouped(
    numbers: Mapping[str, int], trainable: Collection[str], group_of: Callable[[str], str]
) -> tuple[GroupCount, ...]:
    """Sums the counts by group, largest group first."""
    groups: dict[str, list[int]] = {}
    for name, count in numbers.items():
        groups.setdefault(group_of(name), [0, 0])[name not in trainable] += count
    counts = [GroupCount(name, *sums) for name, sums in groups.items()]
    return tuple(sorted(counts, key=lambda group: -group.trainable - group.buffers))


Counts = dict[tuple[str, str], tuple[int, int]]
"""Module and kind → trainable numbers, and other stored numbers."""


@lru_cache(maxsize=16)
def _measured(arch: str, vocab_size: int, seq_len: int, identifiers: int) -> tuple[Counts, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hrm_cli.models.registry import build_model

    model = build_model(ArchConfig.model_validate_json(arch), vocab_size, seq_len, identifiers, device="meta")
    trained = {name for name, _ in model.named_parameters()}
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for name, tensor in model.state_dict().items():
        counts[module_of(name), kind_of(name)][name not in trained] += tensor.numel()
    core = model.core
    size = model.arch.puzzle_emb_size
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        inputs = torch.zeros(1, seq_len, dtype=torch.int32)
        rows = torch.zeros(1, size) if size else None
        core(core.initial_carry(inputs), inputs, rows, core.cast_weights())
    return {key: (pair[0], pair[1]) for key, pair in counts.items()}, int(counter.get_total_flops())


def measured_core(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> tuple[Counts, int]:
    """The numbers of a core's tensors, and the FLOPs of the matmuls of one ACT step at inference for one puzzle."""
    return _measured(arch.model_dump_json(), vocab_size, seq_len, identifiers)
