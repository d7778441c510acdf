"""Parallel attempts at a puzzle (augmented copies or noisy starts) until the rules verify an answer.

All copies of all puzzles share one batch. After every step each answer is mapped back to its puzzle and checked by the
rules. Once an answer is verified, all copies of its puzzle finish. The model's halting decision is ignored here,
because the rules have rejected the answer; a row finishes when its answer has not changed for many steps.

Letters in shapes: n puzzles, b unfinished rows, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.models.act import InferenceStep
from hrm_cli.models.inference import NoisyReasoner, Reasoner
from hrm_cli.models.rng import NO_NOISE, NoiseScales, RowNoise
from hrm_cli.puzzles.domain import OWN_PUZZLES, BulkDomain, Domain, Tokens

NO_ANSWER = 2**31 - 1
"""Number of violations before the model has answered."""
NODES = 64
"""Default number of search nodes per puzzle."""
NODE_STEPS = 24
"""Default number of ACT steps per search node."""

SAMPLES_PER_SYMMETRY = 4
"""Symmetries sampled per symmetry needed: small groups, such as that of mazes, often repeat one."""


SETTLED_AFTER = 8
"""Number of steps without change after which a copy's wrong answer counts as final."""

ATTEMPT_STEPS_RATIO = 2
"""Ratio of the steps of an attempt to the steps of the first answer."""


def default_attempt_steps(steps: int) -> int:
    """Default maximum steps of an attempt."""
    return ATTEMPT_STEPS_RATIO * steps


class Symmetries(Protocol):
    """n symmetries of puzzles and answers, as copies of a puzzle at inference need them."""

    @property
    def tokens(self) -> NDArray[np.integer[Any]]:
        """New token of each old token, `[n, V]`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: NDArray[Any]) -> Self: ...
    def apply(self, tokens: Tokens) -> Tokens:
        """The copies of puzzles `[n, S]`; of the inverse, answers mapped back."""

    def sources(self, tokens: Tokens) -> NDArray[np.integer[Any]]:
        """The cell that each cell of `apply(tokens)` comes from, `[n, S]`; −1 for cells that come from none."""

    def inverse(self) -> Self:
        """The inverse symmetries."""

    def identity(self) -> Self:
        """The identity of the same group."""

    def joined(self, others: Sequence[Self]) -> Self:
        """These symmetries, followed by others."""

    def names(self) -> list[bytes]:
        """A key for each symmetry; equal keys mean equal symmetries."""


@dataclass(frozen=True)
class AttemptBudget:
    """Budget of attempts for one puzzle."""

    count: int
    """Largest number of attempts at a puzzle, including the puzzle itself."""
    max_steps: int
    """Largest number of reasoning steps per attempt."""
    seed: int = 0
    batch_size: int = 256
    """Attempts per batch; the attempts at one puzzle stay in one batch."""
    copies: bool = True
    """Whether attempts are augmented copies of the puzzle. If not, each is the puzzle itself and only noise differs."""
    noise: NoiseScales = NO_NOISE
    """Noise on the states of all attempts except the first."""
    seconds: float | None = None
    """Time limit for all puzzles together; unsolved puzzles are then given up. None: no limit."""


@dataclass(frozen=True)
class Attempt:
    """One answer to a puzzle."""

    tokens: Tokens
    """The answer mapped back to the original puzzle, `[S]`."""
    violations: int
    """Rule violations as counted by `BulkDomain.violations`; 0 if the answer is verified."""
    q_halt: float
    """Halt value (logit): the model's confidence."""
    steps: int
    attempt: int
    """Number of the attempt: 1 is the puzzle itself, the others are augmented copies or noisy starts."""
    of: int = 1
    """Number of attempts made."""
    work: int = 0
    """Total reasoning steps of all attempts."""

    def is_better_than(self, other: Attempt | None) -> bool:
        """Compares by fewer rule violations, then by higher confidence."""
        if other is None:
            return True
        return rank(self.violations, self.q_halt) < rank(other.violations, other.q_halt)


def rank(violations: int, q_halt: float) -> tuple[int, float]:
    """Sort key for answers, best first: fewer rule violations, then higher confidence."""
    # A diverged model gives NaN, which cannot be compared.
    return violations, -q_halt if math.isfinite(q_halt) else math.inf


