"""The HRM core: a slow H-module and a fast L-module in a recurrence (arXiv 2506.21734; hrm-spec "Recursion")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.blocks import ReasoningModule
from hrm_cli.models.core import Depth
from hrm_cli.models.recurrent import RecurrentCore, RecurrentWeights

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure


class HRM(RecurrentCore):
    """Two reasoning modules. Only the last update of each receives gradient (the one-step approximation)."""

    def __init__(
        self,
        arch: ArchConfig,
        vocab_size: int,
        seq_len: int,
        num_puzzle_identifiers: int,
        structure: Structure | None = None,
    ) -> None:
        super().__init__(arch, vocab_size, seq_len, num_puzzle_identifiers, structure)
        self.H_level = ReasoningModule(arch, arch.H_layers, self.positions, structure)
        self.L_level = ReasoningModule(arch, arch.L_layers, self.positions, structure, attends=False)

    def modules_by_role(self) -> tuple[ReasoningModule, ReasoningModule]:
        """H_level and L_level."""
        return self.H_level, self.L_level

    def recur(
        self, z_H: Tensor, z_L: Tensor, embedding: Tensor, weights: RecurrentWeights, depth: Depth
    ) -> tuple[Tensor, Tensor]:
        """H_cycles × (L_cycles × L, then H). All updates except the last L and the last H run without gradient."""
        with torch.no_grad():
            for h in range(depth.H_cycles):
                last_cycle = h == depth.H_cycles - 1
                injection = z_H + embedding
                for _ in range(depth.L_cycles - last_cycle):
                    z_L = self.update(z_L, injection, weights.L_level)
                if not last_cycle:
                    z_H = self.update(z_H, z_L, weights.H_level)
        z_L = self.update(z_L, z_H + embedding, weights.L_level)
        z_H = self.last_update(z_H, z_L, weights.H_level, depth)
        return z_H, z_L
