"""Search guided by the model: puzzles with some cells pinned, the most probable first, until an answer obeys the rules.

A node is a puzzle with pinned cells. The model reasons on it from its initial states; an answer that the rules verify
ends the puzzle. A node that fails is expanded at one cell: the one with the greatest entropy per plausible token.
Each of its tokens makes a child node, and the next node is always the one whose pins are most probable together
according to the model. Nothing else guides the search: among failed nodes, neither the halt value nor confidence
separates those with a solution from those without
(docs/inference.md). The rules only verify answers, unless `rules` is requested.

Nodes of many puzzles share a batch. A puzzle's nodes are evaluated in whole rounds, so the result does not depend on
which other puzzles are searched with it.

Letters in shapes: n puzzles, b unfinished rows, S tokens of a puzzle, V vocabulary.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrm_cli.errors import ConfigError
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.inference import ActiveRows, FixedModel
from hrm_cli.puzzles.domain import PAD, Domain, PinningDomain, Tokens, can_pin

NODES = 64
"""Nodes of a puzzle, by default."""
NODE_STEPS = 24
"""ACT steps at each node, by default."""
ROUND = 4
"""Maximum number of a puzzle's nodes in a batch."""
PLAUSIBLE = 0.02
"""Probability above which a token counts as one that would have to be tried."""
IMPOSSIBLE = 1e-4
"""Probability up to which no node is made at all."""
UNSETTLED = 3
"""First steps of a node whose beliefs do not count."""
NO_ANSWER = 2**31 - 1
"""Faults of a puzzle that the model has not seen yet."""
_ROWS_ON_CPU, _ROWS = 32, 256


def rows_at_once(device: torch.device) -> int:
    """Rows of a batch, by default: a CPU's caches are small."""
    return _ROWS_ON_CPU if device.type == "cpu" else _ROWS


def cannot_pin(domain: Domain) -> str:
    """Why a domain is not searched, as text."""
    return f"{domain.describe()} has no open cells that could be filled in one by one and checked by rules"


@dataclass(frozen=True)
class SearchLimits:
    """Budget for one puzzle, and how far rules may be used."""

    nodes: int = NODES
    """Of each puzzle at most; the first is the puzzle itself."""
    node_steps: int = NODE_STEPS
    """ACT steps at each."""
    seconds: float | None = None
    """Time for all puzzles together, after which those not solved are given up; None: none."""
    batch_size: int | None = None
    """Nodes that the model works on at once; None: as the device likes it."""
    rules: bool = False
    """Whether nodes that plain propagation of the rules refutes are discarded before the model sees them."""


@dataclass(frozen=True)
class Searched:
    """What became of a puzzle."""

    tokens: Tokens
    """The answer, `[S]`: verified, or the one with the fewest violations."""
    violations: int
    """As `BulkDomain.violations` counts them: 0 where the rules verify it."""
    nodes: int
    """Begun."""
    steps: int
    """ACT steps of all nodes together."""
    pinned: Tokens
    """The puzzle with the pins of the node that gave the answer, `[S]`."""
    pins: int
    """How many these are."""
    node_steps: int
    """ACT steps of that node until its answer."""


@dataclass(order=True, frozen=True)
class _Node:
    cost: float
    """−log of the probability of its pins; the least is next."""
    number: int
    """In the order in which they were made, which decides between equals."""
    tokens: Tokens = field(compare=False)
    """The puzzle with its pins, `[S]`."""
    pins: int = field(compare=False)


