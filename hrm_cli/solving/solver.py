"""Puzzles → model → answers verified by the rules, batch by batch and in order.

Memory is bounded by one batch, however long the file is. What a puzzle's tries are depends on the seed and on its
place in the file, not on the batch it falls into.

Letters in shapes: b rows still at work, S tokens of a puzzle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hrm_cli.errors import CheckpointError, PuzzleError
from hrm_cli.models.act import InferenceStep
from hrm_cli.puzzles.domain import (
    Diagnosis,
    Domain,
    Grid,
    Puzzle,
    Tokens,
    TokenSymmetries,
    Unreadable,
    Verdict,
    infer_domain,
    make_domain,
)
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.training.model_files import ModelCard

StepListener = Callable[[int, int], None]
"""Told after every reasoning step: the step, and how many puzzles were still at work."""


def trained_domain(card: ModelCard) -> Domain:
    """The domain that a checkpoint was trained on. Raises CheckpointError where that is unknown."""
    facts = card.facts
    stated = dict(facts.domain)
    name = stated.pop("name", None)
    domain = make_domain(str(name), **stated) if name else infer_domain(facts.vocab_size, facts.seq_len)
    if domain is None:
        raise CheckpointError(
            f"{card.path}: its puzzles are of no known domain ({facts.vocab_size} tokens, {facts.seq_len} cells)"
        )
    if (domain.vocab_size, domain.seq_len) != (facts.vocab_size, facts.seq_len):
        raise CheckpointError(
            f"{card.path}: {facts.vocab_size} tokens and {facts.seq_len} cells, but {domain.describe()} has "
            f"{domain.vocab_size} and {domain.seq_len}"
        )
    return domain


class Reasoner(Protocol):
    """What solving needs of a model; `ACTModel` is one."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def infer(
        self, inputs: Tensor, puzzle_identifiers: Tensor, max_steps: int, *, adaptive: bool
    ) -> Iterator[InferenceStep]:
        """Reasoning steps on a batch; rows leave it as they finish."""


def solve_puzzles(
    model: Reasoner,
    domain: Domain,
    puzzles: Iterable[Puzzle | Unreadable],
    *,
    max_steps: int,
    adaptive: bool = True,
    attempts: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    trace: bool = False,
    on_step: StepListener | None = None,
) -> Iterator[Solution]:
    """One `Solution` for every item of `puzzles`, in order; those of a batch come as soon as the batch is done.

    A puzzle whose answer breaks a rule is tried again under symmetries drawn from `seed`, up to `attempts` tries
    in all. Where none obeys the rules, the answer is that of the try with the highest halt value: the one that the
    model believed in most.
    """
    effort = _Effort(max_steps, adaptive, attempts, seed, trace, on_step)
    items = iter(puzzles)
    done = 0
    while batch := list(islice(items, batch_size)):
        yield from _solve_batch(model, domain, batch, done, effort)
        done += len(batch)


@dataclass(frozen=True)
class _Effort:
    max_steps: int
    adaptive: bool
    attempts: int
    seed: int
    trace: bool
    on_step: StepListener | None


@dataclass(frozen=True)
class _Try:
    """What one run of the model made of a puzzle."""

    answer: Grid
    verdict: Verdict
    q_halt: float
    steps: int
    trace: tuple[TraceStep, ...]

    def is_better_than(self, other: _Try | None) -> bool:
        return other is None or self.verdict.ok or self.q_halt > other.q_halt


@dataclass
class _Work:
    """A puzzle that the model works on."""

    index: int
    puzzle: Puzzle
    tokens: Tokens
    diagnosis: Diagnosis
    attempts: int = 0
    best: _Try | None = None
    seconds: float = 0.0


def _solve_batch(
    model: Reasoner, domain: Domain, items: Sequence[Puzzle | Unreadable], done: int, effort: _Effort
) -> Iterator[Solution]:
    started = time.perf_counter()
    examined: list[Solution | _Work] = []
    for index, item in enumerate(items, done + 1):
        examined.append(_examine(domain, item, index, started))
    open_work = [work for work in examined if isinstance(work, _Work)]
    for attempt in range(1, effort.attempts + 1):
        if not open_work:
            break
        for work, result in _try_all(model, domain, open_work, attempt, effort):
            work.attempts = attempt
            if result.is_better_than(work.best):
                work.best = result
            work.seconds = time.perf_counter() - started
        open_work = [work for work in open_work if work.best is None or not work.best.verdict.ok]
    for one in examined:
        yield _conclude(domain, one) if isinstance(one, _Work) else one


