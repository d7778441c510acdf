"""Size adapters: low-rank changes of a model's weights for puzzles of other sizes than a base size
(`arch.size_adapter_rank`).

With the `units` mixer one set of weights works for every size, but what training on larger puzzles improves there, it
costs on the hardest puzzles of the size learned first. With adapters, a weight matrix of a block becomes

    weight + share · up @ down,    share = 1 − min(base, symbols) ÷ max(base, symbols),

so puzzles of `arch.size_adapter_base` symbols are answered by the weights as they are, to the last bit. Training
with `train.freeze=base` changes only the adapters. The form of the change is that of LoRA (arXiv 2106.09685).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hrm_cli.models.layers import Linear, truncated_normal_

if TYPE_CHECKING:
    from hrm_cli.models.recurrent import RecurrentCore


class SizeAdapter(nn.Module):
    """The low-rank change of one weight."""

    share: float = 0.0
    """Set by `take_size` for the size at hand."""

    def __init__(self, out_features: int, in_features: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, in_features))
        self.up = nn.Parameter(torch.empty(out_features, rank))

    def initialize(self, generator: torch.Generator | None) -> None:
        """Starts without a change: `down` at random with std 1/√in, `up` at zero."""
        truncated_normal_(self.down.data, self.down.shape[1] ** -0.5, generator)
        nn.init.zeros_(self.up)

    def applied_to(self, weight: Tensor) -> Tensor:
        """The changed weight `[out, in]`; at share 0 `weight`, to the last bit."""
        if not self.share and not torch.is_grad_enabled():
            return weight
        return weight + self.share * (self.up @ self.down)


def add_size_adapters(core: RecurrentCore, rank: int) -> None:
    """Adds an adapter to every weight matrix of the core's blocks."""
    for level in dict.fromkeys(core.modules_by_role()):
        for layer in [module for module in level.modules() if isinstance(module, Linear)]:
            out_features, in_features = layer.weight.shape
            layer.size_adapter = SizeAdapter(out_features, in_features, rank)
    take_size(core)


def initialize_size_adapters(core: nn.Module, generator: torch.Generator | None) -> None:
    """Initializes every adapter of a new model."""
    for adapter in size_adapters(core).values():
        adapter.initialize(generator)


def size_adapters(core: nn.Module) -> dict[str, SizeAdapter]:
    """The adapters of a core or a model, by name."""
    return {name: module for name, module in core.named_modules() if isinstance(module, SizeAdapter)}


def take_size(core: RecurrentCore) -> None:
    """Sets the share of every adapter to that of the puzzles whose structure the core has now."""
    share = share_of(core.arch.size_adapter_base, core.structure.relations.num_symbols)  # type: ignore[union-attr]
    for adapter in size_adapters(core).values():
        adapter.share = share


def share_of(base: int, symbols: int) -> float:
    """The share of the change for puzzles of this number of symbols, from 0 to 1."""
    return 1 - min(base, symbols) / max(base, symbols)
