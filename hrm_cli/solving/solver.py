"""Solves puzzles batch by batch and in order, and verifies the answers by the rules.

A batch first gets one pass. Puzzles whose answer breaks a rule get further effort (`hrm_cli.evaluation.effort`). Memory
is bounded by one batch, however long the file is. The copies and restarts of a puzzle depend on the seed and on its
position in the file, not on its batch.

Letters in shapes: b unfinished rows, S tokens of a puzzle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import compress, islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from hrm_cli.checkpoints.model_files import ModelCard
from hrm_cli.errors import CheckpointError, PuzzleError
from hrm_cli.evaluation.attempts import Attempt, Reasoner, has_rules, rank
from hrm_cli.evaluation.effort import Effort, Outcome, Progress, forward_flops, run_effort
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.puzzles.domain import (
    OWN_PUZZLES,
    BulkDomain,
    Diagnosis,
    Domain,
    Puzzle,
    Tokens,
    Unreadable,
    infer_domain,
    make_domain,
)
from hrm_cli.reporting import working_clock
from hrm_cli.solving.solution import CellChances, Solution, TraceStep, unreadable

if TYPE_CHECKING:
    from hrm_cli.puzzles.grids.domain import GridsDomain

StepListener = Callable[[int, int], None]
"""Called after every reasoning step with the step and the number of unfinished puzzles."""


def trained_domain(card: ModelCard) -> Domain:
    """The domain that a checkpoint was trained on. Raises CheckpointError if it is unknown."""
    facts = card.facts
    stated = dict(facts.domain)
    name = stated.pop("name", None)
    domain = make_domain(str(name), **stated) if name else infer_domain(facts.vocab_size, facts.seq_len)
    if domain is None:
        raise CheckpointError(
            f"{card.path}: its puzzles belong to no known domain ({facts.vocab_size} tokens, {facts.seq_len} cells)"
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
    effort: Effort | None = None,
    batch_size: int = 256,
    trace: bool = False,
    chances: bool = False,
    on_step: StepListener | None = None,
    progress: Progress | None = None,
    done: int = 0,
) -> Iterator[Solution]:
    """One `Solution` for every item of `puzzles`, in order. The solutions of a batch are yielded when it is finished.

    A puzzle whose answer breaks a rule gets further effort according to `effort` (None: no further effort). If no
    answer obeys the rules, the best one is returned: the one with the fewest rule violations, then with the highest
    confidence. `chances`: traces hold the model's probabilities, and solutions the search tree; batches are then
    smaller. `progress` receives the progress of further effort. `done`: puzzles of the file that were solved before.
    """
    flops, halt_name = None, Solution.halt_name
    if isinstance(model, ACTModel):
        flops = cache(partial(forward_flops, model.arch, domain.vocab_size, domain.seq_len))
        halt_name, model = model.arch.halt_name, FixedModel(model)
    effort = effort or Effort(max_steps)
    if chances:
        from hrm_cli.solving.tracing import traced_batch

        batch_size = traced_batch(domain, max_steps, batch_size, effort)
        effort = replace(effort, keeps_tree=True)
    how = _Pass(max_steps, adaptive, trace or chances, chances, on_step, progress, flops)
    deadline = None if effort.seconds is None else time.monotonic() + effort.seconds
    items = iter(puzzles)
    while batch := list(islice(items, batch_size)):
        if deadline is not None:
            effort = replace(effort, seconds=max(0.0, deadline - time.monotonic()))
        solved = _solve_batch(model, domain, batch, done, how, effort)
        yield from (replace(solution, halt_name=halt_name) for solution in solved)
        done += len(batch)


@dataclass(frozen=True)
class _Pass:
    """The options and callbacks of the first pass."""

    max_steps: int
    adaptive: bool
    trace: bool
    chances: bool
    on_step: StepListener | None
    progress: Progress | None
    flops: Callable[[], int] | None
    """FLOPs of one reasoning step."""


@dataclass
class _Work:
    """A puzzle in progress."""

    index: int
    puzzle: Puzzle
    tokens: Tokens
    diagnosis: Diagnosis
    first: Attempt | None = None
    """The first answer to the original puzzle."""
    later: Outcome | None = None
    """The outcome of further effort."""
    select: str | None = None
    """What chose among several attempts."""
    trace: tuple[TraceStep, ...] = ()
    seconds: float = 0.0

    @property
    def later_is_better(self) -> bool:
        """Whether further effort gave the best answer, or a selector chose it among all."""
        if self.later is None or self.first is None:
            return False
        if self.select not in (None, "verify"):
            return True
        return rank(self.later.violations, self.later.q_halt) < rank(self.first.violations, self.first.q_halt)


def _solve_batch(
    model: Reasoner,
    domain: Domain,
    items: Sequence[Puzzle | Unreadable],
    done: int,
    how: _Pass,
    effort: Effort,
) -> Iterator[Solution]:
    started = working_clock()
    examined: list[Solution | _Work] = []
    examined += [_examine(domain, item, index, started) for index, item in enumerate(items, done + 1)]
    works = [work for work in examined if isinstance(work, _Work)]
    if works and effort.selects_among_all:
        yield from _select_batch(model, domain, examined, works, how, effort, started)
        return
    if works:
        for work, result, trace in _try_once(model, domain, works, how):
            work.first, work.trace = result, trace
            work.seconds = working_clock() - started
    refused = [work for work in works if work.first is not None and work.first.violations]
    interruption: KeyboardInterrupt | None = None
    if refused and not effort.is_one_pass:
        try:
            for work, outcome, trace in _try_again(model, domain, refused, how, effort):
                work.later, work.select = outcome, "verify" if outcome.attempts > 1 else None
                work.seconds = working_clock() - started
                if work.later_is_better:
                    work.trace = trace
        except KeyboardInterrupt as error:
            # Yield the solutions found so far before raising the interrupt.
            interruption = error
    for one in examined:
        yield _conclude(domain, one, how.flops) if isinstance(one, _Work) else one
    if interruption is not None:
        raise interruption


def _select_batch(
    model: Reasoner,
    domain: Domain,
    examined: Sequence[Solution | _Work],
    works: Sequence[_Work],
    how: _Pass,
    effort: Effort,
    started: float,
) -> Iterator[Solution]:
    """All attempts at every puzzle, with the choice of a selector. An interrupt yields what is finished first."""
    from hrm_cli.evaluation.restarts import select_among_all
    from hrm_cli.solving.tracing import Traces

    traces, interruption = Traces(domain, with_chances=how.chances), None
    try:
        tokens, streams = np.stack([work.tokens for work in works]), [work.index for work in works]
        watch = traces.watch if how.trace else None
        for index, first, outcome in select_among_all(
            model, domain, tokens, effort, streams, adaptive=how.adaptive, watch=watch
        ):
            work = works[index]
            work.first, work.later, work.select = first, outcome, effort.select
            work.seconds = working_clock() - started
            work.trace = traces.of(index, outcome)
            if how.progress is not None:
                how.progress(outcome.how, sum(work.first is None for work in works))
    except KeyboardInterrupt as error:
        interruption = error
    for one in examined:
        if isinstance(one, Solution) or one.first is not None:
            yield one if isinstance(one, Solution) else _conclude(domain, one, how.flops)
    if interruption is not None:
        raise interruption


def _examine(domain: Domain, item: Puzzle | Unreadable, index: int, started: float) -> Solution | _Work:
    """Checks a puzzle without the model. Returns a final `Solution` if there is nothing to solve, else the `_Work`."""
    if isinstance(item, Unreadable):
        return unreadable(index, item, working_clock() - started)
    try:
        tokens = _encode(domain, item)
    except PuzzleError as error:
        # As with bundled models and own puzzles, what the model cannot take counts as wrong input.
        item = Unreadable(item.where, str(error), item.domain)
        return unreadable(index, item, working_clock() - started)
    try:
        diagnosis = domain.diagnose(item.grid)
        if diagnosis.solutions == 0:
            raise PuzzleError(diagnosis.reason)
    except PuzzleError as error:
        return Solution(index, item.where, "invalid", str(error), item, seconds=working_clock() - started)
    return _Work(index, item, tokens, diagnosis)


def _encode(domain: Domain, puzzle: Puzzle) -> Tokens:
    try:
        if puzzle.domain not in ("", domain.name):
            rows, columns = puzzle.grid.shape
            raise PuzzleError(f"{puzzle.domain} of {rows}×{columns} cells")
        return domain.encode(puzzle.grid)
    except PuzzleError as error:
        raise PuzzleError(
            f"the checkpoint was trained on {domain.describe()} puzzles, and this is a different kind: {error}"
        ) from None


def _try_once(
    model: Reasoner, domain: Domain, works: Sequence[_Work], how: _Pass
) -> Iterator[tuple[_Work, Attempt, tuple[TraceStep, ...]]]:
    """The model's first answer to each puzzle, yielded when the puzzle finishes."""
    tokens = np.stack([work.tokens for work in works])
    inputs = torch.from_numpy(tokens.astype(np.int32)).to(model.device)
    identifiers = torch.zeros(len(works), dtype=torch.int32, device=model.device)
    traces: list[list[TraceStep]] = [[] for _ in works]
    for step in model.infer(inputs, identifiers, how.max_steps, adaptive=how.adaptive):
        rows, finished = step.rows.cpu().numpy(), step.finished.cpu().numpy()
        wanted = np.ones_like(finished) if how.trace else finished
        if wanted.any():
            answers = step.predictions.cpu().numpy()[wanted].astype(tokens.dtype)
            values = step.q_halt.float().cpu().numpy()[wanted].tolist()
            chances: Sequence[CellChances | None] = [None] * len(rows)
            if how.chances and step.logits is not None:
                from hrm_cli.solving.tracing import chances_of

                chances = chances_of(step.logits)
            for row, answer, value, chance, is_last in zip(
                rows[wanted], answers, values, compress(chances, wanted), finished[wanted], strict=True
            ):
                if how.trace:
                    traces[row].append(TraceStep(step.step, domain.decode(answer), value, chance))
                if is_last:
                    violations = _violations(domain, works[row], answer)
                    yield works[row], Attempt(answer, violations, value, step.step, 1), tuple(traces[row])
        if how.on_step is not None:
            how.on_step(step.step, len(rows))


