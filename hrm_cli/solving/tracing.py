"""The model's probabilities after every reasoning step, for pictures and pages.

Letters in shapes: b rows, S tokens of a puzzle, V vocabulary, K tokens kept for each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.puzzles.domain import Domain, Tokens
from hrm_cli.solving.solution import CellChances, TraceStep

if TYPE_CHECKING:
    from hrm_cli.evaluation.attempts import AttemptsStep, Reasoner
    from hrm_cli.evaluation.effort import Effort, Outcome

MOST_TOKENS = 9
"""K: largest number of tokens kept for each cell."""
TRACED_BYTES = 256 << 20
"""Largest size of the probabilities of a batch of traced puzzles."""
_TOKEN_BYTES = np.dtype(np.float16).itemsize + 2
"""Size of a kept token with its probability."""


def tokens_that_fit(cells: int) -> int:
    """The number of tokens to keep for each of this many cells so that they fit `TRACED_BYTES`; at least 1."""
    return max(1, min(MOST_TOKENS, TRACED_BYTES // (_TOKEN_BYTES * max(1, cells))))


class Traces:
    """The steps of all attempts at the puzzles that are not finished."""

    def __init__(self, domain: Domain, *, with_chances: bool = False) -> None:
        self._domain, self._with_chances = domain, with_chances
        self._steps: dict[int, dict[tuple[str, int], list[TraceStep]]] = {}
        """By puzzle, then by stage and number of the attempt."""

    def watch(self, step: AttemptsStep) -> None:
        """Keeps the answers of a step."""
        chances: Sequence[CellChances | None] = [None] * len(step.answers)
        if self._with_chances and step.logits is not None:
            chances = mapped_chances(step)
        stage = "copies" if step.are_copies else "restarts"
        for owner, attempt, answer, value, chance in zip(
            step.puzzles.tolist(),
            step.attempts.tolist(),
            step.answers,
            step.q_halt.tolist(),
            chances,
            strict=True,
        ):
            kept = self._steps.setdefault(owner, {}).setdefault((stage, attempt), [])
            kept.append(TraceStep(step.step, self._domain.decode(answer), value, chance))

    def of(self, owner: int, outcome: Outcome) -> tuple[TraceStep, ...]:
        """The steps of the attempt that gave the outcome of a puzzle, up to its answer. Forgets the others."""
        steps = self._steps.pop(owner, {}).get((outcome.how, outcome.attempt), [])
        return tuple(step for step in steps if step.step <= outcome.steps)


def traced_batch(domain: Domain, steps: int, batch_size: int, effort: Effort | None = None) -> int:
    """The batch size with which the probabilities of all steps fit `TRACED_BYTES`; at least 1.

    `steps` are those of the first pass. Every copy and restart of `effort` may take its steps too.
    """
    kept = min(MOST_TOKENS, domain.vocab_size)
    if effort is not None:
        attempts = (effort.copies if effort.copies > 1 else 0) + (effort.restarts + 1) * (effort.restarts > 0)
        steps += attempts * effort.attempt_steps
    of_puzzle = steps * domain.seq_len * kept * _TOKEN_BYTES
    return max(1, min(batch_size, TRACED_BYTES // of_puzzle))


def chances_of(logits: Tensor, most: int = MOST_TOKENS) -> list[CellChances]:
    """The most probable tokens of every row of `logits` `[b, S, V]`, at most `most` for each cell."""
    # A model that has diverged gives NaN: it is certain of nothing.
    shares_of_tokens = logits.float().softmax(-1).nan_to_num(0.0)
    probabilities, tokens = shares_of_tokens.topk(min(most, logits.shape[-1]), dim=-1)
    kept = np.uint8 if logits.shape[-1] <= 256 else np.uint16
    numbers, shares = tokens.cpu().numpy().astype(kept), probabilities.cpu().numpy().astype(np.float16)
    return [CellChances(row, chances) for row, chances in zip(numbers, shares, strict=True)]


def mapped_chances(step: AttemptsStep) -> list[CellChances]:
    """The most probable tokens of every attempt of a step, mapped back to the cells of the original puzzle."""
    assert step.logits is not None
    sources, tokens = step.back.sources(step.predictions), step.back.tokens
    return [
        moved(chances, source, names)
        for chances, source, names in zip(chances_of(step.logits), sources, tokens, strict=True)
    ]


def moved(
    chances: CellChances, sources: NDArray[np.integer[Any]], tokens: NDArray[np.integer[Any]]
) -> CellChances:
    """Probabilities with other cells and tokens.

    `sources` `[S]` are the cell that each new cell comes from, or −1 for a cell without probabilities. `tokens` `[V]`
    are the new token of each old token.
    """
    probabilities = np.where(sources[:, None] >= 0, chances.probabilities[sources], 0)
    renamed = tokens[chances.tokens[sources]].astype(chances.tokens.dtype)
    return CellChances(renamed, probabilities.astype(chances.probabilities.dtype))


def recomputed(
    model: Reasoner, domain: Domain, puzzle: Tokens, tokens: Tokens, steps: int, *, with_chances: bool
) -> tuple[TraceStep, ...]:
    """The steps of the model on a puzzle with pins `[S]`. Search nodes start from the same initial state."""
    unpin = getattr(domain, "without_pins", lambda puzzles, pinned, answers: answers)
    inputs = torch.from_numpy(tokens[None].astype(np.int32)).to(model.device)
    identifiers = torch.zeros(1, dtype=torch.int32, device=model.device)
    return tuple(
        TraceStep(
            step.step,
            domain.decode(unpin(puzzle, tokens, step.predictions[0].cpu().numpy().astype(tokens.dtype))),
            float(step.q_halt[0]),
            chances_of(step.logits)[0] if with_chances and step.logits is not None else None,
        )
        for step in model.infer(inputs, identifiers, steps, adaptive=False)
    )
