"""HRM with gates between its levels (`arch.fusion: gated`) or with levels between L and H (`arch.middle_cycles`).

Levels are ordered from the fastest: L, the middle levels M1, M2, …, H. A level is updated once for so many updates of
the level below it. L receives the state of the level above it and the input, H the state of the level below it, and a
middle level the states of both its neighbors. With two levels this is exactly HRM's order of updates.

Letters in shapes: B batch, S tokens of a puzzle, P puzzle positions in front of them, H hidden size, M middle levels,
n states that a level receives.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.levels import level_layers, level_names, update_order
from hrm_cli.models.blocks import ReasoningModule
from hrm_cli.models.core import Depth, InnerCarry, StepTensors, damped
from hrm_cli.models.hrm import HRM
from hrm_cli.models.layers import truncated_normal_
from hrm_cli.models.recurrent import ModuleWeights, RecurrentWeights

if TYPE_CHECKING:
    from hrm_cli.models.mixers.structure import Structure


class GateWeights(NamedTuple):
    """One level's gates in the forward dtype."""

    own: Tensor
    """`[n, H]`, applied to the level's own state."""
    handed: Tensor
    """`[n, H]`, each row applied to one of the states handed over."""
    bias: Tensor
    """`[n]`"""


class Gates(nn.Module):
    """How much a level takes of each state handed to it: one factor for every position, 2σ(u·z + v·s + b).

    z is the level's own state, s the one handed over. With all weights zero, where training starts and weight decay
    pulls, every factor is exactly 1: the plain sum. A factor may fall to 0 or rise to 2.
    """

    def __init__(self, hidden_size: int, count: int) -> None:
        super().__init__()
        self.own_weight = nn.Parameter(torch.empty(count, hidden_size))
        self.handed_weight = nn.Parameter(torch.empty(count, hidden_size))
        self.bias = nn.Parameter(torch.empty(count))

    def initialize(self) -> None:
        """Sets every factor to 1."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def cast(self, dtype: torch.dtype) -> GateWeights:
        """The weights in `dtype`."""
        return GateWeights(*(one.to(dtype) for one in (self.own_weight, self.handed_weight, self.bias)))


def gated_sum(z: Tensor, handed: Sequence[Tensor], weights: GateWeights) -> Tensor:
    """The sum of the states handed to a level with state `z`, each times its factor; all are `[B, P+S, H]`."""
    dtype = weights.own.dtype
    own = F.linear(z.to(dtype), weights.own, weights.bias)
    parts = []
    for number, state in enumerate(handed):
        which = slice(number, number + 1)
        factor = 2 * torch.sigmoid(
            (own[..., which] + F.linear(state.to(dtype), weights.handed[which])).float()
        )
        parts.append(factor.to(state.dtype) * state)
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class LevelWeights(NamedTuple):
    """The weights that HRM does not have."""

    middle: tuple[ModuleWeights, ...]
    gates: tuple[GateWeights, ...] | None
    """For every level, from the fastest; None for plain sums."""


class LeveledHRM(HRM):
    """HRM with gates or middle levels. H and L keep the names of their tensors; those of others are `M1_level.…`.

    As in HRM, only the last update of every level receives gradient, or with `train.gradient` the whole last cycle of H
    or all cycles.
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
        self.middle_names = level_names(arch)[1:-1]
        for name in self.middle_names:
            module = ReasoningModule(arch, level_layers(arch)[name], self.positions, structure)
            self.add_module(f"{name}_level", module)
            self.register_buffer(f"{name}_init", torch.empty(arch.hidden_size))
        if arch.fusion == "gated":
            for name in level_names(arch):
                count = 2 if name in self.middle_names else 1
                self.add_module(f"{name}_gate", Gates(arch.hidden_size, count))

    @property
    def middle_modules(self) -> list[ReasoningModule]:
        """The modules of the middle levels, from the fastest."""
        return [getattr(self, f"{name}_level") for name in self.middle_names]

    def initialize(self, generator: torch.Generator | None) -> None:
        """Initializes as HRM; then gates, middle levels and their fixed initial states."""
        super().initialize(generator)
        for module in self.modules():
            if isinstance(module, Gates):
                module.initialize()
        for level in self.middle_modules:
            for layer in level.layers:
                layer.finish_initialization()  # type: ignore[operator]
        for name in self.middle_names:
            truncated_normal_(getattr(self, f"{name}_init"), 1.0, generator)

    def cast_weights(self) -> RecurrentWeights:
        """The weights in the forward dtype."""
        gates = None
        if self.arch.fusion == "gated":
            gates = tuple(getattr(self, f"{name}_gate").cast(self.dtype) for name in level_names(self.arch))
        middle = tuple(self._cast_module(module) for module in self.middle_modules)
        return super().cast_weights()._replace(levels=LevelWeights(middle, gates))

    def _middle_init(self) -> Tensor:
        """The initial states of the middle levels, `[1, M, 1, H]`; or `[1, M, P+S, H]`, random."""
        if self.arch.initial_state == "random":
            from hrm_cli.models.initial_states import inference_states

            count = 2 + len(self.middle_names)
            size, device = (self.positions, self.arch.hidden_size), self.H_init.device
            return torch.stack(inference_states(*size, device, count)[2:]).unsqueeze(0).to(self.state_dtype)
        states = [getattr(self, f"{name}_init") for name in self.middle_names]
        return torch.stack(states).view(1, len(states), 1, -1).to(self.state_dtype)

    def initial_carry(self, inputs: Tensor) -> InnerCarry:
        """The fixed initial states, broadcast over the rows of `inputs` and all positions."""
        carry = super().initial_carry(inputs)
        if self.middle_names:
            rows, positions, hidden = carry.z_H.shape
            carry.z_M = self._middle_init().expand(rows, -1, positions, hidden)
        return carry

    def reset(self, carry: InnerCarry, rows: Tensor) -> InnerCarry:
        """`carry` with the initial states in the rows where the mask `[B]` is set."""
        fresh = super().reset(carry, rows)
        if carry.z_M is not None:
            fresh.z_M = torch.where(rows.view(-1, 1, 1, 1), self._middle_init(), carry.z_M)
        return fresh

    def step(
        self,
        z_H: Tensor,
        z_L: Tensor,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights,
        depth: Depth,
        z_M: Tensor | None = None,
    ) -> StepTensors:
        """The arithmetic of one ACT step."""
        embedding = self.embed(inputs, puzzle_rows, weights)
        before = [] if z_M is None else list(z_M.unbind(1))
        new_L, *middle, new_H = self._recur_levels([z_L, *before, z_H], embedding, weights, depth)
        z_H, z_L = damped((new_H, new_L), (z_H, z_L), self.arch.damping)
        if z_M is not None:
            # Without gradient: the carry is detached, and no output reads these states.
            after = torch.stack([state.detach() for state in middle], dim=1)
            z_M = (
                after if self.arch.damping == 1 else torch.lerp(z_M.to(after.dtype), after, self.arch.damping)
            )
        return self.read(z_H, z_L, weights, depth)._replace(z_M=z_M)

    def _recur_levels(
        self, states: list[Tensor], embedding: Tensor, weights: RecurrentWeights, depth: Depth
    ) -> list[Tensor]:
        """All updates of one ACT step on the states `[B, P+S, H]`, from the fastest level to the slowest."""
        more: LevelWeights = weights.levels
        blocks = [weights.L_level, *more.middle, weights.H_level]
        top = len(states) - 1
        order = update_order((depth.L_cycles, *self.arch.middle_cycles, depth.H_cycles))
        # The last update of each level comes in the last round, from L to H.
        trained_from = len(order) - len(states)
        if depth.trains_last_cycle:
            trained_from = len(order) - len(order) // depth.H_cycles
            trained_from -= depth.reaches_back and depth.H_cycles > 1
        if depth.trains_all_cycles:
            trained_from = 0
        injection = embedding
        for number, level in enumerate(order):
            with nullcontext() if number >= trained_from else torch.no_grad():
                handed = [states[near] for near in (level - 1, level + 1) if 0 <= near <= top]
                if more.gates is not None:
                    injection = gated_sum(states[level], handed, more.gates[level])
                elif len(handed) == 2:
                    injection = handed[0] + handed[1]
                elif level > 0:
                    injection = handed[0]
                if level == 0 and (more.gates is not None or number == trained_from or order[number - 1] > 0):
                    # Plain sums stay the same until the level above changes: one addition, and one gradient, for all.
                    injection = (injection if more.gates is not None else handed[0]) + embedding
                if number == len(order) - 1:
                    states[level] = self.last_update(states[level], injection, blocks[level], depth)
                else:
                    states[level] = self.update(states[level], injection, blocks[level])
        return states
