"""The TRM core: one module updates both states, with gradient through the whole last cycle (arXiv 2510.04871)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.blocks import ReasoningModule
from hrm_cli.models.core import Depth
from hrm_cli.models.recurrent import RecurrentCore, RecurrentWeights

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure


class TRM(RecurrentCore):
    """One shared module of L_layers blocks, stored as `L_level`; H_layers is ignored, Q-continue is not trained.

    With `arch.mlp_t` a token-mixing MLP over the positions replaces attention.
    """

    def __init__(
        self,
        arch: ArchConfig,
        vocab_size: int,
        seq_len: int,
        num_puzzle_identifiers: int,
        structure: Structure | None = None,
    ) -> None:
        super().__init__(arch, vocab_size, seq_len, num_puzzle_identifiers, structure)
        self.L_level = ReasoningModule(arch, arch.L_layers, self.positions, structure)

    @property
    def trains_q_continue(self) -> bool:
        """Always False: a puzzle halts when its halt logit is positive."""
        return False

    def modules_by_role(self) -> tuple[ReasoningModule, ReasoningModule]:
        """The one module, twice."""
        return self.L_level, self.L_level

    def recur(
        self, z_H: Tensor, z_L: Tensor, embedding: Tensor, weights: RecurrentWeights, depth: Depth
    ) -> tuple[Tensor, Tensor]:
        """H_cycles × (L_cycles updates of z_L, one of z_H); all but the last cycle run without gradient."""
        return self.recur_training_last_cycle(z_H, z_L, embedding, weights, depth)
