"""The device that a command computes on, and what only a command may change for it: its process's malloc."""

from __future__ import annotations

import torch

from hrm_cli.models.cpu.allocation import keep_freed_memory
from hrm_cli.models.device import resolve_device


def device_of_command(name: str, given: torch.device | None = None) -> torch.device:
    """`given`, or the device of that name. On a CPU, the C library keeps what is freed from now on.

    Whoever builds models from Python has a process of their own, whose malloc is none of our business.
    """
    device = resolve_device(name) if given is None else given
    if device.type == "cpu":
        keep_freed_memory()
    return device
