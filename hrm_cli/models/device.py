"""Which device a model runs on, and in which number format."""

from __future__ import annotations

import torch

from hrm_cli.errors import ConfigError
from hrm_cli.kernels.availability import cpu_multiplies_bfloat16


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


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` → bfloat16 on CUDA and on CPUs with instructions for it, else float32; other names as torch has them."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
