"""Disables malloc trimming: memory freed by tensors on the CPU is kept for the next ones.

The C library returns large blocks to the system as soon as they are freed, and gets them back page by page, zeroed:
with activations of many megabytes at every step that takes 4 to 5 % of the time (benchmarks/results).
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWS_BY = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Tells the C library to keep up to 2 GB of freed memory; returns whether it accepted (glibc only).

    It affects the whole process: a command may call it, a library may not.
    The user's own settings (MALLOC_… or GLIBC_TUNABLES in the environment) are kept.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWS_BY))
    told = [mallopt(option, value) == 1 for option, value in settings]
    return all(told)