def _examine(domain: Domain, item: Puzzle | Unreadable, index: int, started: float) -> Solution | _Work:
    """What can be said of a puzzle without the model: why there is nothing to solve, or what the work is."""
    puzzle = None if isinstance(item, Unreadable) else item
    try:
        if isinstance(item, Unreadable):
            raise PuzzleError(f"{item.where}: {item.reason}" if item.where else item.reason)
        tokens = _encode(domain, item)
        diagnosis = domain.diagnose(item.grid)
        if diagnosis.solutions == 0:
            raise PuzzleError(diagnosis.reason)
    except PuzzleError as error:
        seconds = time.perf_counter() - started
        return Solution(index, item.where, "invalid", str(error), puzzle, seconds=seconds)
    return _Work(index, item, tokens, diagnosis)


def _encode(domain: Domain, puzzle: Puzzle) -> Tokens:
    try:
        if puzzle.domain not in ("", domain.name):
            rows, columns = puzzle.grid.shape
            raise PuzzleError(f"{puzzle.domain} of {rows}×{columns} cells")
        return domain.encode(puzzle.grid)
    except PuzzleError as error:
        raise PuzzleError(
            f"the checkpoint was trained on {domain.describe()} puzzles, this is another: {error}"
        ) from None


def _try_all(
    model: Reasoner, domain: Domain, works: Sequence[_Work], attempt: int, effort: _Effort
) -> Iterator[tuple[_Work, _Try]]:
    """One try for each puzzle, as they finish: the puzzle itself at first, then images under fresh symmetries."""
    tokens = np.stack([work.tokens for work in works])
    back: TokenSymmetries | None = None
    if attempt > 1:
        symmetries = _symmetries(domain, works, attempt, effort.seed)
        tokens, back = symmetries.apply(tokens), symmetries.inverse()
    inputs = torch.from_numpy(tokens.astype(np.int32)).to(model.device)
    identifiers = torch.zeros(len(works), dtype=torch.int32, device=model.device)
    traces: list[list[TraceStep]] = [[] for _ in works]
    for step in model.infer(inputs, identifiers, effort.max_steps, adaptive=effort.adaptive):
        rows = step.rows.cpu().numpy()
        finished = step.finished.cpu().numpy()
        wanted = np.ones_like(finished) if effort.trace else finished
        if wanted.any():
            shown = rows[wanted]
            answers = step.predictions.cpu().numpy()[wanted].astype(np.uint8)
            if back is not None:
                answers = back[shown].apply(answers)
            values = step.q_halt.float().cpu().numpy()[wanted].tolist()
            for row, answer, value, is_last in zip(shown, answers, values, finished[wanted], strict=True):
                grid = domain.decode(answer)
                if effort.trace:
                    traces[row].append(TraceStep(step.step, grid, value))
                if is_last:
                    verdict = domain.verify(works[row].puzzle.grid, grid)
                    yield works[row], _Try(grid, verdict, value, step.step, tuple(traces[row]))
        if effort.on_step is not None:
            effort.on_step(step.step, len(rows))


def _symmetries(domain: Domain, works: Sequence[_Work], attempt: int, seed: int) -> TokenSymmetries:
    # Each puzzle draws from a stream of its own, so that its neighbours in the batch do not matter.
    drawn = [
        domain.sample_symmetries(np.random.default_rng([seed, work.index, attempt]), 1) for work in works
    ]
    return TokenSymmetries(
        np.concatenate([one.cells for one in drawn]), np.concatenate([one.tokens for one in drawn])
    )


def _conclude(domain: Domain, work: _Work) -> Solution:
    best, diagnosis, puzzle = work.best, work.diagnosis, work.puzzle
    assert best is not None  # `infer` finishes every row
    is_unique = diagnosis.solutions == 1
    reason = best.verdict.reason or best.verdict.note
    if not is_unique:
        of_answer = f"the answer is {best.verdict.note or 'one of them'}"
        if not best.verdict.ok:
            of_answer = f"the answer breaks a rule: {reason}"
        reason = f"{diagnosis.reason}; {of_answer}"
    return Solution(
        index=work.index,
        where=puzzle.where,
        status="multiple" if not is_unique else "solved" if best.verdict.ok else "unsolved",
        reason=reason,
        puzzle=puzzle,
        answer=best.answer,
        verified=best.verdict.ok,
        steps=best.steps,
        attempts=work.attempts,
        seconds=work.seconds,
        truth=diagnosis.solution,
        trace=best.trace,
    )
