"""Muon (`train.optimizer: muon`): orthogonalized updates of the weight matrices of blocks.

torch.optim.Muon updates the matrices; AdamATan2 updates embeddings, heads and vectors. Muon's step is scaled to the
root mean square of an Adam step (`match_rms_adamw`), so both use the same learning rate, schedule and weight decay.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError

MOMENTUM = 0.95
"""As published."""
_OF_A_BLOCK = re.compile(r"(^|\.)(\w+_level\.layers|[hl]_layers)\.\d+\..*(weight|adapter\.(up|down))$")


def check_muon(config: TrainConfig) -> None:
    """Raises ConfigError if `config` wants Muon and this torch has none."""
    if config.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"train.optimizer: muon needs torch 2.9 or newer, found {torch.__version__}; install a newer torch, or use "
            "train.optimizer=adam_atan2"
        )


def block_matrices(model: nn.Module) -> list[Tensor]:
    """The weight matrices of a model's blocks, without embeddings, heads, biases and scales."""
    return [p for name, p in model.named_parameters() if p.dim() == 2 and _OF_A_BLOCK.search(name)]


class MuonWithAdamATan2(torch.optim.Optimizer):
    """Muon for matrices, and another optimizer for the other parameters, as one optimizer with a common state."""

    def __init__(self, matrices: list[Tensor], others: torch.optim.Optimizer, config: TrainConfig) -> None:
        check_muon(config)
        if not matrices:
            raise ConfigError(
                "train.optimizer: muon trains the weight matrices of blocks, and this core has none; use "
                "train.optimizer=adam_atan2"
            )
        self.others = others
        self.muon: Any = torch.optim.Muon(  # type: ignore[attr-defined,unused-ignore]
            matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=MOMENTUM,
            adjust_lr_fn="match_rms_adamw",
        )
        # The groups and the state are shared: setting a rate or loading a state here does it for both.
        super().__init__([*self.muon.param_groups, *others.param_groups], {})
        self.muon.state = others.state = self.state
        self._matrices = {id(p) for p in matrices}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        self.muon.step()
        self.others.step()

    def updates_by_muon(self, parameter: Tensor) -> bool:
        """Whether Muon updates this parameter."""
        return id(parameter) in self._matrices

    def describe(self, others: str) -> str:
        """Its name, with that of the other optimizer."""
        return f"Muon for {len(self._matrices)} matrices of blocks, {others} for the rest"
