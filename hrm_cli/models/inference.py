"""Inference with weights cast once, and continuous batching: finished rows are replaced by new puzzles.

Letters in shapes: b rows, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hrm_cli.models.act import ACTModel, InferenceStep, PuzzleBatch
from hrm_cli.models.core import CoreOutput, InnerCarry, relative_change
from hrm_cli.models.rng import RowNoise
from hrm_cli.models.sharded import sharded_step


class Reasoner(Protocol):
    """The model interface that solving needs; `ACTModel` implements it."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """Reasoning steps on a batch. Finished rows are removed, and so are rows that the caller sends to it."""


class NoisyReasoner(Reasoner, Protocol):
    """A reasoner that can add noise to its states; `ACTModel` and `FixedModel` implement it."""

    def infer(
        self,
        inputs: Tensor,
        puzzle_identifiers: Tensor,
        max_steps: int,
        *,
        adaptive: bool,
        noise: RowNoise | None = None,
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """Like `Reasoner.infer`, with noise on the states of its rows."""


class FixedModel:
    """An `ACTModel` for inference only. Later changes of the model's weights have no effect on it."""

    def __init__(self, model: ACTModel) -> None:
        self._model = model
        with torch.inference_mode():
            self._weights = model.eval().core.cast_weights()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    def infer(
        self,
        inputs: Tensor,
        puzzle_identifiers: Tensor,
        max_steps: int,
        *,
        adaptive: bool,
        noise: RowNoise | None = None,
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """Same as `ACTModel.infer`, with the cast weights."""
        return self._model.infer(
            inputs, puzzle_identifiers, max_steps, adaptive=adaptive, noise=noise, weights=self._weights
        )

    def no_rows(self) -> ActiveRows:
        """A new continuous batch without rows."""
        return ActiveRows(self._model, self._weights)


@dataclass
class Opinions:
    """Further scores of answers, for selecting one of several."""

    confidence: Tensor
    """Mean log-probability of the tokens of each answer, `[b]`; 0 at best."""
    residual: Tensor
    """How much the last step changed the slow state: ‖after − before‖ ÷ ‖after‖, `[b]`."""
    cells: Tensor
    """Probability of each predicted token, `[b, S]`."""

    @classmethod
    def of(cls, logits: Tensor, before: InnerCarry, after: InnerCarry, rows: Tensor) -> Opinions:
        """Those of `rows` (indices) of a step's logits `[B, S, V]` and states."""
        best = logits[rows].float().log_softmax(-1).amax(-1)
        return cls(best.mean(-1), relative_change(before.z_H[rows], after.z_H[rows]), best.exp())


@dataclass
class Finished:
    """Finished puzzles and their answers."""

    puzzles: PuzzleBatch
    numbers: Tensor
    """The caller's number of each puzzle, `[b]`."""
    predictions: Tensor
    """Most likely tokens, `[b, S]`."""
    q_halt: Tensor
    """`[b]` float32"""
    steps: Tensor
    """ACT steps that each puzzle took, `[b]` int64."""
    opinions: Opinions | None = None
    """If requested."""


class ActiveRows:
    """The active rows of a continuous batch. Each is at its own step; rows may be added and removed at any time."""

    puzzles: PuzzleBatch
    """The puzzles of the rows, in the order in which they were added; undefined while there are no rows."""
    numbers: Tensor
    """The caller's number of each row, `[b]`."""
    steps: Tensor
    """Number of ACT steps that each row has taken, `[b]` int64."""

    def __init__(self, model: ACTModel, weights: Any = None) -> None:
        self._model = model.eval()
        self._weights = weights or model.core.cast_weights()
        self._carry: InnerCarry
        self._puzzle_rows: Tensor | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._model.device

    def add(self, puzzles: PuzzleBatch, numbers: Tensor) -> None:
        """Adds rows in their initial states, with the caller's numbers `[b]`."""
        if len(numbers) == 0:
            return
        embeddings = self._model.puzzle_rows(puzzles.puzzle_identifiers)
        carry = self._model.core.initial_carry(puzzles.inputs)
        steps = torch.zeros(len(numbers), dtype=torch.int64, device=numbers.device)
        if not len(self):
            self.puzzles, self.numbers, self.steps = puzzles, numbers, steps
            self._carry, self._puzzle_rows = carry, embeddings
        else:
            self.puzzles = PuzzleBatch.joined((self.puzzles, puzzles))
            self.numbers = torch.cat((self.numbers, numbers))
            self.steps = torch.cat((self.steps, steps))
            self._carry = InnerCarry.joined((self._carry, carry))
            if self._puzzle_rows is not None and embeddings is not None:
                self._puzzle_rows = torch.cat((self._puzzle_rows, embeddings))
        self._count += len(numbers)

    def states(self) -> InnerCarry:
        """The present states."""
        return self._carry

    def step(self) -> CoreOutput:
        """Takes one ACT step on every row."""
        self._carry, out = sharded_step(
            self._model.core, self._carry, self.puzzles.inputs, self._puzzle_rows, self._weights
        )
        self.steps = self.steps + 1
        return out

    def keep(self, rows: Tensor) -> None:
        """Removes all rows except `rows` (indices)."""
        self._count = len(rows)
        self.puzzles, self.numbers, self.steps = self.puzzles.rows(rows), self.numbers[rows], self.steps[rows]
        self._carry = self._carry.select(rows)
        self._puzzle_rows = None if self._puzzle_rows is None else self._puzzle_rows[rows]


Watch = Callable[[ActiveRows, CoreOutput, Tensor], None]


@torch.inference_mode()
def infer_stream(
    model: ACTModel,
    portions: Iterable[tuple[PuzzleBatch, Tensor]],
    max_steps: int,
    *,
    adaptive: bool,
    capacity: int,
    watch: Watch | None = None,
    with_opinions: bool = False,
) -> Iterator[Finished]:
    """Yields answers to all puzzles of `portions` (puzzles and their numbers `[n]`), in the order they finish.

    A portion is added once all of it fits into `capacity` rows, or if no row is active. A puzzle finishes after
    `max_steps` ACT steps or, with `adaptive`, when the core halts it.
    `watch` is called after every step with the rows, the model's outputs, and a mask of finished rows, `[b]` bool.
    `with_opinions`: `Finished.opinions` are computed too.
    """
    running = ActiveRows(model)
    waiting = iter(portions)
    portion = next(waiting, None)
    while len(running) or portion is not None:
        while portion is not None and (not len(running) or len(running) + len(portion[1]) <= capacity):
            running.add(*portion)
            portion = next(waiting, None)
        before = running.states() if with_opinions else None
        out = running.step()
        assert out.logits is not None
        done = running.steps >= max_steps
        if adaptive:
            done = done | model.core.halts(running.steps, out)
        if watch is not None:
            watch(running, out, done)
        leaving = done.nonzero().squeeze(-1)
        if len(leaving) == 0:
            continue
        yield Finished(
            running.puzzles.rows(leaving),
            running.numbers[leaving],
            out.logits[leaving].argmax(-1),
            out.q_halt[leaving],
            running.steps[leaving],
            None if before is None else Opinions.of(out.logits, before, running.states(), leaving),
        )
        running.keep((~done).nonzero().squeeze(-1))