def _violations(domain: Domain, work: _Work, answer: Tokens) -> int:
    if has_rules(domain):
        return int(cast(BulkDomain, domain).violations(work.tokens[None], answer[None])[0])
    if domain.name == OWN_PUZZLES:
        return 0  # without rules no answer can be rejected, so there is no further effort
    return 0 if domain.verify(work.puzzle.grid, domain.decode(answer)).ok else 2


def _try_again(
    model: Reasoner, domain: Domain, works: Sequence[_Work], how: _Pass, effort: Effort
) -> Iterator[tuple[_Work, Outcome, tuple[TraceStep, ...]]]:
    """The outcome of further effort for each puzzle, with the steps of the attempt that gave the answer."""
    from hrm_cli.solving.tracing import Traces, recomputed

    traces, tokens = Traces(domain, with_chances=how.chances), np.stack([work.tokens for work in works])
    streams = [work.index for work in works]
    for owner, outcome in run_effort(
        model,
        domain,
        tokens,
        effort,
        streams,
        watch=traces.watch if how.trace else None,
        progress=how.progress,
    ):
        trace = traces.of(owner, outcome)
        if how.trace and (pinned := outcome.pinned) is not None:
            trace = recomputed(model, domain, tokens[owner], pinned, outcome.steps, with_chances=how.chances)
        yield works[owner], outcome, trace


