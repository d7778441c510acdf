"""Which device a model runs on."""

from __future__ import annotations

import torch

from hrm_cli.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` → CUDA, else MPS, else CPU; any other name as torch knows it. Raises ConfigError where it is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); take auto, cpu, cuda or mps") from None
    if device.type == "meta":
        raise ConfigError("device 'meta' holds no numbers; take auto, cpu, cuda or mps")
    return device
