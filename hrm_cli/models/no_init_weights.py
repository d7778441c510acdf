"""Creates torch's own layers without initializing their weights; the caller initializes or loads them.

This is a separate module because it imports torch, and the registry of cores must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class NoInitWeights(TorchFunctionMode):
    """Within this context, torch's own layers leave their weights undefined.

    On the meta device, initializing a weight would import torch's compiler, which takes seconds. On other devices the
    weights are overwritten anyway, and initializing them would advance the global generator.
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
