"""Chooses the model for each puzzle: the named checkpoint, or the bundled model for the puzzle's domain and size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from hrm_cli.checkpoints.bundled import SCHEME, model_for
from hrm_cli.checkpoints.model_files import ModelCard, load_model
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.evaluation.attempts import Reasoner, default_attempt_steps
from hrm_cli.evaluation.effort import Effort, EffortRequest, Progress
from hrm_cli.models.act import ACTModel
from hrm_cli.puzzles.domain import Domain, Puzzle, Unreadable, domain_of_puzzle, make_domain
from hrm_cli.solving.files import first_puzzle
from hrm_cli.solving.solution import Solution, unreadable
from hrm_cli.solving.solver import solve_puzzles, trained_domain

Item = Puzzle | Unreadable

MOST_WAITING = 1_000
"""Largest number of items buffered before the first puzzle, which determines their model."""


@dataclass(frozen=True)
class SolveOptions:
    """The options of a solve; None uses the model's default."""

    max_steps: int | None = None
    halt: Literal["adaptive", "full"] | None = None
    effort: EffortRequest = field(default_factory=EffortRequest)
    seed: int = 0
    batch_size: int = 256
    trace: bool = False
    chances: bool = False
    """Whether traces hold the model's probabilities and the search tree, for pictures and pages."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model with its domain."""

    model: ACTModel
    card: ModelCard
    domain: Domain
    is_bundled: bool

    @classmethod
    def load(cls, checkpoint: Path, device: torch.device, domain: Domain | None = None) -> LoadedModel:
        """Loads a checkpoint's model; if the weights allow it, for the size of `domain`. Raises CheckpointError."""
        model, card = load_model(checkpoint, device, domain=domain)
        return cls(model, card, trained_domain(card), str(checkpoint).startswith(SCHEME))

    def steps(self, asked: SolveOptions) -> int:
        """Largest number of reasoning steps for a first answer."""
        return asked.max_steps or self.card.preset.eval.max_steps or self.model.arch.halt_max_steps

    def adaptive(self, asked: SolveOptions) -> bool:
        """Whether a puzzle finishes when the model halts it."""
        return (asked.halt or self.card.preset.eval.halt) == "adaptive"

    def effort(self, asked: SolveOptions) -> Effort:
        """The effort for this model. Raises ConfigError for options that do not fit it."""
        return asked.effort.of(
            self.model.arch,
            self.domain,
            asked.max_steps or default_attempt_steps(self.steps(asked)),
            pass_steps=self.steps(asked),
            is_bundled=self.is_bundled,
            seed=asked.seed,
            batch_size=asked.batch_size,
        )

    def solve(
        self,
        items: Iterable[Item],
        asked: SolveOptions,
        *,
        reasoner: Reasoner | None = None,
        progress: Progress | None = None,
        done: int = 0,
    ) -> Iterator[Solution]:
        """Calls `solve_puzzles` with the requested options. `reasoner` replaces the model. Raises ConfigError."""
        steps = self.steps(asked)
        return solve_puzzles(
            reasoner or self.model,
            self.domain,
            items,
            max_steps=steps,
            adaptive=self.adaptive(asked),
            effort=self.effort(asked),
            batch_size=asked.batch_size,
            trace=asked.trace,
            chances=asked.chances,
            progress=progress,
            done=done,
        )


def solve_each_size(
    items: Iterable[Item],
    asked: SolveOptions,
    device: torch.device,
    *,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Domain, Solution]]:
    """Solves every puzzle, in order, with the bundled model for its size. A file may hold puzzles of several sizes.

    `checkpoint` takes the place of the bundled models; if its weights work for every size, it is used for each.
    Raises CheckpointError if no puzzle has a model, and PuzzleError if no item is a puzzle. A puzzle without a model is
    reported, and the others are solved.
    """
    loaded: dict[_Choice, LoadedModel] = {}
    done = 0
    for name, group in groupby(_with_models(items, checkpoint), key=itemgetter(0)):
        if name is None:
            for _, item in group:
                assert isinstance(item, Unreadable)
                done += 1
                yield make_domain(item.domain or "sudoku"), unreadable(done, item)
            continue
        if name not in loaded:
            loaded[name] = LoadedModel.load(name.checkpoint, device, name.domain())
        solver = loaded[name]
        for solution in solver.solve((item for _, item in group), asked, progress=progress, done=done):
            yield solver.domain, solution
            done += 1


@dataclass(frozen=True)
class _Choice:
    """A model, for puzzles of one size."""

    checkpoint: Path
    kind: tuple[str, int, int]
    """Domain, rows and columns."""

    def domain(self) -> Domain | None:
        """The domain of these puzzles; None for a size that it does not have, which the model then refuses."""
        name, *shape = self.kind
        try:
            return domain_of_puzzle(Puzzle(np.zeros(shape, np.uint8), domain=name))
        except ConfigError:
            return None


def _with_models(items: Iterable[Item], checkpoint: Path | None) -> Iterator[tuple[_Choice | None, Item]]:
    """Every item with its model. An item that is not a puzzle gets the model of its neighbors.

    The model is None if too many items precede the first puzzle.
    """
    models: dict[tuple[object, ...], _Choice | CheckpointError] = {}
    current: _Choice | None = None
    waiting: list[Unreadable] = []
    without_model: CheckpointError | None = None
    is_over = False
    for given in items:
        item = given
        if isinstance(item, Puzzle):
            kind = (item.domain, *item.grid.shape)
            if kind not in models:
                models[kind] = _model_or_reason(item, checkpoint)
            found = models[kind]
            if isinstance(found, _Choice):
                current = found
                yield from ((current, earlier) for earlier in waiting)
                waiting = []
                yield current, item
                continue
            without_model = without_model or found
            item = Unreadable(item.where, str(found), item.domain)
        if current is not None or is_over:
            yield current, item
        else:
            waiting.append(item)
            if len(waiting) > MOST_WAITING:
                is_over = True
                yield from ((None, earlier) for earlier in waiting)
                waiting = []
    if waiting and without_model is not None:
        raise without_model
    if waiting:
        first_puzzle(waiting)


def _model_or_reason(puzzle: Puzzle, checkpoint: Path | None) -> _Choice | CheckpointError:
    rows, columns = puzzle.grid.shape
    try:
        chosen = checkpoint or Path(f"{SCHEME}{model_for(puzzle).name}")
        return _Choice(chosen, (puzzle.domain, rows, columns))
    except CheckpointError as error:
        return error
