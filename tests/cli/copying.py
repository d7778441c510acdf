"""A model that answers what it is asked, for tests of everything around a solve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.models.registry import build_model

COMPLETE = "862934751519672834734851296478523169956418327321796548293167485145289673687345912"
"""A puzzle without blanks: the model below, which repeats its input, solves it."""
BLANKS = "........1.....2.3...4.5...........6....41.....2....5.......74..1.......368...5..."
CONTRADICTORY = "11" + "." * 79
WITHOUT_SOLUTION = "12345678" + "." * 9 + "9" + "." * 63
EMPTY_GRID = "." * 81
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""The models are tiny; threads would only wait for each other on a busy machine."""


def copying_model(path: Path, size: int = 9, **metadata: Any) -> Path:
    """A real checkpoint whose weights are set so that the model answers what it is asked, in one step."""
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, puzzle_emb_ndim=0,
        halt_max_steps=4, forward_dtype="float32",
    )  # fmt: skip
    vocabulary, cells = size + 2, size * size
    model = build_model(arch, vocabulary, cells, 1, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    # Blocks of zeros pass the embedding on to the output layer, which recognizes it.
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(vocabulary, 32)
    tensors["inner.lm_head.weight"] = torch.eye(vocabulary, 32)
    tensors["inner.q_head.bias"] = torch.tensor([6.0, -3.0])
    facts = DatasetFacts(vocabulary, cells, 1, {"name": "sudoku", "size": size})
    write_model_file(path, tensors, Preset(arch=arch), 1, facts)
    return path


def records(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]
