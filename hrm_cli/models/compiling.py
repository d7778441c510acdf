"""torch.compile for a recurrence: the update of a module, all cycles of a step, or nothing.

By default the update alone is compiled, not the step around it: it is where the time goes, it has few graphs whatever
the cycles (with gradient and without), and so it is ready in seconds. `cudagraphs` takes all cycles of an ACT step as
one graph and replays its launches, for models so small that launching takes longer than computing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hrm_cli.models.act import ACTModel
from hrm_cli.models.compiled import Compiled
from hrm_cli.models.core import Depth
from hrm_cli.models.losses import act_loss
from hrm_cli.models.recurrent import ModuleWeights, RecurrentCore, RecurrentWeights, StepTensors

COMPILE_MODES = ("auto", "on", "max-autotune", "cudagraphs", "off")
_MANY_PUZZLES = 20_000
_INDUCTOR_MODES = {"max-autotune": "max-autotune-no-cudagraphs", "cudagraphs": "reduce-overhead"}


def compile_updates(model: ACTModel, mode: str, *, backend: str = "inductor") -> None:
    """Has a recurrent core compiled in training. `auto` compiles on CUDA; `off` goes back.

    On CUDA the loss and the evaluation are compiled as well. Where compiling fails (no C++ compiler, no Triton),
    `auto` goes on without and warns; the others raise ConfigError at the first step.
    """
    core = model.inner
    model.compiled_loss = None
    if not isinstance(core, RecurrentCore):
        return
    core.compiled_update = core.compiled_inference = core.compiled_step = None
    on_cpu = model.device.type == "cpu"
    if mode == "off" or (mode == "auto" and model.device.type != "cuda"):
        return

    def compiled(function: Callable[..., Any], **more: Any) -> Compiled:
        return Compiled(function, mode, backend=backend, inductor_mode=_INDUCTOR_MODES.get(mode), **more)

    if mode == "cudagraphs":
        core.compiled_step = _WholeStep(compiled(core.step))
    elif on_cpu:
        # There nothing is fused across blocks: one of them is compiled, in a fraction of the time, and used for all.
        core.compiled_update = _BlockByBlock(compiled(core.block_update))
    else:
        core.compiled_update = compiled(core.module_update)
    if not on_cpu:
        model.compiled_loss = compiled(act_loss)
        core.compiled_inference = Compiled(core.module_update, mode, backend=backend, any_rows=True)


def compile_inference(model: ACTModel, mode: str, puzzles: int, *, backend: str = "inductor") -> None:
    """Has a recurrent core's updates compiled for `puzzles` puzzles. `auto` does so on CUDA where they are many.

    One graph serves all numbers of rows; compiling takes tens of seconds.
    """
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return
    pays = model.device.type == "cuda" and puzzles >= _MANY_PUZZLES
    core.compiled_inference = None
    if mode == "on" or (mode == "auto" and pays):
        core.compiled_inference = Compiled(
            core.module_update, mode, backend=backend, any_rows=True, setting="eval.compile"
        )


def begin_step(model: ACTModel) -> None:
    """To be called before each optimiser step: what CUDA graphs have computed in the last one may be overwritten."""
    if getattr(model.inner, "compiled_step", None) is not None and model.device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()


def compilation_of(model: ACTModel) -> str:
    """What is compiled in training, in a few words."""
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return "none"
    if core.compiled_step is not None:
        return "all cycles of a step, with CUDA graphs"
    if core.compiled_update is not None:
        return "single blocks" if isinstance(core.compiled_update, _BlockByBlock) else "module updates"
    return "none"


class _BlockByBlock:
    """A module's update by a compiled block."""

    def __init__(self, block_update: Compiled) -> None:
        self.block_update = block_update

    def prepare(self, z: Tensor, injection: Tensor, blocks: ModuleWeights, /) -> None:
        z = z + injection
        for weights in blocks[:1]:
            self.block_update.prepare(z, weights)

    def __call__(self, z: Tensor, injection: Tensor, blocks: ModuleWeights, /) -> Tensor:
        z = z + injection
        for weights in blocks:
            z = self.block_update(z, weights)
        return z


class _WholeStep:
    """An ACT step by one graph. Its states are copied: a graph overwrites its own output when it runs again."""

    def __init__(self, step: Compiled) -> None:
        self.step = step

    def __call__(
        self,
        z_H: Tensor,
        z_L: Tensor,
        inputs: Tensor,
        puzzle_rows: Tensor | None,
        weights: RecurrentWeights,
        depth: Depth,
    ) -> StepTensors:
        found: StepTensors = self.step(z_H, z_L, inputs, puzzle_rows, weights, depth)
        return found._replace(z_H=found.z_H.detach().clone(), z_L=found.z_L.detach().clone())
