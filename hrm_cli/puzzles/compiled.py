"""Numba kernels of the puzzles."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hrm_cli.numba_cache import keep_on_disk

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as a numba kernel in nopython mode that releases the interpreter lock while it runs."""
    import numba

    return keep_on_disk(numba.njit(nogil=True)(function))