class _Tree:
    """The nodes of one puzzle."""

    def __init__(self, domain: PinningDomain, puzzle: Tokens, index: int, limits: SearchLimits) -> None:
        self.puzzle, self.index = puzzle, index
        self._domain, self._limits = domain, limits
        self._frontier = [_Node(0.0, 0, puzzle, 0)]
        self._made = 1
        self.nodes = self.steps = self.at_work = 0
        self.best: Searched | None = None

    def round_size(self) -> int:
        """Nodes of the next round; 0 if there is nothing left to try."""
        return min(ROUND, len(self._frontier), self._limits.nodes - self.nodes)

    def next_round(self) -> list[_Node]:
        """The most probable nodes, which now join the batch."""
        nodes = [heapq.heappop(self._frontier) for _ in range(self.round_size())]
        self.nodes += len(nodes)
        self.at_work += len(nodes)
        return nodes

    def answered(self, node: _Node, tokens: Tokens, violations: int, steps: int) -> None:
        """Keeps an answer if none before it had as few violations."""
        if self.best is None or violations < self.best.violations:
            self.best = Searched(tokens, violations, 0, 0, node.tokens, node.pins, steps)

    def open(self, node: _Node, beliefs: NDArray[np.float64]) -> None:
        """Makes the children of a node that failed, by the probabilities `[S, V]` that the model gave there."""
        self.at_work -= 1
        cell = cell_to_open(node.tokens, beliefs, self._domain.blank_token)
        if cell is None:
            return
        chances = beliefs[cell]
        tokens = [int(token) for token in np.argsort(-chances, kind="stable") if chances[token] > IMPOSSIBLE]
        if not tokens:
            return
        puzzles = np.stack([self._domain.pin(node.tokens, cell, token) for token in tokens])
        dead = self._domain.refuted(puzzles) if self._limits.rules else np.zeros(len(tokens), np.bool_)
        for token, puzzle, is_dead in zip(tokens, puzzles, dead, strict=True):
            if not is_dead:
                cost = node.cost - math.log(chances[token])
                heapq.heappush(self._frontier, _Node(cost, self._made, puzzle, node.pins + 1))
                self._made += 1

    def outcome(self) -> Searched:
        """The outcome at the end."""
        nothing = Searched(self.puzzle, NO_ANSWER, 0, 0, self.puzzle, 0, 0)
        return replace(self.best or nothing, nodes=self.nodes, steps=self.steps)


def cell_to_open(tokens: Tokens, beliefs: NDArray[np.float64], blank: int | None) -> int | None:
    """The open cell of `[S]` with the greatest entropy per plausible token, by probabilities `[S, V]`, or None.

    A cell with three equally probable tokens gives the most information per try, log 3 ÷ 3; two or four give hardly
    less.
    """
    open_cells = np.flatnonzero(tokens == blank)
    if len(open_cells) == 0:
        return None
    chances = beliefs[open_cells]
    entropy = -(chances * np.log(np.maximum(chances, 1e-30))).sum(axis=1)
    plausible = np.maximum((chances > PLAUSIBLE).sum(axis=1), 2)
    return int(open_cells[np.argmax(entropy / plausible)])


class _Nodes:
    """The nodes in the batch, with the model's mean probabilities at each since its states settled."""

    def __init__(self, rows: ActiveRows, settles_after: int) -> None:
        self.rows = rows
        self.members: list[tuple[_Tree, _Node]] = []
        self._settles_after = settles_after
        self._beliefs: Tensor | None = None

    def add(self, members: list[tuple[_Tree, _Node]], identifiers: NDArray[np.int32]) -> None:
        """Further nodes, with the puzzle identifier of each."""
        device = self.rows.device
        tokens = np.stack([node.tokens for _, node in members]).astype(np.int32)
        inputs = torch.from_numpy(tokens).to(device)
        batch = PuzzleBatch(inputs, inputs, torch.from_numpy(identifiers).to(device))
        self.rows.add(batch, torch.zeros(len(members), dtype=torch.int64, device=device))
        self.members += members
        if self._beliefs is not None:
            new = self._beliefs.new_zeros(len(members), *self._beliefs.shape[1:])
            self._beliefs = torch.cat((self._beliefs, new))

    def step(self) -> Tokens:
        """One ACT step of all: their answers `[b, S]`."""
        logits = self.rows.step().logits
        assert logits is not None
        counts = (self.rows.steps > self._settles_after).view(-1, 1, 1)
        chances = torch.where(counts, logits.float().softmax(-1), 0.0)
        self._beliefs = chances if self._beliefs is None else self._beliefs + chances
        answers: Tokens = logits.argmax(-1).cpu().numpy().astype(np.uint8)
        return answers

    def beliefs(self, rows: list[int], blank: int | None) -> NDArray[np.float64]:
        """The mean probability of every token at some rows, `[b, S, V]`; padding and blanks are no answers."""
        assert self._beliefs is not None
        sums = self._beliefs[rows].cpu().numpy().astype(np.float64)
        sums[:, :, [PAD, *([] if blank is None else [blank])]] = 0
        shares: NDArray[np.float64] = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-30)
        return shares

    def keep(self, rows: list[int]) -> None:
        """Only these stay."""
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.rows.device)
        self.rows.keep(chosen)
        self.members = [self.members[row] for row in rows]
        self._beliefs = self._beliefs[chosen] if self._beliefs is not None and rows else None


