"""A small model for the tests of this folder."""

from __future__ import annotations

import pytest
import torch

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import ACTModel, PuzzleBatch
from hrm_cli.models.recurrent import RecurrentCore
from hrm_cli.models.registry import build_model

VOCABULARY, TOKENS, IDENTIFIERS = 7, 20, 5


@pytest.fixture
def arch() -> ArchConfig:
    return ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, halt_max_steps=4, forward_dtype="float32",
        puzzle_emb_ndim=40,
    )  # fmt: skip


@pytest.fixture
def model(arch: ArchConfig) -> ACTModel:
    return build_model(arch, VOCABULARY, TOKENS, IDENTIFIERS, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def batch() -> PuzzleBatch:
    generator = torch.Generator().manual_seed(1)
    draw = lambda low, high, *shape: torch.randint(low, high, shape, generator=generator, dtype=torch.int32)  # noqa: E731
    return PuzzleBatch(
        draw(1, VOCABULARY, 6, TOKENS), draw(1, VOCABULARY, 6, TOKENS), draw(0, IDENTIFIERS, 6)
    )


@pytest.fixture
def blocks_of_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks that run wherever a CPU's own do not."""
    monkeypatch.setattr(RecurrentCore, "_has_cpu_blocks", False)
