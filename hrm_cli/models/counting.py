"""How large a model is: exactly, by instantiating it without memory, and by the two published approximations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hrm_cli.config.schema import ArchConfig
from hrm_cli.models.registry import build_model
from hrm_cli.models.sizes import swiglu_width


@dataclass(frozen=True)
class ModuleCount:
    """One part of a model."""

    name: str
    trainable: int
    buffers: int
    """Stored but not trained by the network's optimiser: puzzle embeddings, initial states."""


@dataclass(frozen=True)
class ExactCount:
    """A model's numbers, counted on the instantiated modules."""

    trainable: int
    """Parameters that the network's optimiser trains: what papers report."""
    puzzle_embedding: int
    """Numbers in the puzzle-embedding table, trained by its own sparse optimiser."""
    buffers: int
    """Other stored tensors: the fixed initial states."""
    state_dict: int
    """Everything in a checkpoint's model file."""
    modules: tuple[ModuleCount, ...]


@dataclass(frozen=True)
class Approximations:
    """The two published hand formulas."""

    guide: int
    rule_of_thumb: int


def count_exactly(
    arch: ArchConfig, vocab_size: int, seq_len: int, num_puzzle_identifiers: int = 1
) -> ExactCount:
    """Counts the model of `arch` on the meta device: no memory is taken, whatever its size."""
    model = build_model(arch, vocab_size, seq_len, num_puzzle_identifiers, device="meta")
    stored = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    return group_counts(stored, {name for name, _ in model.named_parameters()})


def group_counts(stored: Mapping[str, int], trainable: set[str]) -> ExactCount:
    """Sums tensor sizes by top-level module: `inner.H_level.layers.0.…` belongs to `H_level`."""
    groups: dict[str, list[int]] = {}
    table = 0
    for name, numbers in stored.items():
        module = name.removeprefix("inner.").split(".")[0]
        group = groups.setdefault(module, [0, 0])
        group[name not in trainable] += numbers
        if module == "puzzle_emb":
            table += numbers
    modules = tuple(ModuleCount(name, *group) for name, group in groups.items())
    total = sum(stored.values())
    trained = sum(module.trainable for module in modules)
    return ExactCount(trained, table, total - trained - table, total, modules)


def approximate(arch: ArchConfig, vocab_size: int, num_puzzle_identifiers: int = 1) -> Approximations:
    """The size guide's function and its rule of thumb, as published (parameter ledger).

    guide: K·(4 + 3·inner/H)·H² + 2VH + identifiers·H + 2H; rule of thumb: 12·H²·K + 2VH + H + 2H, K blocks.
    """
    hidden, blocks = arch.hidden_size, arch.H_layers + arch.L_layers
    inner = swiglu_width(hidden, arch.expansion)
    heads = 2 * vocab_size * hidden + 2 * hidden
    has_puzzles = arch.puzzle_emb_size > 0
    guide = blocks * (4 * hidden + 3 * inner) * hidden + heads + has_puzzles * num_puzzle_identifiers * hidden
    return Approximations(guide, 12 * hidden * hidden * blocks + heads + hidden)
