"""Solves ARC tasks by voting over their augmented copies.

A task that the checkpoint was trained on has its own embeddings, one per copy. Other tasks have none, and their records
say so, unless adapting fits embeddings to the demonstrations first. ARC has no rules: an answer is verified only if the
file contains the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.data.arc.augmentation import Examples
from hrm_cli.errors import CheckpointError
from hrm_cli.evaluation.arc_voting import Candidate, Votes, submission
from hrm_cli.evaluation.restarts import opinions_of
from hrm_cli.evaluation.selection import Select
from hrm_cli.models.act import ACTModel
from hrm_cli.puzzles.arc.domain import NO_RULES, ArcDomain
from hrm_cli.puzzles.arc.fields import CELLS
from hrm_cli.puzzles.arc.kernels import FIRST_COLOR, SIDE
from hrm_cli.puzzles.arc.names import unpack_names
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries, ArcSymmetry, parse_name
from hrm_cli.puzzles.arc.tasks import Pair, Task
from hrm_cli.puzzles.dihedral import transform
from hrm_cli.puzzles.domain import Grid, Puzzle, Tokens
from hrm_cli.reporting import working_clock
from hrm_cli.solving.arc_adapting import Adaptation, adapt, check_adaptable
from hrm_cli.solving.solution import CellChances, Solution, TraceStep


@dataclass(frozen=True)
class Effort:
    """Budget for one task."""

    max_steps: int
    adaptive: bool
    votes: int | None = None
    """Largest number of copies that vote, including the original task; None: all that the checkpoint knows."""
    batch_size: int = 256
    adaptation: Adaptation | None = None
    trace: bool = False
    """Whether to keep the reasoning steps of the copy with the winning answer."""
    select: Select = "agreement"
    """What ranks the answers of the copies."""
    chances: bool = False
    """Whether the trace holds the model's probabilities."""


@dataclass(frozen=True)
class _KnownCopies:
    """The copies of a task for which the model has embeddings."""

    model: ACTModel
    symmetries: ArcSymmetries
    identifiers: NDArray[np.int64]
    """Row of the puzzle embeddings of each copy."""

    def limited(self, count: int | None) -> _KnownCopies:
        return _KnownCopies(self.model, self.symmetries[: count or None], self.identifiers[: count or None])


@dataclass(frozen=True)
class _Vote:
    """The answers of the copies of a task."""

    votes: Votes
    inputs: int = 1
    """Number of test inputs; row i of the vote belongs to copy i // inputs."""
    steps: int = 0
    """Reasoning steps of the copy that took the most."""
    symmetries: ArcSymmetries | None = None
    """The symmetries of the copies; None if the model knows no copies."""
    recorder: StepRecorder | None = None

    @property
    def copies(self) -> int:
        return 0 if self.symmetries is None else len(self.symmetries)

    def copy_of(self, candidate: Candidate) -> int:
        """The first copy that gave this answer."""
        return candidate.first // self.inputs

    def trace(self, candidate: Candidate) -> tuple[TraceStep, ...]:
        """The steps of that copy, if they were kept."""
        if self.recorder is None or self.symmetries is None:
            return ()
        copy = self.copy_of(candidate)
        permutation = tuple(self.symmetries.permutations[copy].tolist())
        symmetry = ArcSymmetry(int(self.symmetries.transforms[copy]), permutation)
        return self.recorder.trace(candidate.first, symmetry)


@dataclass(frozen=True)
class _HeldOut:
    """The score of an adapted model on demonstrations held out from adapting."""

    right: int
    of: int


class StepRecorder:
    """Stores each row's answer after each step, 900 bytes per step, and the model's probabilities if requested."""

    def __init__(self, rows: int = 0, steps: int = 1, *, with_chances: bool = False) -> None:
        """`rows` of all batches and their largest number of `steps`: more of them keep fewer tokens for each cell."""
        self._steps: dict[int, list[tuple[int, Tokens, float, CellChances | None]]] = {}
        self._kept_tokens = 0
        if with_chances:
            from hrm_cli.solving.tracing import tokens_that_fit

            self._kept_tokens = tokens_that_fit(rows * steps * ArcDomain.seq_len)

    def add(
        self,
        step: int,
        rows: NDArray[np.integer],
        predictions: NDArray[np.integer],
        q_halt: NDArray[np.floating],
        logits: Tensor | None = None,
    ) -> None:
        """Adds a step of some rows: indices `[b]`, predictions `[b, 900]`, halt values `[b]`, logits `[b, 900, V]`."""
        chances: Sequence[CellChances | None] = [None] * len(rows)
        if self._kept_tokens and logits is not None:
            from hrm_cli.solving.tracing import chances_of

            chances = chances_of(logits, self._kept_tokens)
        tokens = predictions.astype(np.uint8)
        for row, field, value, chance in zip(rows.tolist(), tokens, q_halt.tolist(), chances, strict=True):
            self._steps.setdefault(row, []).append((step, field, value, chance))

    def trace(self, row: int, symmetry: ArcSymmetry) -> tuple[TraceStep, ...]:
        """The steps of a row whose task is transformed by `symmetry`, mapped back to the original task."""
        domain, undo, steps = ArcDomain(), symmetry.inverse(), []
        for step, tokens, value, chances in self._steps.get(row, ()):
            grid = domain.decode(tokens)
            back = None if chances is None else _chances_back(chances, grid, undo)
            steps.append(TraceStep(step, _mapped_back(grid, undo), value, back))
        return tuple(steps)


