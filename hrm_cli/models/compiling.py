"""torch.compile for the update of a recurrence: one graph of few kernels, run many times in a step.

Only the update is compiled, not the step around it: it is where the time goes, it has two graphs (with gradient and
without) whatever the cycles, and so it is ready in seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.recurrent import ModuleWeights, RecurrentCore

COMPILE_MODES = ("auto", "on", "max-autotune", "off")


def compile_updates(model: ACTModel, mode: str) -> None:
    """Has a recurrent core's updates compiled in training. `auto` compiles on CUDA; `off` goes back.

    Where compiling fails (no C++ compiler, no Triton), `auto` goes on without and warns; the others raise
    ConfigError at the first step.
    """
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return
    wanted = mode in ("on", "max-autotune") or (mode == "auto" and model.device.type == "cuda")
    if not wanted:
        core.compiled_update = None
    elif model.device.type == "cpu":
        # There nothing is fused across blocks: one of them is compiled, in a fraction of the time, and used for all.
        core.compiled_update = _BlockByBlock(_Compiled(core.block_update, mode))
    else:
        core.compiled_update = _Compiled(core.module_update, mode)


class _BlockByBlock:
    """A module's update by a compiled block."""

    def __init__(self, block_update: _Compiled) -> None:
        self.block_update = block_update

    def __call__(self, z: Tensor, injection: Tensor, blocks: ModuleWeights) -> Tensor:
        z = z + injection
        for weights in blocks:
            z = self.block_update(z, weights)
        return z


class _Compiled:
    """A compiled function that says what to do where it cannot be compiled."""

    def __init__(self, function: Callable[..., Tensor], mode: str) -> None:
        self._function, self._mode = function, mode
        # The shapes of a run are few and fixed; CUDA graphs would copy the states between their calls.
        options = "max-autotune-no-cudagraphs" if mode == "max-autotune" else None
        self._compiled: Callable[..., Tensor] | None = torch.compile(
            function, fullgraph=True, dynamic=False, mode=options
        )
        self._has_run = False

    def __call__(self, *args: Any) -> Tensor:
        if self._compiled is None:
            return self._function(*args)
        try:
            result = self._compiled(*args)
        except Exception as error:
            if self._has_run:
                raise
            reason = str(error).strip().splitlines()[0]
            if self._mode != "auto":
                raise ConfigError(
                    f"train.compile: torch.compile failed ({reason}); take train.compile=off"
                ) from error
            warnings.warn(f"torch.compile failed ({reason}); training goes on without it", stacklevel=2)
            self._compiled = None
            return self._function(*args)
        self._has_run = True
        return result
