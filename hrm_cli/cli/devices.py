"""Selects the device of a command, and the malloc setting, which only commands may change for their process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_of_command(name: str, given: torch.device | None = None) -> torch.device:
    """`given`, or the device of that name. On a CPU, malloc trimming is disabled from now on.

    Only commands do this. A Python program that uses the package keeps its own malloc settings.
    """
    from hrm_cli.models.cpu.allocation import keep_freed_memory
    from hrm_cli.models.device import resolve_device

    device = resolve_device(name) if given is None else given
    if device.type == "cpu":
        keep_freed_memory()
    return device
