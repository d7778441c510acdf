"""torch's own layers without their initial weights: the caller initializes the weights or loads them.

A module of its own because it needs torch when it is imported, and the names of the cores do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class NoInitWeights(TorchFunctionMode):
    """Inside, torch's own layers leave their weights undefined.

    On the meta device, initializing a weight would import torch's compiler, which takes seconds. Elsewhere the weights
    are overwritten anyway, and initializing them would advance the global generator.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls `func`, unless it initializes a tensor."""
        given = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)