@dataclass(frozen=True)
class AttemptsStep:
    """The answers of all running attempts after a step, for traces."""

    step: int
    are_copies: bool
    """Whether the attempts are augmented copies, and not restarts."""
    puzzles: NDArray[np.int64]
    """Index of each row's puzzle, `[b]`."""
    attempts: NDArray[np.int64]
    """Attempt number of each row, `[b]`."""
    answers: Tokens
    """Answers mapped back to the original puzzle, `[b, S]`."""
    q_halt: NDArray[np.float32]
    """`[b]`"""
    predictions: Tokens
    """Answers before they are mapped back, `[b, S]`."""
    back: Symmetries
    """The symmetry that maps each row back to the original puzzle."""
    logits: Tensor | None = None
    """Logits before they are mapped back, `[b, S, V]`."""

    @classmethod
    def of(
        cls, step: InferenceStep, rows: NDArray[np.integer[Any]], copies: Copies, back: Symmetries, dtype: Any
    ) -> AttemptsStep:
        """Those of `rows` (indices) of a step of the model. `back`: the inverse symmetries of all copies."""
        made = step.rows.cpu().numpy()[rows]
        predictions = step.predictions.cpu().numpy().astype(dtype)[rows]
        mapped = back[made]
        return cls(
            step.step,
            copies.are_copies,
            copies.puzzles[made],
            copies.attempts[made],
            mapped.apply(predictions),
            step.q_halt.float().cpu().numpy()[rows],
            predictions,
            mapped,
            None if step.logits is None else step.logits[torch.from_numpy(rows).to(step.logits.device)],
        )


Watch = Callable[[AttemptsStep], None]


def has_rules(domain: Domain) -> bool:
    """Whether rules can check answers.

    ARC and own puzzles have no rules, so further attempts could never be verified.
    """
    return hasattr(domain, "violations")