def _chances_back(chances: CellChances, grid: Grid, undo: ArcSymmetry) -> CellChances:
    """Probabilities of a field `[900, K]` whose answer is `grid`, moved to the cells and colors of the mapped grid."""
    from hrm_cli.solving.tracing import moved

    cells = np.arange(CELLS).reshape(SIDE, SIDE)
    taken = transform(cells[: grid.shape[0], : grid.shape[1]], undo.transform) if grid.size else cells[:0]
    sources = np.full((SIDE, SIDE), -1)
    sources[: taken.shape[0], : taken.shape[1]] = taken
    tokens = np.concatenate([np.arange(FIRST_COLOR), FIRST_COLOR + np.array(undo.permutation)])
    return moved(chances, sources.reshape(-1), tokens)


def _mapped_back(grid: Grid, undo: ArcSymmetry) -> Grid:
    return undo.apply(grid) if grid.size else grid


class ArcSolver:
    """Solves tasks with one checkpoint. Raises CheckpointError or ConfigError if the checkpoint cannot solve tasks."""

    def __init__(
        self,
        model: ACTModel,
        card: ModelCard,
        effort: Effort,
        on_stage: Callable[[str, int], None] | None = None,
    ) -> None:
        """`on_stage` is called with what takes long, and the number of steps left: `fitting 0520fde7`, 1,200."""
        if effort.adaptation is not None:
            check_adaptable(model, effort.adaptation)
        self._model, self._config, self._effort = model, card.preset.train, effort
        self._known = known_copies(model, card)
        self._on_stage, self._steps_left = on_stage, 0
        self.submission: dict[str, list[dict[str, Any]]] = {}
        """Kaggle's two attempts for each test input of the tasks solved so far."""

    def solve(self, tasks: Iterable[Task]) -> Iterator[Solution]:
        """A solution for every test input, in order."""
        index = 1
        for task in tasks:
            started = working_clock()
            held_out = None
            known = self._known.get(task.name)
            if known is not None:
                known = known.limited(self._effort.votes)
            elif self._effort.adaptation is not None:
                # One fit without each demonstration in turn, if there are several, and one with all.
                fits = 1 + (len(task.train) if len(task.train) > 1 else 0)
                self._steps_left = fits * self._effort.adaptation.steps
                held_out = self._held_out(task, self._effort.adaptation)
                known = self._adapted(task.name, task.train, self._effort.adaptation)
            vote = _Vote(Votes.of([""])) if known is None else self._vote(known, task.name, task.test)
            self.submission |= submission(vote.votes, [task])
            seconds = (working_clock() - started) / len(task.test)
            for number, pair in enumerate(task.test, start=1):
                where = f"{task.where}: task {task.name}, test {number}"
                puzzle = Puzzle(pair.input, solution=pair.output, where=where, domain=ArcDomain.name)
                facts = _Facts(task, puzzle, vote, held_out, seconds)
                solution = _solution(index, facts, self._effort.adaptation)
                yield replace(solution, halt_name=self._model.arch.halt_name)
                index += 1

    def _adapted(self, task: str, demonstrations: Sequence[Pair], adaptation: Adaptation) -> _KnownCopies:
        def on_step(done: int = 1) -> None:
            self._steps_left -= done
            if self._on_stage is not None:
                self._on_stage(f"fitting {task}", self._steps_left)

        on_step(0)
        adapted = adapt(self._model, self._config, task, demonstrations, adaptation, on_step)
        return _KnownCopies(adapted.model, adapted.symmetries, np.arange(1, len(adapted.symmetries) + 1))

    def _held_out(self, task: Task, adaptation: Adaptation) -> _HeldOut:
        if len(task.train) < 2:
            return _HeldOut(0, 0)
        right = 0
        for number, pair in enumerate(task.train):
            others = [*task.train[:number], *task.train[number + 1 :]]
            vote = self._vote(self._adapted(task.name, others, adaptation), task.name, [pair])
            best = vote.votes.candidates(task.name, pair.input)[:1]
            right += bool(best) and np.array_equal(best[0].grid, np.asarray(pair.output))
        return _HeldOut(right, len(task.train))

    def _vote(self, known: _KnownCopies, task: str, pairs: Sequence[Pair]) -> _Vote:
        """The votes of all copies on some inputs."""
        effort, model = self._effort, known.model
        examples = Examples.from_pairs([Pair(pair.input) for pair in pairs])
        tokens, _ = examples.copies(known.symmetries)
        local = np.repeat(np.arange(1, len(known.symmetries) + 1), len(examples))
        rows = known.identifiers[local - 1]
        symmetries = ArcSymmetries.identity().followed_by(known.symmetries)
        votes, longest = Votes(["", *[task] * len(known.symmetries)], symmetries, effort.select), 0
        recorder = None
        if effort.trace:
            recorder = StepRecorder(len(tokens), effort.max_steps, with_chances=effort.chances)
        for start in range(0, len(tokens), effort.batch_size):
            part = slice(start, start + effort.batch_size)
            inputs = torch.from_numpy(tokens[part].astype(np.int32)).to(model.device)
            identifiers = torch.from_numpy(rows[part].astype(np.int32)).to(model.device)
            for step in model.infer(inputs, identifiers, effort.max_steps, adaptive=effort.adaptive):
                if recorder is not None:
                    rows_of_all = start + step.rows.cpu().numpy()
                    values = step.q_halt.float().cpu().numpy()
                    predictions = step.predictions.cpu().numpy()
                    recorder.add(step.step, rows_of_all, predictions, values, step.logits)
                done = step.rows[step.finished].cpu().numpy()
                if not len(done):
                    continue
                q_halt, confidence, residual = map(np.array, opinions_of(step, step.finished.cpu().numpy()))
                votes.add(
                    local[part][done],
                    tokens[part][done],
                    step.predictions[step.finished].cpu().numpy(),
                    q_halt,
                    # Break ties in favor of the original task's answer, regardless of which copy halts first.
                    start + done,
                    confidence=confidence,
                    residual=residual,
                )
                longest = max(longest, step.step)
        return _Vote(votes, len(examples), longest, known.symmetries, recorder)


