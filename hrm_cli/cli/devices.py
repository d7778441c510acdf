"""The device that a command computes on, and what only a command may change for it: its process's malloc."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_of_command(name: str, given: torch.device | None = None) -> torch.device:
    """`given`, or the device of that name. On a CPU, malloc trimming is disabled from now on.

    Only commands do this: a Python program that builds models decides about its own malloc.
    """
    from hrm_cli.models.cpu.allocation import keep_freed_memory
    from hrm_cli.models.device import resolve_device

    device = resolve_device(name) if given is None else given
    if device.type == "cpu":
        keep_freed_memory()
    return device
