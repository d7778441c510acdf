"""Further effort on puzzles whose first answer breaks a rule: augmented copies, search, restarts, within a budget.

The stages run one after the other on the unsolved puzzles, the most step-efficient stage first. A puzzle is solved once
the rules verify an answer. Every outcome records the stage that found it and its cost.

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.schema import ArchConfig
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.attempts import (
    NO_ANSWER,
    NODE_STEPS,
    NODES,
    AttemptBudget,
    Reasoner,
    Watch,
    has_rules,
    rank,
    try_copies,
)
from hrm_cli.models.inference import FixedModel
from hrm_cli.models.rng import NO_NOISE, NOISE_INIT, NoiseScales
from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain, Tokens, can_pin

if TYPE_CHECKING:
    from hrm_cli.evaluation.search import SearchNode
    from hrm_cli.evaluation.selection import Select

Level = Literal["low", "medium", "high"]
How = Literal["pass", "copies", "search", "restarts"]
Progress = Callable[[How, int], None]
"""Called with the current stage and the number of unsolved puzzles."""

COPIES = 8
"""Number of augmented copies, for models whose answers to copies can differ."""
RESTARTS = 8
"""Number of restarts in domains without blank cells; four times as many at high effort."""
NODES_AT_HIGH = 512


@dataclass(frozen=True)
class Effort:
    """Budget for a puzzle once its first answer has failed."""

    attempt_steps: int
    """Largest number of ACT steps per copy or restart."""
    copies: int = 1
    """Augmented copies, including the puzzle itself; 1: skip this stage."""
    nodes: int = 0
    """Largest number of search nodes; 0: no search."""
    node_steps: int = NODE_STEPS
    rules: bool = False
    """Whether search discards nodes that constraint propagation proves unsolvable."""
    restarts: int = 0
    """Restarts with noise; 0: none."""
    noise: NoiseScales = NoiseScales(initial=NOISE_INIT)  # noqa: RUF009
    """Noise of restarts."""
    seconds: float | None = None
    """Time limit for all stages and all puzzles together; None: no limit."""
    seed: int = 0
    batch_size: int = 256
    select: Select = "verify"
    """verify: further effort stops at the first verified answer. Others: choose among all copies or restarts."""
    keeps_tree: bool = False
    """Whether outcomes hold the tree of their search."""

    @property
    def is_one_pass(self) -> bool:
        """Whether nothing follows the first answer."""
        return self.copies <= 1 and self.nodes < 1 and self.restarts < 1

    @property
    def selects_among_all(self) -> bool:
        """Whether all copies or restarts are made at every puzzle, and a selector chooses among their answers."""
        return self.select != "verify" and not self.is_one_pass

    def tries(self, how: How, seconds: float | None = None) -> AttemptBudget:
        """The attempts of the stage `copies` or `restarts`. The first is the puzzle itself without noise."""
        is_copies = how == "copies"
        count, noise = (self.copies, NO_NOISE) if is_copies else (self.restarts + 1, self.noise)
        return AttemptBudget(
            count, self.attempt_steps, self.seed, self.batch_size,
            copies=is_copies, noise=noise, seconds=seconds,
        )  # fmt: skip

    @property
    def attempts_by(self) -> How:
        """The stage whose attempts a selector chooses among."""
        return "copies" if self.copies > 1 else "restarts"


def effort_of_level(
    level: Level,
    arch: ArchConfig,
    domain: Domain,
    attempt_steps: int,
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Effort:
    """The stages of a level: copies if answers to them can differ, search where cells can be pinned, or restarts.

    Without rules nothing can be verified, so every level is a single pass.
    """
    one_pass = _one_pass(domain, attempt_steps, seed, batch_size)
    if not has_rules(domain):
        return one_pass
    copies = replace(one_pass, copies=COPIES if _copies_differ(arch, domain) else 1)
    if level == "low":
        return copies
    nodes, restarts = (NODES_AT_HIGH, 4 * RESTARTS) if level == "high" else (NODES, RESTARTS)
    if can_pin(domain) and domain.blank_token is not None:
        return replace(copies, nodes=nodes)
    return replace(copies, nodes=nodes * can_pin(domain), restarts=restarts)


def _one_pass(domain: Domain, attempt_steps: int, seed: int, batch_size: int) -> Effort:
    # Without blank cells, as in a maze, a node gives no part of the answer and needs as many steps as a first pass.
    node_steps = NODE_STEPS if domain.blank_token is not None else max(NODE_STEPS, attempt_steps // 2)
    return Effort(attempt_steps, node_steps=node_steps, seed=seed, batch_size=batch_size)


def _copies_differ(arch: ArchConfig, domain: Domain) -> bool:
    """Whether a model can give augmented copies of a puzzle different answers."""
    has_symmetries = domain.name != OWN_PUZZLES or bool(getattr(domain, "symmetries", ()))
    return has_symmetries and not arch.is_equivariant


@dataclass(frozen=True)
class EffortRequest:
    """The user's request for further effort. None uses the default of the level; a level of None uses the model's."""

    level: Level | None = None
    """None: medium for bundled models.

    For other models, or if a stage is requested by name: only the requested stages.
    """
    copies: int | None = None
    nodes: int | None = None
    node_steps: int | None = None
    rules: bool = False
    restarts: int | None = None
    noise_init: float | None = None
    noise: float | None = None
    seconds: float | None = None
    select: Select | None = None
    """None: verify where rules exist, else agreement."""

    def of(
        self,
        arch: ArchConfig,
        domain: Domain,
        attempt_steps: int,
        *,
        pass_steps: int | None = None,
        is_bundled: bool = False,
        seed: int = 0,
        batch_size: int = 256,
    ) -> Effort:
        """The effort for a model and its domain. Raises ConfigError for a stage that the domain does not support.

        `pass_steps`: what a first answer may take, and so attempts that another selector than verify chooses among.
        """
        names_stages = any(value is not None for value in (self.copies, self.nodes, self.restarts))
        level = self.level or ("medium" if is_bundled and not names_stages else None)
        effort = _one_pass(domain, attempt_steps, seed, batch_size)
        if level is not None:
            effort = effort_of_level(level, arch, domain, attempt_steps, seed=seed, batch_size=batch_size)
        if (self.nodes or 0) > 0 and not can_pin(domain):
            from hrm_cli.evaluation.search import cannot_pin

            raise ConfigError(f"--search: {cannot_pin(domain)}")
        select = self._selector(domain)
        if select != "verify" and pass_steps is not None:
            effort = replace(effort, attempt_steps=pass_steps)
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
        return replace(effort, noise=noise, rules=self.rules, select=select, **chosen)  # type: ignore[arg-type]

    def _selector(self, domain: Domain) -> Select:
        """The requested selector, or the default one of the domain. Raises ConfigError if it cannot choose."""
        if self.select is None and has_rules(domain):
            return "verify"
        from hrm_cli.evaluation.selection import check_selection, default_select

        select = self.select or default_select(has_rules=has_rules(domain))
        own = domain.name == OWN_PUZZLES
        if select == "verify" and not has_rules(domain):
            how = "; name a function that verifies them with --check" if own else ""
            raise ConfigError(
                f"--select verify: {domain.describe()} has no rules that could verify an answer{how}"
            )
        check_selection(self.select, self.copies, self.restarts, has_others=bool(self.level or self.nodes))
        if select == "verify":
            return select
        if (self.copies or 1) > 1 and (self.restarts or 0) > 0:
            raise ConfigError(
                "--attempts and --restarts: without rules, only one kind of attempts can be compared; omit one"
            )
        if (self.copies or 1) > 1 and own and not getattr(domain, "symmetries", ()):
            raise ConfigError(
                f"--attempts {self.copies}: {domain.describe()} claims no symmetries, so that all copies would be the "
                f"puzzle itself; --restarts {self.copies - 1 if self.copies else 0} starts it from different states"
            )
        if self.seconds is not None:
            raise ConfigError(
                "--max-seconds: a selector needs all attempts; omit --max-seconds, or reduce the number of attempts"
            )
        return select


@dataclass(frozen=True)
class Outcome:
    """The result of further effort on a puzzle.

    If all answers failed, it is the one with the fewest rule violations.
    """

    tokens: Tokens
    """`[S]`"""
    violations: int
    """Rule violations as counted by `BulkDomain.violations`; 0 if the answer is verified."""
    how: How
    """The stage that found it."""
    steps: int
    """ACT steps of the attempt or search node that found it."""
    q_halt: float = -math.inf
    """Halt value (logit): the model's confidence; −∞ for answers found by search, which have none."""
    attempt: int = 1
    """Number of the copy or restart; 1 is the puzzle itself."""
    attempts: int = 0
    """Copies and restarts tried, in all stages."""
    nodes: int = 0
    """Number of search nodes evaluated."""
    pinned: Tokens | None = None
    """The puzzle with its pins, `[S]`, if search found the answer."""
    work: int = 0
    """Total ACT steps of all stages, without the first pass."""
    agreeing: int = 1
    """Number of attempts that gave this answer, if a selector chose among all attempts."""
    tree: tuple[SearchNode, ...] = ()
    """The nodes of the search, if requested."""

    def describe(self) -> str:
        """`8 attempts and 64 search nodes`."""
        counts = ((self.attempts, "attempts"), (self.nodes, "search nodes"))
        return " and ".join(f"{count:,} {what}" for count, what in counts if count)

    def then(self, later: Outcome) -> Outcome:
        """Merges this outcome with that of a later stage and adds up their costs."""
        best = later if rank(later.violations, later.q_halt) < rank(self.violations, self.q_halt) else self
        return replace(
            best,
            attempts=self.attempts + later.attempts,
            nodes=self.nodes + later.nodes,
            work=self.work + later.work,
            tree=self.tree or later.tree,
        )