@torch.inference_mode()
def search_puzzles(
    model: FixedModel,
    domain: Domain,
    puzzles: Tokens,
    limits: SearchLimits,
    *,
    puzzle_identifiers: NDArray[np.int32] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Searched]]:
    """What search makes of each of `puzzles` `[n, S]`, with its index, as soon as it is known.

    `on_step` gets after every step how many puzzles are still searched. Raises ConfigError for a domain whose
    cells cannot be pinned.
    """
    if not can_pin(domain):
        raise ConfigError(f"search: {cannot_pin(domain)}")
    rules = cast(PinningDomain, domain)
    deadline = math.inf if limits.seconds is None else time.monotonic() + limits.seconds
    capacity = limits.batch_size or rows_at_once(model.device)
    identifiers = np.zeros(len(puzzles), np.int32) if puzzle_identifiers is None else puzzle_identifiers
    trees = [_Tree(rules, puzzle, index, limits) for index, puzzle in enumerate(puzzles)]
    waiting = deque(trees)
    unsolved = {tree.index: tree for tree in trees}
    nodes = _Nodes(model.no_rows(), min(UNSETTLED, limits.node_steps - 1))
    while unsolved and time.monotonic() < deadline:
        joining: list[tuple[_Tree, _Node]] = []
        while waiting:
            at_work = len(nodes.members) + len(joining)
            if at_work and at_work + waiting[0].round_size() > capacity:
                break
            tree = waiting.popleft()
            joining += [(tree, node) for node in tree.next_round()]
        if joining:
            nodes.add(joining, identifiers[[tree.index for tree, _ in joining]])
        solved = _step(nodes, rules)
        yield from ((tree.index, unsolved.pop(tree.index).outcome()) for tree in solved)
        for tree in _open_failed(nodes, limits, solved, rules.blank_token):
            if tree.round_size():
                waiting.append(tree)
            else:
                yield tree.index, unsolved.pop(tree.index).outcome()
        if on_step is not None:
            on_step(len(unsolved))
    yield from ((tree.index, tree.outcome()) for tree in unsolved.values())


def _step(nodes: _Nodes, domain: PinningDomain) -> list[_Tree]:
    """One step of all nodes in the batch: the trees that it solved."""
    answers = nodes.step()
    violations = domain.violations(np.stack([tree.puzzle for tree, _ in nodes.members]), answers)
    steps = nodes.rows.steps.tolist()
    solved: dict[int, _Tree] = {}
    for (tree, node), answer, found, taken in zip(
        nodes.members, answers, violations.tolist(), steps, strict=True
    ):
        tree.steps += 1
        tree.answered(node, answer, found, taken)
        if found == 0:
            solved[tree.index] = tree
    return list(solved.values())


def _open_failed(nodes: _Nodes, limits: SearchLimits, solved: list[_Tree], blank: int | None) -> list[_Tree]:
    """Expands the nodes that have taken all steps; returns the trees whose round is over, without solved ones."""
    done = {tree.index for tree in solved}
    failed: list[int] = []
    staying: list[int] = []
    for row, ((tree, _), taken) in enumerate(zip(nodes.members, nodes.rows.steps.tolist(), strict=True)):
        if tree.index not in done:
            (failed if taken >= limits.node_steps else staying).append(row)
    over: list[_Tree] = []
    if failed:
        for row, beliefs in zip(failed, nodes.beliefs(failed, blank), strict=True):
            tree, node = nodes.members[row]
            tree.open(node, beliefs)
            if tree.at_work == 0:
                over.append(tree)
    if len(staying) < len(nodes.members):
        nodes.keep(staying)
    return over
