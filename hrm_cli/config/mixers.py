"""Registers what exchanges information between the positions of a block (`arch.mixer`).

A new mixer needs one new file in `hrm_cli/models/mixers`, one line here, and its cost in
`hrm_cli.accounting.components`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MixerEntry:
    """A mixer's implementation and the properties that a configuration must know."""

    structure: str | None = None
    """`module:class` of a `hrm_cli.models.mixers.structure.Structure`; None if it knows nothing of the domain."""
    kind: str = ""
    """Its name in `hrm params`, and the prefix of its tensors."""
    knows: str = ""
    """What it knows of the domain before training, as text."""
    width_multiple: int = 256
    """The inner width of a block's SwiGLU is rounded up to a multiple of this number."""
    serves_every_size: bool = True
    """For a structure: whether no weight depends on the number of cells."""
    is_equivariant: bool = True
    """For a structure: whether all augmented copies of a puzzle get the same answer."""


MIXERS: dict[str, MixerEntry] = {
    "attention": MixerEntry(),
    "mlp": MixerEntry(),
    "units": MixerEntry(
        "hrm_cli.models.mixers.units:UnitsStructure", "units", "the relations between cells that the domain declares"
    ),
    "neighbors": MixerEntry(
        "hrm_cli.models.mixers.neighbors:NeighborsStructure", "neighbors",
        "which cells are neighbors, and that all directions are equivalent", 32,
    ),
    "edges": MixerEntry(
        "hrm_cli.models.mixers.edges:EdgesStructure", "edges",
        "which cells are neighbors, and that all directions are equivalent", 32,
    ),
    "grid": MixerEntry(
        "hrm_cli.models.mixers.grid:GridStructure", "grid",
        "which cells are neighbors, and which form a row or a column", 32,
        serves_every_size=False, is_equivariant=False,
    ),
}  # fmt: skip


def mixer_entry(name: str) -> MixerEntry:
    """The entry of a mixer, built in or of a plugin, whose code is not imported. Raises ConfigError."""
    if name in MIXERS:
        return MIXERS[name]
    from hrm_cli.plugins import find_plugin, unknown  # needed only for names that are not built in

    plugin = find_plugin("mixer", name, list(MIXERS))
    if plugin is None:
        raise unknown("mixer", name, list(MIXERS), "arch.mixer: ")
    return MixerEntry(
        plugin.entry.value, name, f"what the mixer of package {plugin.origin} knows", is_equivariant=False
    )


def check_mixer(name: str) -> None:
    """Raises ConfigError when `arch.mixer` is neither a built-in mixer nor one of a plugin that can be used."""
    if name not in MIXERS:
        load_mixer(name)


def load_mixer(name: str) -> Any:
    """The structure class of a mixer. Raises ConfigError."""
    if name not in MIXERS:
        from hrm_cli.plugins import load_plugin

        return load_plugin("mixer", name, list(MIXERS), "arch.mixer: ")
    module, _, attribute = str(MIXERS[name].structure).partition(":")
    return getattr(importlib.import_module(module), attribute)


def is_structured(mixer: str | None) -> bool:
    """Whether a mixer is built on the structure of the domain."""
    return mixer is not None and mixer_entry(mixer).structure is not None


def serves_every_size(mixer: str | None) -> bool:
    """Whether a mixer's weights work for puzzles of every size of their domain."""
    return is_structured(mixer) and mixer_entry(str(mixer)).serves_every_size


MIXERS_FOR_EVERY_SIZE = "units, neighbors or edges"
"""The built-in mixers for which this is true, as text."""
