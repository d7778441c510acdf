"""Numba kernels, compiled once per machine where a cache folder can be written, once per process elsewhere.

The cache knows only the source file of a kernel: whoever edits a kernel that another file calls must remove
the `__pycache__` folders (an installation writes all files anew, so users never meet this).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as a numba kernel in nopython mode that releases the interpreter lock while it runs."""
    import numba

    try:
        return numba.njit(cache=True, nogil=True)(function)
    except (RuntimeError, OSError):
        # A read-only installation without a home folder: numba finds nowhere to put its cache.
        return numba.njit(nogil=True)(function)
