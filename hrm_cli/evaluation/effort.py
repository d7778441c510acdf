"""How hard a puzzle is tried whose first answer breaks a rule: copies of it, search, restarts, under a stated budget.

One stage after another works on the puzzles that are still open, the one that solves most for its steps first. An
answer counts once the rules verify it; every outcome says which stage found it and what it took.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from hrm_cli.accounting.components import components
from hrm_cli.accounting.flops import step_flops
from hrm_cli.config.schema import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.attempts import Reasoner, Tries, Watch, has_rules, rank, try_copies
from hrm_cli.evaluation.restarts import NOISE_INIT
from hrm_cli.evaluation.search import NO_ANSWER, NODE_STEPS, NODES, SearchLimits, cannot_pin, search_puzzles
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.noise import NoiseScales
from hrm_cli.puzzles.domain import Domain, Tokens, can_pin

Level = Literal["low", "medium", "high"]
How = Literal["pass", "copies", "search", "restarts"]
Progress = Callable[[How, int], None]
"""Called with the current stage and the number of open puzzles."""

COPIES = 8
"""Augmented copies of a puzzle, where copies can get other answers."""
RESTARTS = 8
"""Restarts where cells cannot be pinned; four times as many at high effort."""
NODES_AT_HIGH = 512


@dataclass(frozen=True)
class Effort:
    """Budget for a puzzle once its first answer has failed."""

    attempt_steps: int
    """ACT steps of each copy and restart at most."""
    copies: int = 1
    """Augmented copies, the puzzle itself among them; 1: no such stage."""
    nodes: int = 0
    """Of the search at most; 0: none."""
    node_steps: int = NODE_STEPS
    rules: bool = False
    """Whether search discards nodes that plain propagation of the rules refutes."""
    restarts: int = 0
    """Noisy starts; 0: none."""
    noise: NoiseScales = NoiseScales(initial=NOISE_INIT)  # noqa: RUF009
    """Of restarts."""
    seconds: float | None = None
    """Time for all stages and all puzzles together; None: none."""
    seed: int = 0
    batch_size: int = 256

    @property
    def is_one_pass(self) -> bool:
        """Whether nothing follows the first answer."""
        return self.copies <= 1 and self.nodes < 1 and self.restarts < 1


def effort_of_level(
    level: Level,
    arch: ArchConfig,
    domain: Domain,
    attempt_steps: int,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Effort:
    """The stages of a level: copies where they can get other answers, search where cells can be pinned, else restarts.

    Without rules nothing can be verified, and every level is one pass.
    """
    one_pass = Effort(attempt_steps, seed=seed, batch_size=batch_size)
    if not has_rules(domain):
        return one_pass
    copies = replace(one_pass, copies=1 if arch.is_equivariant else COPIES)
    if level == "low":
        return copies
    is_high = level == "high"
    if can_pin(domain):
        return replace(copies, nodes=NODES_AT_HIGH if is_high else NODES)
    return replace(copies, restarts=(4 if is_high else 1) * RESTARTS)


@dataclass(frozen=True)
class AskedEffort:
    """The user's request for further effort; None leaves it to the level, and the level to the model."""

    level: Level | None = None
    """None: medium for bundled models; else, or where a stage is requested by name, only what is requested."""
    copies: int | None = None
    nodes: int | None = None
    node_steps: int | None = None
    rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None

    def of(
        self,
        arch: ArchConfig,
        domain: Domain,
        attempt_steps: int,
        *,
        is_bundled: bool = False,
        seed: int = 0,
        batch_size: int = 256,
    ) -> Effort:
        """The effort for a model and its domain. Raises ConfigError for a stage that the domain cannot have."""
        names_stages = any(value is not None for value in (self.copies, self.nodes, self.restarts))
        level = self.level or ("medium" if is_bundled and not names_stages else None)
        effort = Effort(attempt_steps, seed=seed, batch_size=batch_size)
        if level is not None:
            effort = effort_of_level(level, arch, domain, attempt_steps, seed=seed, batch_size=batch_size)
        if (self.nodes or 0) > 0 and not can_pin(domain):
            raise ConfigError(f"--search: {cannot_pin(domain)}")
        if (self.restarts or 0) > 0 and not has_rules(domain):
            raise ConfigError(f"--restarts: {domain.describe()} has no rules that could verify an answer")
        noise = NoiseScales(
            effort.noise.initial if self.noise_init is None else self.noise_init,
            effort.noise.step if self.noise is None else self.noise,
        )
        given = {
            "copies": self.copies,
            "nodes": self.nodes,
            "node_steps": self.node_steps,
            "restarts": self.restarts,
            "seconds": self.seconds,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(effort, noise=noise, rules=self.rules, **chosen)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Outcome:
    """The result of further effort for a puzzle; of failed answers the one with the fewest rule violations."""

    tokens: Tokens
    """`[S]`"""
    violations: int
    """As `BulkDomain.violations` counts them: 0 where the rules verify it."""
    how: How
    """The stage that found it."""
    steps: int
    """ACT steps of the attempt, or at the node, that found it."""
    q_halt: float = -math.inf
    """How confident the model was, as a logit; of search it is not known."""
    attempt: int = 1
    """Which copy or restart it was; 1 is the puzzle itself."""
    attempts: int = 0
    """Copies and restarts tried, in all stages."""
    nodes: int = 0
    """Nodes of the search begun."""
    pinned: Tokens | None = None
    """The puzzle with its pins, `[S]`, where search found the answer."""
    work: int = 0
    """ACT steps of all stages together, beyond the first pass."""

    def then(self, later: Outcome) -> Outcome:
        """This and what a later stage found, with the efforts of both."""
        best = later if rank(later.violations, later.q_halt) < rank(self.violations, self.q_halt) else self
        return replace(
            best,
            attempts=self.attempts + later.attempts,
            nodes=self.nodes + later.nodes,
            work=self.work + later.work,
        )


def forward_flops(arch: ArchConfig, vocab_size: int, seq_len: int) -> int:
    """FLOPs of an ACT step of inference for one puzzle: what `work` counts."""
    return step_flops(components(arch, vocab_size, seq_len)).forward


Stage = Callable[[NDArray[np.int64], float | None], Iterator[tuple[int, Outcome]]]
"""Works on some puzzles (indices) for so many seconds: outcomes with their place among these."""


def try_harder(
    model: Reasoner,
    domain: Domain,
    puzzles: Tokens,
    effort: Effort,
    streams: Sequence[int],
    *,
    puzzle_identifiers: NDArray[np.int32] | None = None,
    watch: Watch | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """What the stages of `effort` make of `puzzles` `[n, S]` whose first answers failed, each with its index, once.

    A solved puzzle comes as soon as it is; the others at the end. What a puzzle's copies and restarts are follows from
    the seed and from its number in `streams`. `watch` sees the steps of copies and restarts. Search needs a
    `FixedModel`.
    """
    deadline = math.inf if effort.seconds is None else time.monotonic() + effort.seconds
    open_puzzles = {
        index: Outcome(puzzle, NO_ANSWER, "pass", steps=0) for index, puzzle in enumerate(puzzles)
    }
    stages = _Stages(model, domain, puzzles, effort, streams, puzzle_identifiers, watch, progress)
    for how, stage in stages.planned():
        seconds = None if effort.seconds is None else deadline - time.monotonic()
        if not open_puzzles or (seconds is not None and seconds <= 0):
            break
        rows = np.array(sorted(open_puzzles), np.int64)
        if progress is not None:
            progress(how, len(rows))
        for place, found in stage(rows, seconds):
            index = int(rows[place])
            outcome = open_puzzles[index].then(found)
            if outcome.violations == 0:
                del open_puzzles[index]
                yield index, outcome
            else:
                open_puzzles[index] = outcome
            if progress is not None:
                progress(how, len(open_puzzles))
    yield from open_puzzles.items()


@dataclass(frozen=True)
class _Stages:
    """What there is to try."""

    model: Reasoner
    domain: Domain
    puzzles: Tokens
    effort: Effort
    streams: Sequence[int]
    puzzle_identifiers: NDArray[np.int32] | None
    watch: Watch | None
    progress: Progress | None

    def planned(self) -> list[tuple[How, Stage]]:
        """The stages of this effort in their order."""
        stages: list[tuple[How, Stage, bool]] = [
            ("copies", self._copies, self.effort.copies > 1),
            ("search", self._search, self.effort.nodes > 0),
            ("restarts", self._restarts, self.effort.restarts > 0),
        ]
        return [(how, stage) for how, stage, is_wanted in stages if is_wanted]

    def _copies(self, rows: NDArray[np.int64], seconds: float | None) -> Iterator[tuple[int, Outcome]]:
        effort = self.effort
        tries = Tries(effort.copies, effort.attempt_steps, effort.seed, effort.batch_size, seconds=seconds)
        return self._tries("copies", rows, tries)

    def _restarts(self, rows: NDArray[np.int64], seconds: float | None) -> Iterator[tuple[int, Outcome]]:
        effort = self.effort
        # The puzzle itself without noise, deeper, is the first of them.
        tries = Tries(
            effort.restarts + 1, effort.attempt_steps, effort.seed, effort.batch_size,
            copies=False, noise=effort.noise, seconds=seconds,
        )  # fmt: skip
        return self._tries("restarts", rows, tries)

    def _tries(self, how: How, rows: NDArray[np.int64], tries: Tries) -> Iterator[tuple[int, Outcome]]:
        streams = [self.streams[row] for row in rows.tolist()]
        for place, found in try_copies(
            self.model, self.domain, self.puzzles[rows], tries, streams,
            puzzle_identifiers=self._identifiers(rows), watch=self.watch,
        ):  # fmt: skip
            yield (
                place,
                Outcome(
                    found.tokens,
                    found.violations,
                    how,
                    found.steps,
                    found.q_halt,
                    found.attempt,
                    found.of,
                    work=found.work,
                ),
            )

    def _search(self, rows: NDArray[np.int64], seconds: float | None) -> Iterator[tuple[int, Outcome]]:
        effort, progress = self.effort, self.progress
        limits = SearchLimits(effort.nodes, effort.node_steps, seconds, rules=effort.rules)
        for place, found in search_puzzles(
            cast(FixedModel, self.model), self.domain, self.puzzles[rows], limits,
            puzzle_identifiers=self._identifiers(rows),
            on_step=None if progress is None else lambda left: progress("search", left),
        ):  # fmt: skip
            yield place, Outcome(
                found.tokens, found.violations, "search", found.node_steps, nodes=found.nodes,
                pinned=found.pinned, work=found.steps,
            )  # fmt: skip

    def _identifiers(self, rows: NDArray[np.int64]) -> NDArray[np.int32] | None:
        return None if self.puzzle_identifiers is None else self.puzzle_identifiers[rows]
