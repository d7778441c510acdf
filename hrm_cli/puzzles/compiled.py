"""The numba decorator of the puzzle kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hrm_cli.numba_cache import keep_on_disk

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function` with numba in nopython mode. The kernel releases the GIL while it runs."""
    import numba

    return keep_on_disk(numba.njit(nogil=True)(function))
