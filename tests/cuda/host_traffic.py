"""A dispatch mode that forbids what makes the host wait for an accelerator, or moves bytes between the two.

It works on a real device and on torch's `meta` device. That one stands in for an accelerator on any machine: its
tensors have no numbers that anybody could read.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# The size of what comes out, or the number itself, is known once the device has computed it.
_READ_BY_THE_HOST = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "nonzero_numpy", "masked_select", "unique_dim",
    "_unique", "_unique2", "unique_consecutive", "bincount", "repeat_interleave",
}  # fmt: skip
_MADE_BY_THE_HOST = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy}


class HostTraffic(RuntimeError):  # noqa: N818 - the event's name
    """Bytes between host and device, where none may be."""


class _Dispatched(TorchDispatchMode):
    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type, self.operators, self.sent = device_type, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        here = [t for t in given if t.device.type == self.device_type]
        self.operators += bool(here)
        # A number of repeats is known beforehand; repeats in a tensor have a sum that the device computes.
        known = func is torch.ops.aten.repeat_interleave.self_int
        if here and name in _READ_BY_THE_HOST and not known:
            raise HostTraffic(f"{func}: the host would wait for the device to read its result")
        if name in ("index", "index_put", "index_put_") and here:
            indices = [t for t in pytree.tree_leaves(args[1]) if isinstance(t, Tensor)]
            if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
                raise HostTraffic(
                    f"{func}: a mask as an index: the host would wait for the number of its rows"
                )
            if any(t.device.type != self.device_type for t in indices):
                raise HostTraffic(f"{func}: an index from the host")
        result = func(*args, **kwargs)
        made = [t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)]
        if name in ("_to_copy", "copy_", "_copy_from", "to"):
            # A number from the host travels with its kernel; a tensor from there is a copy.
            kinds = {t.device.type for t in [*given, *made]}
            if kwargs.get("non_blocking") and made[0].device.type == self.device_type and not here:
                self.sent += made[0].nbytes
            elif self.device_type in kinds and len(kinds) > 1:
                raise HostTraffic(f"{func}: a copy between {' and '.join(sorted(kinds))}")
        return result


class _Called(TorchFunctionMode):
    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type = device_type

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _MADE_BY_THE_HOST and result.device.type == self.device_type:
            given = args[0] if args else None
            if not (isinstance(given, Tensor) and given.device.type == self.device_type):
                raise HostTraffic(f"torch.{func.__name__}: numbers of the host, copied to the device")
        return result


class NoHostTraffic:
    """Within it the host reads, sizes and fills no tensor of a kind of device, nor waits for one. Raises HostTraffic.

    Asynchronous copies to the device alone are let through, for they wait for nothing: `sent` counts their bytes.
    `operators` counts those that have worked on the device.
    """

    def __init__(self, device: torch.device | str) -> None:
        self._dispatched = _Dispatched(torch.device(device).type)
        self._called = _Called(torch.device(device).type)

    @property
    def operators(self) -> int:
        return self._dispatched.operators

    @property
    def sent(self) -> int:
        return self._dispatched.sent

    def __enter__(self) -> NoHostTraffic:
        self._called.__enter__()
        self._dispatched.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._dispatched.__exit__(*error)
        self._called.__exit__(*error)
