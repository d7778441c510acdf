"""Puzzles → model → answers verified by the rules, batch by batch and in order.

The puzzles of a batch are solved as they are at first; those whose answer breaks a rule are tried again, as many
images of them at once (`hrm_cli.evaluation.attempts`). Memory is bounded by one batch, however long the file is. What
a puzzle's images are depends on the seed and on its place in the file, not on the batch it falls into.

Letters in shapes: b rows still at work, S tokens of a puzzle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

import numpy as np
import torch

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.errors import CheckpointError, PuzzleError
from hrm_cli.evaluation.attempts import Reasoner, StepOfTries, Tries, Try, has_rules, try_copies
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.puzzles.domain import (
    BulkDomain,
    Diagnosis,
    Domain,
    Puzzle,
    Tokens,
    Unreadable,
    infer_domain,
    make_domain,
)
from hrm_cli.solving.solution import Solution, TraceStep

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


def solve_puzzles(
    model: Reasoner,
    domain: Domain,
    puzzles: Iterable[Puzzle | Unreadable],
    *,
    max_steps: int,
    adaptive: bool = True,
    attempts: int = 1,
    attempts_max_steps: int | None = None,
    seed: int = 0,
    batch_size: int = 256,
    trace: bool = False,
    on_step: StepListener | None = None,
    done: int = 0,
) -> Iterator[Solution]:
    """One `Solution` for every item of `puzzles`, in order; those of a batch come as soon as the batch is done.

    A puzzle whose answer breaks a rule is tried again as `attempts` images under symmetries drawn from `seed`, itself
    among them, for `attempts_max_steps` steps (None: `max_steps`). Where no answer obeys the rules, the best one is
    given: the one with the fewest faults, the surest of these. `done` puzzles of the file were dealt with before.
    """
    if isinstance(model, ACTModel):
        model = FixedModel(model)
    tries = Tries(attempts, attempts_max_steps or max_steps, seed, batch_size)
    effort = _Effort(max_steps, adaptive, tries, trace, on_step)
    items = iter(puzzles)
    while batch := list(islice(items, batch_size)):
        yield from _solve_batch(model, domain, batch, done, effort)
        done += len(batch)


@dataclass(frozen=True)
class _Effort:
    max_steps: int
    adaptive: bool
    tries: Tries
    trace: bool
    on_step: StepListener | None


@dataclass
class _Work:
    """A puzzle that the model works on."""

    index: int
    puzzle: Puzzle
    tokens: Tokens
    diagnosis: Diagnosis
    first: Try | None = None
    """Of the puzzle as it is."""
    best: Try | None = None
    trace: tuple[TraceStep, ...] = ()
    seconds: float = 0.0


def _solve_batch(
    model: Reasoner, domain: Domain, items: Sequence[Puzzle | Unreadable], done: int, effort: _Effort
) -> Iterator[Solution]:
    started = time.perf_counter()
    examined: list[Solution | _Work] = []
    for index, item in enumerate(items, done + 1):
        examined.append(_examine(domain, item, index, started))
    works = [work for work in examined if isinstance(work, _Work)]
    if works:
        for work, result, trace in _try_once(model, domain, works, effort):
            work.first = work.best = result
            work.trace = trace
            work.seconds = time.perf_counter() - started
    refused = [work for work in works if work.best is not None and work.best.faults]
    if refused and effort.tries.count > 1:
        for work, result, trace in _try_again(model, domain, refused, effort):
            assert work.best is not None
            work.seconds = time.perf_counter() - started
            if result.is_better_than(work.best):
                work.best, work.trace = result, trace
            else:
                work.best = replace(work.best, of=result.of)
    for one in examined:
        yield _conclude(domain, one) if isinstance(one, _Work) else one


def _examine(domain: Domain, item: Puzzle | Unreadable, index: int, started: float) -> Solution | _Work:
    """What can be said of a puzzle without the model: why there is nothing to solve, or what the work is."""
    if isinstance(item, Unreadable):
        return unreadable(index, item, time.perf_counter() - started)
    try:
        tokens = _encode(domain, item)
        diagnosis = domain.diagnose(item.grid)
        if diagnosis.solutions == 0:
            raise PuzzleError(diagnosis.reason)
    except PuzzleError as error:
        seconds = time.perf_counter() - started
        return Solution(index, item.where, "invalid", str(error), item, seconds=seconds)
    return _Work(index, item, tokens, diagnosis)


def unreadable(index: int, item: Unreadable, seconds: float = 0.0) -> Solution:
    """The record of a piece that is not a puzzle."""
    reason = f"{item.where}: {item.reason}" if item.where else item.reason
    return Solution(index, item.where, "invalid", reason, seconds=seconds)


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


def _try_once(
    model: Reasoner, domain: Domain, works: Sequence[_Work], effort: _Effort
) -> Iterator[tuple[_Work, Try, tuple[TraceStep, ...]]]:
    """The model's answer to each puzzle as it is, as they finish."""
    tokens = np.stack([work.tokens for work in works])
    inputs = torch.from_numpy(tokens.astype(np.int32)).to(model.device)
    identifiers = torch.zeros(len(works), dtype=torch.int32, device=model.device)
    traces: list[list[TraceStep]] = [[] for _ in works]
    for step in model.infer(inputs, identifiers, effort.max_steps, adaptive=effort.adaptive):
        rows = step.rows.cpu().numpy()
        finished = step.finished.cpu().numpy()
        wanted = np.ones_like(finished) if effort.trace else finished
        if wanted.any():
            answers = step.predictions.cpu().numpy()[wanted].astype(np.uint8)
            values = step.q_halt.float().cpu().numpy()[wanted].tolist()
            for row, answer, value, is_last in zip(
                rows[wanted], answers, values, finished[wanted], strict=True
            ):
                if effort.trace:
                    traces[row].append(TraceStep(step.step, domain.decode(answer), value))
                if is_last:
                    faults = _faults(domain, works[row], answer)
                    yield works[row], Try(answer, faults, value, step.step, 1), tuple(traces[row])
        if effort.on_step is not None:
            effort.on_step(step.step, len(rows))


