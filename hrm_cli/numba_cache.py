"""Compiled code is kept on disk where a folder for it can be written.

The cache knows only the source file of a function: whoever edits one that functions of other files call must remove
the `__pycache__` folders (an installation writes all files anew, so users never meet this).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def with_cache(compiled: Callable[[bool], R]) -> R:
    """What numba makes of a function, by `compiled(cache)`: kept per machine if possible, else per process."""
    try:
        return compiled(True)
    except (RuntimeError, OSError):
        # A read-only installation without a home folder: numba finds nowhere to put its cache.
        return compiled(False)
