"""Models whose weights are set so that they answer with their input: for ARC tasks, and for own puzzles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.arc.names import pack_names
from hrm_cli.puzzles.domain import make_domain

ARCH = ArchConfig(
    hidden_size=32, num_heads=4, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, puzzle_emb_ndim=0,
    halt_max_steps=2, forward_dtype="float32",
)  # fmt: skip
OWN: dict[str, Any] = {
    "rows": 2, "columns": 3, "input_rows": 2, "input_columns": 3, "output_rows": 2, "output_columns": 3,
    "symbols": ["a", "b", "<c>"], "words": 1,
}  # fmt: skip


def copying_model(path: Path, facts: DatasetFacts) -> Path:
    shape = facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers
    model = build_model(ARCH, *shape, domain=facts.domain, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(facts.vocab_size, 32)
    tensors["inner.lm_head.weight"] = torch.eye(facts.vocab_size, 32)
    write_model_file(path, tensors, Preset(arch=ARCH), 1, facts)
    return path


def arc_model(folder: Path) -> Path:
    """Knows the task `copy`, and answers every test input with itself."""
    facts = DatasetFacts(12, 900, 2, {"name": "arc"}, pack_names(["<blank>", "copy"]))
    return copying_model(folder / "arc.safetensors", facts)


def own_model(folder: Path) -> Path:
    """Own puzzles of 2×3 cells; every answer is the input."""
    domain = make_domain("grids", **OWN)
    facts = DatasetFacts(domain.vocab_size, domain.seq_len, 1, {"name": "grids", **OWN})
    return copying_model(folder / "own.safetensors", facts)
