"""Counts the parameters of a model exactly, from tensors on the meta device or from a model file's header."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hrm_cli.accounting.kinds import NEVER_TRAINED, PUZZLE_EMBEDDING, kind_of, module_of
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.registry import build_model


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
    arch: ArchConfig, vocab_size: int, seq_len: int, num_puzzle_identifiers: int = 1
) -> ExactCount:
    """Counts the model of `arch` on the meta device, without allocating memory."""
    model = build_model(arch, vocab_size, seq_len, num_puzzle_identifiers, device="meta")
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
