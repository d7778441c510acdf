"""A stand-in for Apple's MPS on a machine without it: its tensors say that they are on `mps`, numbers lie on the CPU.

What the real one refuses is refused here, with its words: float64, and operations on tensors of two devices. What
corrupts numbers there is refused too: copies from the host that do not wait (`non_blocking`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device("mps:0")
_THERE = ("mps", "meta")
_COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class StandInTensor(Tensor):
    """Numbers on the CPU that claim to be elsewhere."""

    numbers: Tensor
    __slots__ = ["numbers"]

    @staticmethod
    def __new__(cls, numbers: Tensor) -> StandInTensor:
        if numbers.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        made: StandInTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype, device="meta",
        )  # fmt: skip
        made.numbers = numbers
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """What Python code is told. Torch's own code is told `meta`: it knows MPS only where it is built for it."""
        return MPS

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        """Torch's modules copy nothing into a tensor without numbers."""
        return False

    def __repr__(self, **_: Any) -> str:
        return f"StandInTensor({self.numbers!r})"

    def tolist(self) -> Any:
        return self.numbers.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operation by the rules of the stand-in."""
    wanted = kwargs.get("device")
    flat = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    here = [value for value in flat if isinstance(value, StandInTensor)]
    host = [value for value in flat if not isinstance(value, StandInTensor)]
    if func in _COPIES:
        waits_not = kwargs.get("non_blocking") or (func is torch.ops.aten.copy_.default and True in args[2:])
        if waits_not:
            raise RuntimeError("a copy between the host and MPS that does not wait")
    elif here and any(tensor.dim() for tensor in host) and not indexes(func):
        raise RuntimeError(f"{func}: Expected all tensors to be on the same device, but found mps:0 and cpu")
    goes_there = bool(here) if wanted is None else torch.device(wanted).type in _THERE
    if wanted is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    # Tensors of inference mode cannot be wrapped.
    with torch.inference_mode(False):
        return _computed(func, args, kwargs, goes_there)


def _computed(func: Any, args: Any, kwargs: dict[str, Any], goes_there: bool) -> Any:
    here = any(isinstance(value, StandInTensor) for value in tree_flatten((args, kwargs))[0])
    plain = tree_map(lambda v: v.numbers if isinstance(v, StandInTensor) else v, (args, kwargs))
    out = func(*plain[0], **plain[1])
    if func is torch.ops.aten._to_copy.default and not goes_there and out is plain[0][0]:
        out = out.clone()
    if not goes_there or (func is torch.ops.aten.copy_.default and not isinstance(args[0], StandInTensor)):
        return args[0] if func is torch.ops.aten.copy_.default else out
    wrapped = tree_map(lambda v: StandInTensor(v) if isinstance(v, Tensor) else v, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if here else wrapped


def indexes(func: Any) -> bool:
    return func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


class MpsStandIn(TorchDispatchMode):
    """While entered, `device="mps"` makes tensors of the stand-in; counts the operations run there."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        concerned = device is not None and torch.device(device).type in _THERE
        if concerned or any(isinstance(v, StandInTensor) for v in tree_flatten((args, kwargs))[0]):
            self.operations[func.overloadpacket.__name__] += 1
            return compute(func, args, kwargs)
        return func(*args, **kwargs)