def _faults(domain: Domain, work: _Work, answer: Tokens) -> int:
    if has_rules(domain):
        return int(cast(BulkDomain, domain).faults(work.tokens[None], answer[None])[0])
    return 0 if domain.verify(work.puzzle.grid, domain.decode(answer)).ok else 2


def _try_again(
    model: Reasoner, domain: Domain, works: Sequence[_Work], effort: _Effort
) -> Iterator[tuple[_Work, Try, tuple[TraceStep, ...]]]:
    """The best of each puzzle's images."""
    traces: dict[tuple[int, int], list[TraceStep]] = {}

    def watch(step: StepOfTries) -> None:
        for owner, attempt, answer, value in zip(
            step.puzzles.tolist(), step.attempts.tolist(), step.answers, step.q_halt.tolist(), strict=True
        ):
            traces.setdefault((owner, attempt), []).append(TraceStep(step.step, domain.decode(answer), value))

    tokens = np.stack([work.tokens for work in works])
    streams = [work.index for work in works]
    for owner, found in try_copies(
        model, domain, tokens, effort.tries, streams, watch=watch if effort.trace else None
    ):
        of_try = traces.get((owner, found.attempt), [])
        yield works[owner], found, tuple(step for step in of_try if step.step <= found.steps)


def _conclude(domain: Domain, work: _Work) -> Solution:
    best, first, diagnosis, puzzle = work.best, work.first, work.diagnosis, work.puzzle
    assert best is not None  # `infer` finishes every row
    assert first is not None
    answer = domain.decode(best.tokens)
    verdict = domain.verify(puzzle.grid, answer)
    is_unique = diagnosis.solutions == 1
    reason = verdict.reason or verdict.note
    if not verdict.ok and best.of > 1:
        reason = (
            f"no answer of {best.of} attempts obeys the rules; of the best, attempt {best.attempt}: {reason}"
        )
    if not is_unique:
        of_answer = f"the answer is {verdict.note or 'one of them'}"
        if not verdict.ok:
            of_answer = f"the answer breaks a rule: {reason}"
        reason = f"{diagnosis.reason}; {of_answer}"
    return Solution(
        index=work.index,
        where=puzzle.where,
        status="multiple" if not is_unique else "solved" if verdict.ok else "unsolved",
        reason=reason,
        puzzle=puzzle,
        answer=answer,
        verified=verdict.ok,
        steps=best.steps,
        attempts=best.of,
        attempt=best.attempt,
        one_pass=first.faults <= 1,
        seconds=work.seconds,
        truth=diagnosis.solution,
        trace=work.trace,
    )
