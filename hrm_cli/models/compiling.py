"""torch.compile for a recurrence: compiles a module's update, all cycles of a step, or nothing.

By default only the module's update is compiled, not the whole step. Most of the time is spent in updates, and their
few graphs (with and without gradient) serve any number of cycles, so compiling takes seconds. `cudagraphs` compiles
all cycles of an ACT step into one graph and replays its launches, for models so small that kernel launches take
longer than the computation.
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
from hrm_cli.models.core import Depth, StepTensors
from hrm_cli.models.losses import act_loss
from hrm_cli.models.recurrent import ModuleWeights, RecurrentCore, RecurrentWeights

_MOST_GRAPHS = 64
"""Maximum graphs per function: micro-batch sizes × with and without gradient × numbers of blocks."""


class Compiled:
    """`function`, compiled. Each kind of call is first tried on copies, including its backward pass.

    If compiling fails, mode `auto` warns and continues with the uncompiled function; other modes raise ConfigError.
    Out-of-memory errors are raised unchanged. With `any_rows`, one graph serves every number of rows (the first axis).
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
        """Compiles the forward and backward graphs that a call with such arguments needs."""
        if self._compiled is None or not torch.is_grad_enabled():
            return
        kind = _kind_of_call(args)
        if kind in self._tried:
            return
        try:
            _run_forward_and_backward(self._compiled, args)
        except Exception as error:  # a compiler may raise any exception
            self._fall_back(error, lambda: _run_forward_and_backward(self._function, args))
        self._tried.add(kind)

    def __call__(self, *args: Any) -> Any:
        """Calls the function, compiled if possible."""
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
            return self._fall_back(error, lambda: self._function(*args))
        self._tried.add(kind)
        return result

    def _fall_back(self, error: Exception, uncompiled: Callable[[], Any]) -> Any:
        """Handles a failure of the compiled function. If the uncompiled function fails too, its error is raised."""
        if (exhausted := out_of_memory(error)) is not None:
            if exhausted is error:
                raise error
            raise exhausted from error
        result = uncompiled()
        reason = _first_lines(error)
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
    # CPU and MPS raise a plain RuntimeError.
    return next(
        (one for one in reversed(chain) if isinstance(one, RuntimeError) and _mentions_memory(one)), None
    )


def _mentions_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return any(words in text for words in ("out of memory", "not enough memory", "can't allocate memory"))


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # The first line may be "backend='inductor' raised:", with the actual error on the next line.
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _allow_graphs() -> None:
    # torch's warning about reading .grad of a non-leaf tensor is harmless here.
    warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
    # torch raises an error beyond its limit, which would end a run with many kinds of calls.
    config = torch._dynamo.config
    for name, least in (("recompile_limit", _MOST_GRAPHS), ("accumulated_recompile_limit", 8 * _MOST_GRAPHS)):
        known = name if hasattr(config, name) else name.replace("recompile", "cache_size")  # torch 2.6
        setattr(config, known, max(getattr(config, known), least))


def _dense(argument: Any) -> Any:
    # An initial state is one vector expanded over all rows. The compiler would build another graph for its strides.
    return argument.contiguous() if isinstance(argument, Tensor) and 0 in argument.stride() else argument


def _kind_of_call(args: tuple[Any, ...]) -> Any:
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *(_kind(argument) for argument in args)


def _kind(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.shape, argument.dtype, argument.requires_grad
    # Weights are the same throughout a run; only the number of blocks differs between calls.
    return len(argument) if isinstance(argument, list | tuple) else argument


def _run_forward_and_backward(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Runs forward and backward on copies that are detached from the caller's autograd graph."""
    leaves, structure = trees.tree_flatten(args)
    copies = [_copied(leaf) for leaf in leaves]
    results = trees.tree_leaves(function(*trees.tree_unflatten(copies, structure)))
    outputs = [out for out in results if isinstance(out, Tensor) and out.requires_grad]
    inputs = [leaf for leaf in copies if isinstance(leaf, Tensor) and leaf.requires_grad]
    if outputs and inputs:
        torch.autograd.grad(outputs, inputs, [torch.ones_like(out) for out in outputs], allow_unused=True)


def _copied(leaf: Any) -> Any:
    """A copy of the same kind: the compiler distinguishes parameters, other leaves and non-leaf tensors."""
    if not isinstance(leaf, Tensor) or not leaf.requires_grad:
        return leaf
    if isinstance(leaf, nn.Parameter):
        return nn.Parameter(leaf.detach())
    copy = leaf.detach().requires_grad_()
    return copy if leaf.is_leaf else copy.clone()


_MANY_PUZZLES = 20_000
_INDUCTOR_MODES = {"max-autotune": "max-autotune-no-cudagraphs", "cudagraphs": "reduce-overhead"}


def compile_updates(model: ACTModel, mode: str, *, backend: str = "inductor") -> None:
    """Sets up compilation of a recurrent core for training. `auto` compiles only on CUDA; `off` removes compilation.

    On CUDA the loss and the evaluation are compiled as well. If compiling fails (no C++ compiler, no Triton), `auto`
    warns and continues uncompiled; other modes raise ConfigError at the first step.
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
        # On a CPU nothing is fused across blocks. Compiling one block for all takes a fraction of the time.
        core.compiled_update = _BlockByBlock(compiled(core.block_update))
    else:
        core.compiled_update = compiled(core.module_update)
    if not on_cpu:
        model.compiled_loss = compiled(act_loss)
        core.compiled_inference = Compiled(core.module_update, mode, backend=backend, any_rows=True)


def compile_inference(model: ACTModel, mode: str, puzzles: int, *, backend: str = "inductor") -> None:
    """Sets up compilation for inference on `puzzles` puzzles. `auto` compiles on CUDA for 20,000 puzzles or more.

    One graph serves any number of rows; compiling takes tens of seconds.
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
    """Marks the start of an optimizer step: CUDA graphs may then overwrite the outputs of the previous step."""
    if getattr(model.inner, "compiled_step", None) is not None and model.device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()


def compilation_of(model: ACTModel) -> str:
    """What is compiled in training, as short text."""
    core = model.inner
    if not isinstance(core, RecurrentCore):
        return "none"
    if core.compiled_step is not None:
        return "all cycles of a step, with CUDA graphs"
    if core.compiled_update is not None:
        return "single blocks" if isinstance(core.compiled_update, _BlockByBlock) else "module updates"
    return "none"


class _BlockByBlock:
    """A module's update that calls one compiled block for each of its blocks."""

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
    """An ACT step as one graph. The new states are copied, because a graph overwrites its output on its next run."""

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
        *more: Tensor,
    ) -> StepTensors:
        found: StepTensors = self.step(z_H, z_L, inputs, puzzle_rows, weights, depth, *more)
        z_M = None if found.z_M is None else found.z_M.clone()
        return found._replace(z_H=found.z_H.detach().clone(), z_L=found.z_L.detach().clone(), z_M=z_M)
