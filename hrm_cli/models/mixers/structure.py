"""The interface of mixers that are built on the structure of a domain: relations of cells, or a grid of neighbors.

A structure decides what a position of the state means, how tokens are embedded there, and how answers are read from
it. No weight depends on the number of cells, so one set of weights works for puzzles of every size.

Letters in shapes: B batch, S cells, T positions, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.mixers import load_mixer
from hrm_cli.puzzles.domain import Domain


class Structure(Protocol):
    """The structure of one domain, for one mixer."""

    name: ClassVar[str]
    """The mixer's name."""
    buffers: ClassVar[tuple[str, ...]]
    """Names of the tensors of `tables`."""
    positions: int
    """T: number of positions of a state."""
    num_inputs: int
    """Entries of the token embedding."""
    num_outputs: int
    """Rows of the output head."""

    def __init__(self, domain: Domain) -> None:
        """Raises ConfigError for a domain that does not declare what the mixer needs."""

    def tables(self) -> dict[str, Tensor]:
        """Tensors derived from the domain, float32. They move with the model and are not stored."""

    def parameters(self, arch: ArchConfig, *, attends: bool) -> nn.Module:
        """The parameters of a block's mixer, with a method `cast(dtype)`. `attends` is false in HRM's L-module."""

    def embed(self, inputs: Tensor, table: Tensor) -> Tensor:
        """Embeds tokens `[B, S]` with `table` `[num_inputs, H]`, times √H: `[B, T, H]`."""

    def logits(self, z: Tensor, head: Tensor) -> Tensor:
        """Logits `[B, S, V]` of a state `[B, T, H]` with `head` `[num_outputs, H]`."""

    def prepared(self, tables: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
        """The tables in the form that the following methods take."""

    def mix(self, x: Tensor, weights: Any, tables: Any) -> Tensor:
        """What the positions of `x` `[B, T, H]` receive from each other, `[B, T, H]`."""


def structure_of(mixer: str, domain: Domain) -> Structure:
    """The structure of `domain` for the mixer of that name."""
    made: Structure = load_mixer(mixer)(domain)
    return made
