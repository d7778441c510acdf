"""Selects the device of a command, and disables malloc trimming, which only commands may do for their process.

By default the C library returns large blocks to the system as soon as they are freed, and later gets zeroed pages one
by one. With many megabytes of activations per step, this takes 4 to 5 % of the time (benchmarks/results). Without
trimming, memory freed by CPU tensors is reused.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


# Constants from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
_GROWS_BY = 64 << 20


@functools.cache
def keep_freed_memory() -> bool:
    """Makes the C library keep up to 2 GB of freed memory. Returns whether it accepted the settings (glibc only).

    This affects the whole process, so only commands call it, never the library.
    It does nothing if the user has set MALLOC_… or GLIBC_TUNABLES in the environment.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if own or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _GROWS_BY))
    accepted = [mallopt(option, value) == 1 for option, value in settings]
    return all(accepted)


def device_of_command(name: str, given: torch.device | None = None) -> torch.device:
    """`given`, or the device of that name. On a CPU, malloc trimming is disabled from now on.

    Only commands do this. A Python program that uses the package keeps its own malloc settings.
    """
    from hrm_cli.models.device import resolve_device

    device = resolve_device(name) if given is None else given
    if device.type == "cpu":
        keep_freed_memory()
    return device
