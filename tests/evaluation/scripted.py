"""A model whose answers a test writes down, under the real wrapper of adaptive computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.act import ACTModel
from hrm_cli.models.core import CoreOutput, InnerCarry

Respond = Callable[[NDArray[np.int32], int], tuple[NDArray[Any], float]]
"""Tokens of a puzzle and the step, counted from 1 → predicted tokens and the halt value."""


class ScriptedCore(nn.Module):
    """Counts each row's steps in its carry; a row halts once its halt value is positive."""

    halts_together = False

    def __init__(self, respond: Respond, vocab_size: int, seq_len: int) -> None:
        super().__init__()
        self.arch = ArchConfig(hidden_size=8, num_heads=2, puzzle_emb_ndim=0, halt_max_steps=3)
        self.vocab_size, self.seq_len = vocab_size, seq_len
        self.weight = nn.Parameter(torch.zeros(1))
        self.respond = respond
        self.at_work: list[int] = []
        """Rows of every call."""

    def cast_weights(self) -> None:
        return None

    def initial_carry(self, inputs: Tensor) -> InnerCarry:
        return InnerCarry(torch.zeros(len(inputs), 1, 1), torch.zeros(len(inputs), 1, 1))

    def halts(self, step: int | Tensor, out: CoreOutput) -> Tensor:
        return out.q_halt > 0

    def forward(
        self, carry: InnerCarry, inputs: Tensor, puzzle_rows: None, weights: None
    ) -> tuple[InnerCarry, CoreOutput]:
        self.at_work.append(len(inputs))
        steps = carry.z_H + 1
        said = [
            self.respond(row, int(step)) for row, step in zip(inputs.numpy(), steps.flatten(), strict=True)
        ]
        answers = torch.from_numpy(np.stack([answer for answer, _ in said]).astype(np.int64))
        values = torch.tensor([value for _, value in said])
        logits = nn.functional.one_hot(answers, self.vocab_size + 1).float()
        return InnerCarry(steps, carry.z_L), CoreOutput(logits, values, torch.zeros_like(values))


def scripted(respond: Respond, vocab_size: int, seq_len: int) -> ACTModel:
    """A model that answers and halts as `respond` says."""
    return ACTModel(ScriptedCore(respond, vocab_size, seq_len))