def _conclude(domain: Domain, work: _Work, flops: Callable[[], int] | None) -> Solution:
    first, later, diagnosis, puzzle = work.first, work.later, work.diagnosis, work.puzzle
    assert first is not None  # `infer` finishes every row
    best: Attempt | Outcome = later if later is not None and work.later_is_better else first
    if domain.name == OWN_PUZZLES:
        return _answered(cast("GridsDomain", domain), work, best, flops)
    answer = domain.decode(best.tokens)
    verdict = domain.verify(puzzle.grid, answer)
    reason = verdict.reason or verdict.note
    if not verdict.ok and later is not None and later.work and work.select == "verify":
        reason = f"no answer of {later.describe()} obeys the rules; the best, {_origin(best)}: {reason}"
    has_several = (diagnosis.solutions or 0) > 1
    if diagnosis.solutions is None:
        reason = "; ".join(filter(None, (reason, diagnosis.reason)))
    if has_several:
        of_answer = f"is {verdict.note or 'one of them'}" if verdict.ok else f"breaks a rule: {reason}"
        reason = f"{diagnosis.reason}; the answer {of_answer}"
    return Solution(
        **_efforts_of(work, best, flops),
        status="multiple" if has_several else "solved" if verdict.ok else "unsolved",
        reason=reason,
        puzzle=puzzle,
        answer=answer,
        verified=verdict.ok,
        one_pass=first.violations <= 1,
        truth=diagnosis.solution,
        trace=work.trace,
        tree=() if later is None else later.tree,
    )


def _efforts_of(work: _Work, best: Attempt | Outcome, flops: Callable[[], int] | None) -> dict[str, Any]:
    """How an answer was found and what it cost: fields of `Solution`."""
    first, later = work.first, work.later
    assert first is not None
    return {
        "index": work.index,
        "where": work.puzzle.where,
        "steps": best.steps,
        "attempts": max(1, later.attempts) if later is not None else 1,
        "attempt": best.attempt,
        "how": best.how if isinstance(best, Outcome) else "pass",
        "select": work.select,
        "agreeing": later.agreeing if later is not None and work.select not in (None, "verify") else None,
        "nodes": later.nodes if later is not None else 0,
        "total_steps": first.steps + (later.work if later is not None else 0),
        "step_flops": flops,
        "seconds": work.seconds,
    }


def _answered(
    domain: GridsDomain, work: _Work, best: Attempt | Outcome, flops: Callable[[], int] | None
) -> Solution:
    """The answer to an own puzzle in the user's symbols, and the expected output if the file has one.

    It is solved if a function of the user verifies it, and answered if there is none.
    """
    answer, expected = domain.decode(best.tokens), work.puzzle.solution
    assert work.first is not None
    details: dict[str, Any] = {"output": domain.record(answer)}
    if expected is not None:
        details["as_expected"] = bool(np.array_equal(answer, expected))
    fault, is_checked = domain.fault(answer), has_rules(domain)
    if is_checked and not fault:
        fault = domain.verify(work.puzzle.grid, answer).reason
    is_other = details.get("as_expected") is False
    return Solution(
        **_efforts_of(work, best, flops),
        status="unsolved" if fault else "solved" if is_checked else "answered",
        reason=fault or ("the file gives a different output" if is_other else ""),
        puzzle=work.puzzle,
        answer=answer,
        verified=is_checked and not fault,
        one_pass=is_checked and work.first.violations == 0,
        truth=expected,
        trace=work.trace,
        details=details,
    )


def _origin(best: Attempt | Outcome) -> str:
    if isinstance(best, Outcome):
        return "a search node" if best.how == "search" else f"attempt {best.attempt}"
    return "the first pass"
