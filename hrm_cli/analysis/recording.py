"""Records what happens inside one ACT step of a recurrent core: every update's residual, and attention weights.

Letters in shapes: B puzzles, T positions, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hrm_cli.config.levels import blocks_in_step, level_names, update_order
from hrm_cli.models.act import ACTModel
from hrm_cli.models.layers import attention_weights
from hrm_cli.models.recurrent import ModuleWeights, RecurrentCore

OnUpdate = Callable[[str, Tensor, Tensor], None]
"""Called with the module (L, M1, …, H), and its state before and after an update, `[B, T, H]` each."""
OnAttention = Callable[[str, int, Tensor], None]
"""Called with the module, the number of the block, and attention weights `[b, N, S, S]` of its first b puzzles."""


_MOST_WEIGHTS = 1 << 23
"""Maximum number of attention weights computed at a time. For large grids, only the first puzzles of a batch count."""


class UpdateRecorder:
    """Replaces a core's update. Computes the same result and reports it."""

    def __init__(self, core: RecurrentCore) -> None:
        self.core = core
        self.on_update: OnUpdate | None = None
        self.on_attention: OnAttention | None = None
        self._count = 0
        arch = core.arch
        order = update_order((arch.L_cycles, *arch.middle_cycles, arch.H_cycles))
        self._roles = [level_names(arch)[level] for level in order]

    def begin_step(self) -> None:
        """An ACT step begins: its first update is one of z_L."""
        self._count = 0

    def __call__(self, z: Tensor, injection: Tensor, blocks: ModuleWeights) -> Tensor:
        """z ← z + injection, then the blocks in order, as `RecurrentCore.module_update`."""
        # Some cores use one module for both roles, so the role follows from the order of the updates.
        module = self._roles[self._count % len(self._roles)]
        self._count += 1
        x = z + injection
        for number, weights in enumerate(blocks):
            if self.on_attention is not None:
                found = self._attention(x, weights)
                if found is not None:
                    self.on_attention(module, number, found)
            x = self.core.block_update(x, weights)
        if self.on_update is not None:
            self.on_update(module, z, x)
        return x

    def prepare(self, z: Tensor, injection: Tensor, blocks: ModuleWeights) -> None:
        """Does nothing, because nothing is compiled."""

    def _attention(self, x: Tensor, weights: Any) -> Tensor | None:
        core = self.core
        x = x[: max(1, _MOST_WEIGHTS // (core.arch.num_heads * core.seq_len**2))]
        if weights.attention is not None:
            return attention_weights(x, weights.attention, core.arch.num_heads, core._rotary)
        if core.structure is not None and core.structure.name == "units":
            from hrm_cli.models.mixers.units import attention_between_cells

            return attention_between_cells(x, weights.structured, core._tables)
        return None


@contextmanager
def recording(model: ACTModel) -> Iterator[UpdateRecorder | None]:
    """Within this context, the model's updates are recorded. None for a core without such updates, such as nova.

    The model computes in float32: bfloat16 would hide how close a state is to a fixed point.
    """
    core = model.inner
    if not isinstance(core, RecurrentCore):
        yield None
        return
    before = core.compiled_inference, core.dtype
    recorder = UpdateRecorder(core)
    core.compiled_inference, core.dtype = recorder, torch.float32
    try:
        yield recorder
    finally:
        core.compiled_inference, core.dtype = before


def blocks_per_step(model: ACTModel) -> int | None:
    """Number of blocks that one ACT step applies, one after another; None for other cores."""
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return None
    H_level, L_level = core.modules_by_role()
    arch = core.arch
    if arch.middle_cycles:
        return blocks_in_step(arch)
    return arch.H_cycles * (arch.L_cycles * len(L_level.layers) + len(H_level.layers))