def known_copies(model: ACTModel, card: ModelCard) -> dict[str, _KnownCopies]:
    """The copies of every task that a checkpoint was trained on. Raises CheckpointError."""
    if card.facts.domain.get("name") != ArcDomain.name:
        raise CheckpointError(
            f"{card.path}: was trained on {card.facts.domain.get('name') or 'an unknown domain'}, but these are ARC "
            "tasks; name a checkpoint that was trained on ARC"
        )
    try:
        names = unpack_names(card.facts.identifiers)
        symmetries = ArcSymmetries.parse(names)
        tasks = [parse_name(name)[0] for name in names]
    except ValueError as error:
        raise CheckpointError(f"{card.path}: the names of its puzzle identifiers: {error}") from None
    rows: dict[str, list[int]] = {}
    for identifier, task in enumerate(tasks[1:], start=1):
        rows.setdefault(task, []).append(identifier)
    return {
        task: _KnownCopies(model, symmetries[np.array(identifiers)], np.array(identifiers))
        for task, identifiers in rows.items()
    }


@dataclass(frozen=True)
class _Facts:
    task: Task
    puzzle: Puzzle
    vote: _Vote
    held_out: _HeldOut | None
    seconds: float


def _solution(index: int, facts: _Facts, adaptation: Adaptation | None) -> Solution:
    puzzle, vote = facts.puzzle, facts.vote
    ranked = vote.votes.candidates(facts.task.name, puzzle.grid)
    demonstrations = tuple((pair.input, pair.output) for pair in facts.task.train if pair.output is not None)
    if not ranked:
        return Solution(
            index,
            puzzle.where,
            "unsolved",
            f"the checkpoint has never seen task {facts.task.name} and has no puzzle embedding for it; "
            "--adapt STEPS fits one to its demonstrations",
            puzzle,
            seconds=facts.seconds,
            how="votes",
            truth=puzzle.solution,
            demonstrations=demonstrations,
        )
    right = [puzzle.solution is not None and np.array_equal(c.grid, puzzle.solution) for c in ranked[:2]]
    if puzzle.solution is None:
        said = f"not verified: {NO_RULES}, and the file gives none"
    elif right[0]:
        said = "equals the solution in the file"
    else:
        second = ", but the second candidate equals it" if any(right) else ""
        said = f"differs from the solution in the file{second}"
    select = vote.votes.select
    by = "" if select == "agreement" else f", chosen by {select}"
    reasons = [said, f"{ranked[0].votes} of {vote.copies} votes{by}"]
    second_answer = ranked[min(1, len(ranked) - 1)].grid
    details: dict[str, Any] = {
        "task": facts.task.name,
        "votes": ranked[0].votes,
        "attempt_2": second_answer.tolist(),
    }
    held_out = facts.held_out
    if held_out is not None and adaptation is not None:
        details["held_out"] = {"right": held_out.right, "of": held_out.of}
        shown = f"{held_out.right} of {held_out.of} right" if held_out.of else "there is only one"
        reasons.append(f"adapted in {adaptation.steps} steps; demonstrations held out one by one: {shown}")
    return Solution(
        index=index,
        where=puzzle.where,
        status="solved" if right[0] else "unsolved",
        reason="; ".join(reasons),
        puzzle=puzzle,
        answer=ranked[0].grid,
        verified=right[0],
        steps=vote.steps,
        attempts=vote.copies,
        attempt=vote.copy_of(ranked[0]) + 1,
        how="votes",
        select=select,
        agreeing=ranked[0].votes,
        seconds=facts.seconds,
        truth=puzzle.solution,
        trace=vote.trace(ranked[0]),
        demonstrations=demonstrations,
        second=second_answer,
        details=details,
    )
