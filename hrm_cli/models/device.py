"""Resolves the device and the dtype of a model, and copies tensors to devices."""

from __future__ import annotations

import torch
from torch import Tensor

from hrm_cli.errors import ConfigError, meant_device
from hrm_cli.models.cpu.kernels.availability import cpu_multiplies_bfloat16


def resolve_device(name: str) -> torch.device:
    """`auto` → CUDA, else MPS, else CPU; other names as in torch. Raises ConfigError if the device is unavailable.

    A CUDA device given with its index becomes the current device, so that libraries allocate there and do not open a
    context on device 0.
    """
    device = find_device(name)
    if name == "auto" and device.type == "cuda" and not torch.cuda.is_available():
        device = _without_cuda()  # there is a device, but its driver does not work with this torch
    try:
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise _unusable(name, str(error).splitlines()[0]) from None
    return device


def find_device(name: str) -> torch.device:
    """Like `resolve_device`, but only from the list of devices, without initializing one: for launcher processes."""
    if name == "auto":
        return torch.device("cuda") if torch.cuda.device_count() else _without_cuda()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _unusable(name, str(error).splitlines()[0]) from None
    if device.type == "meta":
        raise ConfigError("device 'meta' has no data; use auto, cpu, cuda or mps")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise _unusable(name, "no CUDA device was found, or this build of torch has no CUDA support")
        if (device.index or 0) >= count:
            raise _unusable(name, f"there {'is' if count == 1 else 'are'} {count}, numbered from 0")
    return device


def _without_cuda() -> torch.device:
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _unusable(name: str, reason: str) -> ConfigError:
    if meant := meant_device(name):
        return ConfigError(f"device {name!r}: did you mean {meant}? There are auto, cpu, cuda and mps")
    return ConfigError(f"device {name!r} cannot be used ({reason}); use auto, cpu, cuda or mps")


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` → bfloat16 on CUDA and CPUs with native bfloat16 support, else float32; other names as in torch."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32


def widest_float(device: torch.device) -> torch.dtype:
    """float64, or float32 on MPS, which does not support float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def pinned_for(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor prepared for copying to `device`: in pinned memory if that is a CUDA device."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor to `device`; float64 is converted to float32 if the device does not support it.

    Only copies from pinned memory to CUDA run asynchronously. Other devices, such as MPS, may read the host's memory
    after the host tensor has been freed.
    """
    if tensor.dtype == torch.float64:
        tensor = tensor.to(widest_float(device))
    overlaps = device.type == "cuda" and tensor.device.type == "cpu" and tensor.is_pinned()
    return tensor.to(device, non_blocking=overlaps)
