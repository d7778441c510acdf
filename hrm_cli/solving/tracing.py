"""The model's probabilities after every reasoning step, for pictures and pages.

Letters in shapes: b rows, S tokens of a puzzle, V vocabulary, K tokens kept for each cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hrm_cli.puzzles.domain import Domain, Tokens
from hrm_cli.solving.solution import CellChances, TraceStep

if TYPE_CHECKING:
    from hrm_cli.evaluation.attempts import Reasoner

MOST_TOKENS = 9
"""K: largest number of tokens kept for each cell."""
TRACED_BYTES = 256 << 20
"""Largest size of the probabilities of a batch of traced puzzles."""


def traced_batch(domain: Domain, steps: int, batch_size: int) -> int:
    """The batch size with which the probabilities of all steps fit `TRACED_BYTES`; at least 1."""
    kept = min(MOST_TOKENS, domain.vocab_size)
    of_puzzle = steps * domain.seq_len * kept * (np.dtype(np.float16).itemsize + 2)
    return max(1, min(batch_size, TRACED_BYTES // of_puzzle))


def chances_of(logits: Tensor) -> list[CellChances]:
    """The most probable tokens of every row of `logits` `[b, S, V]`."""
    # A model that has diverged gives NaN: it is certain of nothing.
    shares_of_tokens = logits.float().softmax(-1).nan_to_num(0.0)
    probabilities, tokens = shares_of_tokens.topk(min(MOST_TOKENS, logits.shape[-1]), dim=-1)
    kept = np.uint8 if logits.shape[-1] <= 256 else np.uint16
    numbers, shares = tokens.cpu().numpy().astype(kept), probabilities.cpu().numpy().astype(np.float16)
    return [CellChances(row, chances) for row, chances in zip(numbers, shares, strict=True)]


def recomputed(
    model: Reasoner, domain: Domain, tokens: Tokens, steps: int, *, with_chances: bool
) -> tuple[TraceStep, ...]:
    """The steps of the model on a puzzle `[S]`. Search nodes start from the same initial state."""
    inputs = torch.from_numpy(tokens[None].astype(np.int32)).to(model.device)
    identifiers = torch.zeros(1, dtype=torch.int32, device=model.device)
    return tuple(
        TraceStep(
            step.step,
            domain.decode(step.predictions[0].cpu().numpy().astype(tokens.dtype)),
            float(step.q_halt[0]),
            chances_of(step.logits)[0] if with_chances and step.logits is not None else None,
        )
        for step in model.infer(inputs, identifiers, steps, adaptive=False)
    )