def try_copies(
    model: Reasoner,
    domain: Domain,
    puzzles: Tokens,
    budget: AttemptBudget,
    streams: Sequence[int],
    *,
    puzzle_identifiers: NDArray[np.int32] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[int, Attempt]]:
    """The best attempt at each of `puzzles` `[n, S]` with its index: once one is verified, or when no steps are left.

    A puzzle for which no time is left is not yielded. Its symmetries depend only on the seed and on its number in
    `streams`, not on the other puzzles.
    """
    together = max(1, budget.batch_size // budget.count)
    deadline = math.inf if budget.seconds is None else time.monotonic() + budget.seconds
    for start in range(0, len(puzzles), together):
        if time.monotonic() >= deadline:
            return
        rows = range(start, min(start + together, len(puzzles)))
        copies = Copies.of(domain, puzzles, rows, budget, streams)
        yield from _try_batch(
            model,
            cast(BulkDomain, domain),
            puzzles,
            copies,
            budget,
            streams,
            puzzle_identifiers,
            watch,
            deadline,
        )


@dataclass(frozen=True)
class Copies:
    """The rows of one batch: copies of its puzzles under symmetries."""

    puzzles: NDArray[np.int64]
    """Index of each row's puzzle, `[b]`."""
    attempts: NDArray[np.int64]
    symmetries: Symmetries
    are_copies: bool = True
    """Whether the attempts are augmented copies, and not restarts."""

    @classmethod
    def of(
        cls,
        domain: Domain,
        puzzles: Tokens,
        rows: Sequence[int],
        budget: AttemptBudget,
        streams: Sequence[int],
    ) -> Copies:
        """The copies of the puzzles `rows`, grouped by puzzle, the puzzle itself first."""
        drawn = [_distinct(domain, budget, streams[row]) for row in rows]
        counts = [len(symmetries) for symmetries in drawn]
        return cls(
            np.repeat(np.asarray(rows, np.int64), counts),
            np.concatenate([np.arange(1, count + 1) for count in counts]),
            drawn[0].joined(drawn[1:]),
            budget.copies,
        )

    def begin(
        self,
        model: Reasoner,
        puzzles: Tokens,
        budget: AttemptBudget,
        streams: Sequence[int],
        puzzle_identifiers: NDArray[np.int32] | None = None,
        *,
        adaptive: bool,
    ) -> Generator[InferenceStep, Tensor | None, None]:
        """The model's steps on these copies of `puzzles` `[n, S]`; the first attempt at a puzzle has no noise."""
        owners = self.puzzles
        inputs = torch.from_numpy(self.symmetries.apply(puzzles[owners]).astype(np.int32)).to(model.device)
        known_by = (
            np.zeros(len(owners), np.int32) if puzzle_identifiers is None else puzzle_identifiers[owners]
        )
        identifiers = torch.from_numpy(known_by).to(model.device)
        if budget.noise.is_off:
            return model.infer(inputs, identifiers, budget.max_steps, adaptive=adaptive)
        seeds = [
            None if attempt == 1 else (budget.seed, streams[owner], attempt)
            for owner, attempt in zip(owners.tolist(), self.attempts.tolist(), strict=True)
        ]
        noisy = cast(NoisyReasoner, model)
        noise = RowNoise(budget.noise, seeds)
        return noisy.infer(inputs, identifiers, budget.max_steps, adaptive=adaptive, noise=noise)


def _distinct(domain: Domain, budget: AttemptBudget, stream: int) -> Symmetries:
    """The identity, followed by distinct symmetries; fewer than requested if the group has no more."""
    wanted = budget.count - 1 if budget.copies else 0
    drawn = _sampled(
        domain, np.random.default_rng([budget.seed, stream]), max(1, SAMPLES_PER_SYMMETRY * wanted)
    )
    identity = drawn.identity()
    if not wanted:
        return identity[np.zeros(budget.count, np.int64)]
    known, chosen = {identity.names()[0]}, list[int]()
    for row, name in enumerate(drawn.names()):
        if name not in known and len(chosen) < wanted:
            known.add(name)
            chosen.append(row)
    return identity.joined([drawn[np.array(chosen, np.int64)]])


def _sampled(domain: Domain, rng: np.random.Generator, count: int) -> Symmetries:
    if domain.name == OWN_PUZZLES:
        from hrm_cli.puzzles.grids.domain import GridsDomain
        from hrm_cli.puzzles.grids.symmetry import GridSymmetries

        return GridSymmetries.sample(cast(GridsDomain, domain), rng, count)
    return domain.sample_symmetries(rng, count)


def _try_batch(
    model: Reasoner,
    domain: BulkDomain,
    puzzles: Tokens,
    copies: Copies,
    budget: AttemptBudget,
    streams: Sequence[int],
    puzzle_identifiers: NDArray[np.int32] | None,
    watch: Watch | None,
    deadline: float,
) -> Iterator[tuple[int, Attempt]]:
    owners = copies.puzzles
    back = copies.symmetries.inverse()
    totals = dict(zip(*np.unique(owners, return_counts=True), strict=True))
    judged = _ViolationCounter(domain, puzzles[owners])
    best: dict[int, Attempt] = {}
    work = dict.fromkeys(totals, 0)
    steps = copies.begin(model, puzzles, budget, streams, puzzle_identifiers, adaptive=False)
    done = np.zeros(len(owners), np.bool_)
    step = next(steps, None)
    while step is not None:
        rows = step.rows.cpu().numpy()
        open_rows = np.flatnonzero(~done[rows])
        open_copies = rows[open_rows]
        given = AttemptsStep.of(step, open_rows, copies, back, puzzles.dtype)
        answers, q_halt = given.answers, given.q_halt
        violations = judged.violations(open_copies, answers)
        for owner, count in zip(*np.unique(owners[open_copies], return_counts=True), strict=True):
            work[int(owner)] += int(count)
        if watch is not None:
            watch(given)
        for i in _may_improve(owners[open_copies], violations, best):
            owner, attempt = int(owners[open_copies[i]]), int(copies.attempts[open_copies[i]])
            found, halt_value = int(violations[i]), float(q_halt[i])
            one = Attempt(answers[i], found, halt_value, step.step, attempt, int(totals[owner]))
            if one.is_better_than(best.get(owner)):
                best[owner] = one
        solved = [owner for owner in np.unique(owners[open_copies]).tolist() if best[owner].violations == 0]
        yield from ((owner, replace(best.pop(owner), work=work[owner])) for owner in solved)
        done |= np.isin(owners, solved)
        done[open_copies[judged.settled_rows(open_copies)]] = True
        if done[rows].all() or time.monotonic() >= deadline:
            break
        leaving = torch.from_numpy(done[rows]).to(step.rows.device)
        try:
            step = steps.send(leaving)
        except StopIteration:
            break
    yield from ((owner, replace(one, work=work[owner])) for owner, one in best.items())


class _ViolationCounter:
    """Counts rule violations, and recounts only answers that have changed since the previous step."""

    def __init__(self, domain: BulkDomain, puzzles: Tokens) -> None:
        self._domain, self._puzzles = domain, puzzles
        self._answers = np.zeros_like(puzzles)
        self._is_new = np.ones(len(puzzles), np.bool_)
        self._violations = np.zeros(len(puzzles), np.int64)
        self._unchanged = np.zeros(len(puzzles), np.int64)

    def violations(self, rows: NDArray[np.int64], answers: Tokens) -> NDArray[np.int64]:
        changed = (self._answers[rows] != answers).any(axis=1) | self._is_new[rows]
        self._is_new[rows] = False
        self._unchanged[rows] = np.where(changed, 0, self._unchanged[rows] + 1)
        if changed.any():
            fresh = rows[changed]
            self._answers[fresh] = answers[changed]
            self._violations[fresh] = self._domain.violations(self._puzzles[fresh], answers[changed])
        return self._violations[rows]

    def settled_rows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows whose answer has not changed for many steps, `[b]`."""
        return self._unchanged[rows] >= SETTLED_AFTER


def _may_improve(
    owners: NDArray[np.int64], violations: NDArray[np.int64], best: dict[int, Attempt]
) -> NDArray[np.intp]:
    """Rows that may be better than the best attempt so far. The filter avoids a Python object for every other row."""
    bound = np.array(
        [best[owner].violations if owner in best else np.iinfo(np.int64).max for owner in owners.tolist()]
    )
    return np.flatnonzero(violations <= bound)
