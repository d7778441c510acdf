"""Registers mixers by name: what exchanges information between the positions of a block (`arch.mixer`).

A new mixer needs one new file in `hrm_cli/models/mixers`, one line here, and its cost in
`hrm_cli.accounting.components`. Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hrm_cli.errors import ConfigError, closest


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


MIXERS: dict[str, MixerEntry] = {
    "attention": MixerEntry(),
    "mlp": MixerEntry(),
    "units": MixerEntry(
        "hrm_cli.models.mixers.units:UnitsStructure", "units", "the relations between cells that the domain declares"
    ),
    "neighbors": MixerEntry(
        "hrm_cli.models.mixers.neighbors:NeighborsStructure", "neighbors",
        "which cells are neighbors, and that all directions are alike", 32,
    ),
}  # fmt: skip


def check_mixer(name: str) -> None:
    """Raises ConfigError when `arch.mixer` names no mixer."""
    if name not in MIXERS:
        raise ConfigError(
            f"arch.mixer: unknown mixer {name!r:.40}{closest(name, list(MIXERS))}; known: {', '.join(MIXERS)}"
        )


def is_structured(mixer: str | None) -> bool:
    """Whether a mixer is built on the structure of the domain, so that its weights serve puzzles of every size."""
    return mixer is not None and MIXERS[mixer].structure is not None
