"""torch.compile for a recurrence: the update of a module, all cycles of a step, or nothing.

By default only the update is compiled, not the step around it: most of the time is spent there, and it has few
graphs for any number of cycles (with gradient and without), so it compiles in seconds. `cudagraphs` takes all cycles
of an ACT step as
one graph and replays its launches, for models so small that launching takes longer than computing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as trees

from hrm_cli.errors import ConfigError
from hrm_cli.models.act import ACTModel
from hrm_cli.models.core import Depth
from hrm_cli.models.losses import act_loss
from hrm_cli.models.recurrent import ModuleWeights, RecurrentCore, RecurrentWeights, StepTensors

_MOST_GRAPHS = 64
"""Graphs that torch may keep of a function: sizes of micro-batches × with and without gradient × numbers of blocks."""


class Compiled:
    """`function`, compiled. Each kind of call is tried out before it counts, its backward included.

    Where that fails, mode `auto` warns and continues with the uncompiled function; other modes raise ConfigError.
    Out of
    memory is raised as such. `any_rows` makes one graph serve every number of rows (the first axis).
    """

    def __init__(
        self,
        function: Callable[..., Any],
        mode: str,
        *,
        backend: str = "inductor",
        inductor_mode: str | None = None,
        any_rows: bool = False,
        setting: str = "train.compile",
    ) -> None:
        _allow_graphs()
        self._setting = setting
        self._function, self._mode, self._any_rows = function, mode, any_rows
        self._compiled: Callable[..., Any] | None = torch.compile(
            function,
            fullgraph=True,
            dynamic=None if any_rows else False,
            backend=backend,
            mode=inductor_mode if backend == "inductor" else None,
        )
        self._tried: set[Any] = set()

    def prepare(self, *args: Any) -> None:
        """Compiles what a call with such arguments needs, for backward as well."""
        if self._compiled is None or not torch.is_grad_enabled():
            return
        kind = _kind_of_call(args)
        if kind in self._tried:
            return
        try:
            _run_both_ways(self._compiled, args)
        except Exception as error:  # a compiler raises whatever it likes
            self._give_up(error, lambda: _run_both_ways(self._function, args))
        self._tried.add(kind)

    def __call__(self, *args: Any) -> Any:
        """The function's result."""
        args = tuple(_dense(argument) for argument in args)
        self.prepare(*args)
        if self._compiled is None:
            return self._function(*args)
        kind = _kind_of_call(args)
        if kind in self._tried:
            return self._compiled(*args)
        if self._any_rows:
            for argument in args:
                if isinstance(argument, Tensor):
                    torch._dynamo.maybe_mark_dynamic(argument, 0)
        try:
            result = self._compiled(*args)
        except Exception as error:
            return self._give_up(error, lambda: self._function(*args))
        self._tried.add(kind)
        return result

    def _give_up(self, error: Exception, plainly: Callable[[], Any]) -> Any:
        """What the function gives without a compiler, if that works: otherwise its error is the one to report."""
        if (exhausted := out_of_memory(error)) is not None:
            if exhausted is error:
                raise error
            raise exhausted from error
        result = plainly()
        reason = _first_words(error)
        if self._mode != "auto":
            raise ConfigError(
                f"{self._setting}: torch.compile failed ({reason}); use {self._setting}=off"
            ) from error
        warnings.warn(f"torch.compile failed ({reason}); the run continues without it", stacklevel=3)
        self._compiled = None
        return result


def out_of_memory(error: BaseException) -> BaseException | None:
    """The out-of-memory error, if `error` is one or was caused by one."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = getattr(at, "inner_exception", None) or at.__cause__ or at.__context__
    for one in chain:
        if isinstance(one, torch.OutOfMemoryError | MemoryError):
            return one
    # CPU and MPS have no class of their own for it.
    return next(
        (one for one in reversed(chain) if isinstance(one, RuntimeError) and _tells_of_memory(one)), None
    )


def _tells_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return any(words in text for words in ("out of memory", "not enough memory", "can't allocate memory"))


def _first_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # "backend='inductor' raised:", and what it raised in the line below.
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _allow_graphs() -> None:
    # Its warning about reading .grad of a non-leaf tensor does not matter here.
    warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
    # Beyond the limit torch raises: a run of many kinds of calls would end there.
    config = torch._dynamo.config
    for name, least in (("recompile_limit", _MOST_GRAPHS), ("accumulated_recompile_limit", 8 * _MOST_GRAPHS)):
        known = name if hasattr(config, name) else name.replace("recompile", "cache_size")  # torch 2.6
        setattr(config, known, max(getattr(config, known), least))


def _dense(argument: Any) -> Any:
    # An initial state is one vector seen in every row: for a compiler another kind of tensor, and so another graph.
    return argument.contiguous() if isinstance(argument, Tensor) and 0 in argument.stride() else argument


def _kind_of_call(args: tuple[Any, ...]) -> Any:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *(_kind(argument) for argument in args)


def _kind(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.shape, argument.dtype, argument.requires_grad
    # Weights are of one kind throughout a run: how many blocks there are is all that differs.
    return len(argument) if isinstance(argument, list | tuple) else argument


def _run_both_ways(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Forward and backward on copies that no graph of autograd knows."""
    leaves, structure = trees.tree_flatten(args)
    copies = [_copied(leaf) for leaf in leaves]
    results = trees.tree_leaves(function(*trees.tree_unflatten(copies, structure)))
    outputs = [out for out in results if isinstance(out, Tensor) and out.requires_grad]
    inputs = [leaf for leaf in copies if isinstance(leaf, Tensor) and leaf.requires_grad]
    if outputs and inputs:
        torch.autograd.grad(outputs, inputs, [torch.ones_like(out) for out in outputs], allow_unused=True)


def _copied(leaf: Any) -> Any:
    """Of the same kind for a compiler, which tells parameters, other leaves and results apart."""
    if not isinstance(leaf, Tensor) or not leaf.requires_grad:
        return leaf
    if isinstance(leaf, nn.Parameter):
        return nn.Parameter(leaf.detach())
    copy = leaf.detach().requires_grad_()
    return copy if leaf.is_leaf else copy.clone()


_MANY_PUZZLES = 20_000
_INDUCTOR_MODES = {"max-autotune": "max-autotune-no-cudagraphs", "cudagraphs": "reduce-overhead"}


def compile_updates(model: ACTModel, mode: str, *, backend: str = "inductor") -> None:
    """Has a recurrent core compiled in training. `auto` compiles on CUDA; `off` undoes it.

    On CUDA the loss and the evaluation are compiled as well. Where compiling fails (no C++ compiler, no Triton),
    `auto` warns and continues without; the others raise ConfigError at the first step.
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
    """To be called before each optimizer step: what CUDA graphs have computed in the last one may be overwritten."""
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
