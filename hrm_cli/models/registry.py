"""Registers cores by name, and builds models from a configuration.

A new core needs one new file and one line here. torch is imported only when a model is built. torch's own weight
initialization is skipped: `build_model` or its caller initializes or loads the weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hrm_cli.config.mixers import check_mixer, is_structured
from hrm_cli.puzzles.domain import domain_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from hrm_cli.config.arch import ArchConfig
    from hrm_cli.models.act import ACTModel

CORES: dict[str, str] = {
    "hrm": "hrm_cli.models.hrm:HRM",
    "nova": "hrm_cli.models.nova:Nova",
    "trm": "hrm_cli.models.trm:TRM",
}


LEVELED = "hrm with levels"
"""The core `hrm` with `arch.fusion` or `arch.middle_cycles`."""


def check_core(name: str) -> None:
    """Raises ConfigError if `arch.core` is not the name of a core, built in or of a plugin."""
    if name not in CORES:
        _plugin(name)


def _plugin(name: str) -> Any:
    from hrm_cli.plugins import load_plugin  # needed only for names that are not built in

    return load_plugin("core", name, list(CORES), "arch.core: ")


def _core_class(name: str) -> Any:
    if name == LEVELED:
        module, attribute = "hrm_cli.models.leveled", "LeveledHRM"
    elif name not in CORES:
        return _plugin(name)
    else:
        module, _, attribute = CORES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def build_model(
    arch: ArchConfig,
    vocab_size: int,
    seq_len: int,
    num_puzzle_identifiers: int,
    *,
    domain: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
    initialize: bool = True,
) -> ACTModel:
    """Builds the model of `arch`, initialized from `generator` on the CPU, so that all devices get the same weights.

    `initialize=False` leaves the weights undefined for a caller that loads them; initializing takes seconds. On the
    meta device no memory is used. `domain` is the puzzles' domain as files state it; without it, a mixer that needs
    to know the domain infers it from vocabulary and length. Raises ConfigError for an unknown core or mixer.
    """
    import torch

    from hrm_cli.models.act import ACTModel
    from hrm_cli.models.device import resolve_dtype
    from hrm_cli.models.layers import NoInitWeights, choose_attention

    core_class = _core_class(LEVELED if arch.has_levels else arch.core)
    check_mixer(str(arch.mixer))
    options = {}
    if is_structured(arch.mixer):
        from hrm_cli.models.mixers.structure import structure_of

        options["structure"] = structure_of(str(arch.mixer), domain_of(domain, vocab_size, seq_len))
    device = torch.device(device)
    with torch.device("meta" if device.type == "meta" else "cpu"), NoInitWeights():
        core = core_class(arch, vocab_size, seq_len, num_puzzle_identifiers, **options)
        if arch.position_tables:
            from hrm_cli.models.position_tables import PositionTables
            from hrm_cli.puzzles.cell_units import cell_units

            core.position_tables = PositionTables(cell_units(domain, vocab_size, seq_len), arch.hidden_size)
        if arch.size_adapter_rank:
            from hrm_cli.models.size_adapters import add_size_adapters, initialize_size_adapters

            add_size_adapters(core, arch.size_adapter_rank)
    if device.type != "meta":
        core.dtype = resolve_dtype(arch.forward_dtype, device)
        choose_attention(device, core.dtype, arch.head_dim)
        choose_kernels(core, device)
        if initialize:
            core.initialize(generator)
            if arch.size_adapter_rank:  # after everything else, which so starts as without adapters
                initialize_size_adapters(core, generator)
    return ACTModel(core).to(device)


def choose_kernels(core: nn.Module, device: torch.device) -> str:
    """Chooses the fused kernels that the blocks of a core use on `device`; returns their names as text."""
    from hrm_cli.models.recurrent import RecurrentCore

    if not isinstance(core, RecurrentCore):
        return "torch's own"
    if device.type != "cpu":
        return "portable"
    if core.state_dtype != core.dtype:
        return f"portable (arch.state_dtype {core.arch.state_dtype})"
    from hrm_cli.models.cpu.kernels.availability import cpu_kernels_choice

    return cpu_kernels_choice(core.dtype)


def inference_matmuls(core: nn.Module, device: torch.device) -> tuple[str, str | None]:
    """The dtype of a core's weight matmuls at inference, and why it is not int8, if int8 is wanted."""
    from hrm_cli.models.cpu.int8 import int8_unavailable, wants_int8

    dtype = str(core.dtype).removeprefix("torch.")
    if device.type != "cpu" or not wants_int8(core.arch.inference_dtype):  # type: ignore[union-attr, arg-type]
        return dtype, None
    if getattr(core, "compiled_inference", None) is not None:
        return dtype, "compiled"
    blocks = choose_kernels(core, device)
    if not blocks.startswith("fused"):
        return dtype, f"blocks {blocks}"
    reason = int8_unavailable(core.dtype)  # type: ignore[arg-type]
    return ("int8", None) if reason is None else (dtype, reason)
