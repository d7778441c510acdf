"""The implementations a model uses on this machine. They are chosen once, when it is built, and printed in one line."""

from __future__ import annotations

import torch

from hrm_cli.config.mixers import is_structured
from hrm_cli.models.act import ACTModel
from hrm_cli.models.layers import choose_attention
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.registry import choose_kernels, inference_matmuls


def choices(model: ACTModel) -> dict[str, str]:
    """Device, dtype, attention, blocks and compilation of a model, as text."""
    core, device = model.inner, model.device
    found = {
        "device": device_name(device),
        "dtype": str(model.core.dtype).removeprefix("torch."),
        "attention": attention_of(model),
    }
    if isinstance(core, RecurrentCore):
        from hrm_cli.models.compiling import compilation_of  # needs the losses of training

        found["blocks"] = choose_kernels(core, device)
        if device.type == "cpu" and compilation_of(model) != "none":
            found["blocks"] = "portable in compiled training; otherwise " + found["blocks"]
        if (
            found["blocks"].startswith("fused")
            and not is_structured(model.arch.mixer)
            and not model.arch.mlp_t
        ):
            found["attention"] = "fused"
        if model.arch.qk_norm:
            found["attention"] += " with QK norm"
        matmuls, reason = inference_matmuls(core, device)
        if reason is not None:
            found["matmuls at inference"] = f"{matmuls} (not int8: {reason})"
        elif matmuls == "int8":
            found["matmuls at inference"] = matmuls
        found["compiled"] = compilation_of(model)
    return found


def attention_of(model: ACTModel) -> str:
    """The attention implementation of a model's blocks, as text."""
    if model.arch.mixer == "units":
        return "along relations (units)"
    if is_structured(model.arch.mixer):
        return f"none ({model.arch.mixer})"
    if model.arch.mlp_t:
        return "none (token mixing)"
    return choose_attention(model.device, model.core.dtype, model.arch.head_dim)


def choices_line(model: ACTModel, **more: str) -> str:
    """`choices` and any additional choices, as one line."""
    return "; ".join(f"{name} {value}" for name, value in {**choices(model), **more}.items())


def device_name(device: torch.device) -> str:
    """The device, with the accelerator's name."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
