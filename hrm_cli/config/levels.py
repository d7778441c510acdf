"""The levels of a recurrent core: their names, blocks, and how often and in which order a step updates them.

With `arch.middle_cycles` there are levels between L and H. Levels are ordered from the fastest: L, M1, M2, …, H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrm_cli.config.arch import ArchConfig


def update_order(cycles: Sequence[int]) -> list[int]:
    """The levels in the order in which one ACT step updates them; 0 is the fastest.

    `cycles`, from the fastest level: its updates for each update of the level above; for the slowest, in the step.
    """
    order: list[int] = []
    for level, count in enumerate(cycles):
        order = [*order, level] * count
    return order


def level_names(arch: ArchConfig) -> tuple[str, ...]:
    """The levels, from the fastest: L, M1, M2, …, H."""
    return "L", *(f"M{number}" for number, _ in enumerate(arch.middle_cycles, 1)), "H"


def level_layers(arch: ArchConfig) -> dict[str, int]:
    """The number of blocks of each level, from the fastest."""
    middle = arch.middle_layers or arch.L_layers
    return dict.fromkeys(level_names(arch), middle) | {"L": arch.L_layers, "H": arch.H_layers}


def level_updates(arch: ArchConfig) -> dict[str, int]:
    """How often one ACT step updates each level, from the fastest."""
    cycles = arch.L_cycles, *arch.middle_cycles, arch.H_cycles
    return {name: math.prod(cycles[number:]) for number, name in enumerate(level_names(arch))}


def blocks_in_step(arch: ArchConfig) -> int:
    """Blocks that one ACT step of a core with a module for each level applies, one after another."""
    return sum(count * level_layers(arch)[name] for name, count in level_updates(arch).items())