def forward_flops(arch: ArchConfig, vocab_size: int, seq_len: int) -> int:
    """FLOPs of one inference ACT step for one puzzle; `work` counts such steps."""
    # Most solved puzzles are printed without their cost.
    from hrm_cli.accounting.components import components
    from hrm_cli.accounting.flops import step_flops

    return step_flops(components(arch, vocab_size, seq_len)).forward


Stage = Callable[[NDArray[np.int64], float | None], Iterator[tuple[int, Outcome]]]
"""A stage: takes puzzle indices and a time limit in seconds, yields positions in this list with their outcomes."""


def run_effort(
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
    """Runs the stages of `effort` on `puzzles` `[n, S]` whose first answers failed; yields each outcome with its index.

    A solved puzzle is yielded immediately, the others at the end. A puzzle's copies and restarts depend only on the
    seed and on its number in `streams`. `watch` receives the steps of copies and restarts. Search needs a
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
    """The stages and the data that they share."""

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
        return self._tries("copies", rows, self.effort.tries("copies", seconds))

    def _restarts(self, rows: NDArray[np.int64], seconds: float | None) -> Iterator[tuple[int, Outcome]]:
        # The first restart is the puzzle itself, without noise but with more steps.
        return self._tries("restarts", rows, self.effort.tries("restarts", seconds))

    def _tries(
        self, how: How, rows: NDArray[np.int64], tries: AttemptBudget
    ) -> Iterator[tuple[int, Outcome]]:
        streams = [self.streams[row] for row in rows.tolist()]
        for place, found in try_copies(
            self.model, self.domain, self.puzzles[rows], tries, streams,
            puzzle_identifiers=self._identifiers(rows), watch=self.watch,
        ):  # fmt: skip
            yield place, Outcome(
                found.tokens, found.violations, how, found.steps, found.q_halt, found.attempt, found.of,
                work=found.work,
            )  # fmt: skip

    def _search(self, rows: NDArray[np.int64], seconds: float | None) -> Iterator[tuple[int, Outcome]]:
        from hrm_cli.evaluation.search import SearchLimits, search_puzzles  # most puzzles need none

        effort, progress = self.effort, self.progress
        limits = SearchLimits(effort.nodes, effort.node_steps, seconds, None, effort.rules, effort.keeps_tree)
        for place, found in search_puzzles(
            cast(FixedModel, self.model), self.domain, self.puzzles[rows], limits,
            puzzle_identifiers=self._identifiers(rows),
            on_step=None if progress is None else lambda left: progress("search", left),
        ):  # fmt: skip
            yield place, Outcome(
                found.tokens, found.violations, "search", found.node_steps, nodes=found.nodes,
                pinned=found.pinned, work=found.steps, tree=found.tree,
            )  # fmt: skip

    def _identifiers(self, rows: NDArray[np.int64]) -> NDArray[np.int32] | None:
        return None if self.puzzle_identifiers is None else self.puzzle_identifiers[rows]
