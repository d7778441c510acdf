"""Inference: weights cast once, and continuous batching, where finished rows are replaced by waiting puzzles.

Letters in shapes: b rows, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hrm_cli.models.act import ACTModel, InferenceStep, PuzzleBatch
from hrm_cli.models.core import InnerCarry


class FixedModel:
    """An `ACTModel` for inference only. It knows nothing of changes that its weights see later."""

    def __init__(self, model: ACTModel) -> None:
        self._model = model
        with torch.inference_mode():
            self._weights = model.eval().core.cast_weights()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """As `ACTModel.infer`."""
        return self._model.infer(
            inputs, puzzle_identifiers, max_steps, adaptive=adaptive, weights=self._weights
        )


@dataclass
class Finished:
    """Puzzles that have left, with their answers."""

    puzzles: PuzzleBatch
    numbers: Tensor
    """As they were handed in, `[b]`."""
    predictions: Tensor
    """Most likely tokens, `[b, S]`."""
    q_halt: Tensor
    """`[b]` float32"""
    steps: Tensor
    """ACT steps that each puzzle took, `[b]` int64."""


@dataclass
class _Running:
    puzzles: PuzzleBatch
    numbers: Tensor
    puzzle_rows: Tensor | None
    carry: InnerCarry
    steps: Tensor

    def select(self, rows: Tensor) -> _Running:
        return _Running(
            self.puzzles.rows(rows),
            self.numbers[rows],
            None if self.puzzle_rows is None else self.puzzle_rows[rows],
            self.carry.select(rows),
            self.steps[rows],
        )

    def joined(self, other: _Running) -> _Running:
        """These rows, then those of `other`."""
        both = None
        if self.puzzle_rows is not None and other.puzzle_rows is not None:
            both = torch.cat((self.puzzle_rows, other.puzzle_rows))
        return _Running(
            PuzzleBatch.joined((self.puzzles, other.puzzles)),
            torch.cat((self.numbers, other.numbers)),
            both,
            InnerCarry.joined((self.carry, other.carry)),
            torch.cat((self.steps, other.steps)),
        )


@torch.inference_mode()
def infer_stream(
    model: ACTModel,
    portions: Iterable[tuple[PuzzleBatch, Tensor]],
    max_steps: int,
    *,
    adaptive: bool,
    capacity: int,
) -> Iterator[Finished]:
    """Answers to all puzzles of `portions` (puzzles and their numbers `[n]`), in the order in which they finish.

    A portion joins the rows at work once all of it fits among at most `capacity` rows, or none is at work. With
    `adaptive`, a puzzle leaves when the core says that it halts, else after `max_steps` ACT steps.
    """
    model.eval()
    weights = model.core.cast_weights()
    waiting = iter(portions)
    portion = next(waiting, None)
    running: _Running | None = None
    while running is not None or portion is not None:
        while portion is not None and (running is None or len(running.numbers) + len(portion[1]) <= capacity):
            started = _started(model, *portion)
            running = started if running is None else running.joined(started)
            portion = next(waiting, None)
        assert running is not None
        running.carry, out = model.core(running.carry, running.puzzles.inputs, running.puzzle_rows, weights)
        assert out.logits is not None
        running.steps += 1
        done = running.steps >= max_steps
        if adaptive:
            done = done | model.core.halts(running.steps, out)
        leaving = done.nonzero().squeeze(-1)
        if len(leaving) == 0:
            continue
        yield Finished(
            running.puzzles.rows(leaving),
            running.numbers[leaving],
            out.logits[leaving].argmax(-1),
            out.q_halt[leaving],
            running.steps[leaving],
        )
        staying = (~done).nonzero().squeeze(-1)
        running = running.select(staying) if len(staying) else None


def _started(model: ACTModel, puzzles: PuzzleBatch, numbers: Tensor) -> _Running:
    return _Running(
        puzzles,
        numbers,
        model.puzzle_rows(puzzles.puzzle_identifiers),
        model.core.initial_carry(puzzles.inputs),
        torch.zeros(len(numbers), dtype=torch.int64, device=numbers.device),
    )
