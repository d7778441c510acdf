"""The size and cost of a core or a mixer that a plugin adds, counted and measured on its model on the meta device."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from hrm_cli.accounting.kinds import kind_of, module_of
from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.registry import build_model

Counts = dict[tuple[str, str], tuple[int, int]]
"""Module and kind → trainable numbers, and other stored numbers."""


@lru_cache(maxsize=16)
def _measured(arch: str, vocab_size: int, seq_len: int, identifiers: int) -> tuple[Counts, int]:
    model = build_model(ArchConfig.model_validate_json(arch), vocab_size, seq_len, identifiers, device="meta")
    trained = {name for name, _ in model.named_parameters()}
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for name, tensor in model.state_dict().items():
        counts[module_of(name), kind_of(name)][name not in trained] += tensor.numel()
    core = model.core
    size = model.arch.puzzle_emb_size
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        inputs = torch.zeros(1, seq_len, dtype=torch.int32)
        rows = torch.zeros(1, size) if size else None
        core(core.initial_carry(inputs), inputs, rows, core.cast_weights())
    return {key: (pair[0], pair[1]) for key, pair in counts.items()}, int(counter.get_total_flops())


def measured_core(arch: ArchConfig, vocab_size: int, seq_len: int, identifiers: int) -> tuple[Counts, int]:
    """The numbers of a core's tensors, and the FLOPs of the matmuls of one ACT step at inference for one puzzle."""
    return _measured(arch.model_dump_json(), vocab_size, seq_len, identifiers)
