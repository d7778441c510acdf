"""Best-first search guided by the model: pins cells of a puzzle until an answer obeys the rules.

A node is a puzzle with pinned cells. The model reasons on it from its initial states; an answer that the rules verify
ends the search. A failed node of a Sudoku is expanded at the cell with the greatest entropy per plausible token: each
plausible token gives a child node. Other domains name the pins to try; a maze gets a wall in one of several corridors.
The next node is the one whose pins have the highest joint probability according to the model. Nothing else guides the
search: among failed nodes, neither the halt value nor confidence separates those with a solution from those without
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
from hrm_cli.evaluation.attempts import NO_ANSWER, NODE_STEPS, NODES
from hrm_cli.models.act import PuzzleBatch
from hrm_cli.models.inference import ActiveRows, FixedModel
from hrm_cli.puzzles.domain import PAD, Domain, PinningDomain, Tokens, can_pin

ROUND = 4
"""Maximum number of a puzzle's nodes in a batch."""
PLAUSIBLE = 0.02
"""A token with a higher probability counts as plausible."""
IMPOSSIBLE = 1e-4
"""No node is made for a token with this or a lower probability."""
UNSETTLED = 3
"""Number of initial steps of a node whose probabilities are ignored."""
STEADY = 12
"""Without blank cells: a node fails early if its answer has stayed the same for this number of steps."""
FADING = 0.8
"""Without blank cells: the weight of a step's probabilities relative to those of the next step."""
_ROWS_ON_CPU, _ROWS = 32, 256


def rows_at_once(device: torch.device) -> int:
    """Default rows per batch; smaller on CPUs because of their small caches."""
    return _ROWS_ON_CPU if device.type == "cpu" else _ROWS


def cannot_pin(domain: Domain) -> str:
    """The reason, as text, why a domain does not support search."""
    return (
        f"{domain.describe()} has no cells that could be given one by one, with rules that check the answer"
    )


@dataclass(frozen=True)
class SearchLimits:
    """Budget for one puzzle, and how far rules may be used."""

    nodes: int = NODES
    """Largest number of nodes per puzzle; the first is the puzzle itself."""
    node_steps: int = NODE_STEPS
    """ACT steps per node."""
    seconds: float | None = None
    """Time limit for all puzzles together; unsolved puzzles are then given up. None: no limit."""
    batch_size: int | None = None
    """Nodes per batch; None: the default of the device."""
    rules: bool = False
    """Whether to discard nodes that constraint propagation proves unsolvable, before the model sees them."""
    keeps_tree: bool = False
    """Whether `Searched.tree` is kept."""


@dataclass
class SearchNode:
    """A node of the tree, as shown to users: the puzzle with a few more cells pinned."""

    number: int
    """Order of creation; 0 is the puzzle itself."""
    parent: int | None = None
    cell: int | None = None
    """Position of the cell that this node pins, in addition to those of its parent."""
    token: int | None = None
    probability: float = 1.0
    """The model's probability of the token at its parent."""
    order: int | None = None
    """Order of evaluation, from 1; None if the search ended before."""
    violations: int | None = None
    """Fewest rule violations among its answers, as `BulkDomain.violations` counts them; 0 solves the puzzle."""
    is_refuted: bool = False
    """Whether constraint propagation proved it unsolvable, so that the model never saw it."""


@dataclass(frozen=True)
class Searched:
    """The result of the search on one puzzle."""

    tokens: Tokens
    """The answer, `[S]`: verified, or the one with the fewest violations."""
    violations: int
    """Rule violations as counted by `BulkDomain.violations`; 0 if the answer is verified."""
    nodes: int
    """Number of nodes evaluated."""
    steps: int
    """Total ACT steps of all nodes."""
    pinned: Tokens
    """The puzzle with the pins of the node that gave the answer, `[S]`."""
    pins: int
    """Number of these pins."""
    node_steps: int
    """ACT steps of that node until its answer."""
    tree: tuple[SearchNode, ...] = ()
    """All nodes in the order of their numbers, if requested."""


@dataclass(order=True, frozen=True)
class _Node:
    cost: float
    """−log of the joint probability of its pins; the node with the lowest cost is next."""
    number: int
    """Creation order, which breaks ties."""
    tokens: Tokens = field(compare=False)
    """The puzzle with its pins, `[S]`."""
    pins: int = field(compare=False)


class _Tree:
    """The nodes of one puzzle."""

    def __init__(self, domain: PinningDomain, puzzle: Tokens, index: int, limits: SearchLimits) -> None:
        self.puzzle, self.index = puzzle, index
        self._domain, self._limits = domain, limits
        self._frontier = [_Node(0.0, 0, puzzle, 0)]
        self._made, self._seen = 1, {puzzle.tobytes()}
        self.nodes = self.steps = self.active = 0
        self.best: Searched | None = None
        self._kept: list[SearchNode] = [SearchNode(0)]

    def round_size(self) -> int:
        """Nodes of the next round; 0 if there is nothing left to try."""
        return min(ROUND, len(self._frontier), self._limits.nodes - self.nodes)

    def next_round(self) -> list[_Node]:
        """Takes the most probable nodes from the queue; they join the batch."""
        nodes = [heapq.heappop(self._frontier) for _ in range(self.round_size())]
        if self._limits.keeps_tree:
            for order, node in enumerate(nodes, self.nodes + 1):
                self._kept[node.number].order = order
        self.nodes += len(nodes)
        self.active += len(nodes)
        return nodes

    def answered(self, node: _Node, tokens: Tokens, violations: int, steps: int) -> None:
        """Keeps an answer if it has fewer violations than all answers before."""
        if self._limits.keeps_tree:
            kept = self._kept[node.number]
            kept.violations = violations if kept.violations is None else min(kept.violations, violations)
        if self.best is None or violations < self.best.violations:
            self.best = Searched(tokens, violations, 0, 0, node.tokens, node.pins, steps)

    def expand(self, node: _Node, probabilities: NDArray[np.float64]) -> None:
        """Makes the children of a failed node from the model's probabilities `[S, V]` at that node."""
        self.active -= 1
        children = [
            ((cell, token, chance), self._domain.pin(node.tokens, cell, token))
            for cell, token, chance in pins_to_try(self._domain, node.tokens, probabilities)
        ]
        # The same pins in another order are the same node.
        children = [(pin, puzzle) for pin, puzzle in children if puzzle.tobytes() not in self._seen]
        if not children:
            return
        pins, puzzles = [pin for pin, _ in children], np.stack([puzzle for _, puzzle in children])
        self._seen.update(puzzle.tobytes() for puzzle in puzzles)
        dead = self._domain.refuted(puzzles) if self._limits.rules else np.zeros(len(pins), np.bool_)
        for (cell, token, chance), puzzle, is_dead in zip(pins, puzzles, dead, strict=True):
            if not is_dead:
                cost = node.cost - math.log(chance)
                heapq.heappush(self._frontier, _Node(cost, self._made, puzzle, node.pins + 1))
            if self._limits.keeps_tree:
                self._kept.append(
                    SearchNode(self._made, node.number, cell, token, chance, is_refuted=bool(is_dead))
                )
            self._made += 1

    def outcome(self) -> Searched:
        """The result at the end of the search."""
        nothing = Searched(self.puzzle, NO_ANSWER, 0, 0, self.puzzle, 0, 0)
        tree = tuple(self._kept) if self._limits.keeps_tree else ()
        return replace(self.best or nothing, nodes=self.nodes, steps=self.steps, tree=tree)


def pins_to_try(
    domain: PinningDomain, tokens: Tokens, probabilities: NDArray[np.float64]
) -> list[tuple[int, int, float]]:
    """The pins that give a failed node `[S]` its children: cell, token and probability, from `[S, V]`."""
    if hasattr(domain, "next_pins"):
        own: list[tuple[int, int, float]] = domain.next_pins(tokens, probabilities)
        return own
    cell = cell_to_expand(tokens, probabilities, domain.blank_token)
    if cell is None:
        return []
    chances = probabilities[cell]
    order = np.argsort(-chances, kind="stable").tolist()
    return [(cell, token, float(chances[token])) for token in order if chances[token] > IMPOSSIBLE]


def cell_to_expand(tokens: Tokens, probabilities: NDArray[np.float64], blank: int | None) -> int | None:
    """The blank cell of `[S]` with the greatest entropy per plausible token under probabilities `[S, V]`, or None.

    A cell with three equally probable tokens gives the most information per try, log 3 ÷ 3; two or four tokens give
    slightly less.
    """
    open_cells = np.flatnonzero(tokens == blank)
    if len(open_cells) == 0:
        return None
    chances = probabilities[open_cells]
    entropy = -(chances * np.log(np.maximum(chances, 1e-30))).sum(axis=1)
    plausible = np.maximum((chances > PLAUSIBLE).sum(axis=1), 2)
    return int(open_cells[np.argmax(entropy / plausible)])


class _Nodes:
    """The nodes in the batch, and the model's mean probabilities at each.

    With blank cells, the mean is over the steps since the initial ones. Without, an answer spreads from cell to cell
    and is complete only late, so that late steps count more.
    """

    def __init__(self, rows: ActiveRows, limits: SearchLimits, *, fills_blanks: bool) -> None:
        self.rows = rows
        self.members: list[tuple[_Tree, _Node]] = []
        self._fills_blanks = fills_blanks
        self._settles_after = min(UNSETTLED, limits.node_steps - 1) if fills_blanks else 0
        self._probability_sums: Tensor | None = None
        self._steady: dict[tuple[int, int], tuple[bytes, int]] = {}

    def add(self, members: list[tuple[_Tree, _Node]], identifiers: NDArray[np.int32]) -> None:
        """Adds nodes with their puzzle identifiers."""
        device = self.rows.device
        tokens = np.stack([node.tokens for _, node in members]).astype(np.int32)
        inputs = torch.from_numpy(tokens).to(device)
        batch = PuzzleBatch(inputs, inputs, torch.from_numpy(identifiers).to(device))
        self.rows.add(batch, torch.zeros(len(members), dtype=torch.int64, device=device))
        self.members += members
        if self._probability_sums is not None:
            new = self._probability_sums.new_zeros(len(members), *self._probability_sums.shape[1:])
            self._probability_sums = torch.cat((self._probability_sums, new))

    def step(self) -> Tokens:
        """Runs one ACT step on all nodes. Returns their answers `[b, S]`."""
        logits = self.rows.step().logits
        assert logits is not None
        counts = (self.rows.steps > self._settles_after).view(-1, 1, 1)
        chances = torch.where(counts, logits.float().softmax(-1), 0.0)
        before = self._probability_sums
        fading = 1.0 if self._fills_blanks else FADING
        self._probability_sums = chances if before is None else fading * before + chances
        answers: Tokens = logits.argmax(-1).cpu().numpy().astype(np.uint8)
        if not self._fills_blanks:
            self._watch(answers)
        return answers

    def _watch(self, answers: Tokens) -> None:
        """Counts the steps for which the answers `[b, S]` have stayed the same."""
        now: dict[tuple[int, int], tuple[bytes, int]] = {}
        for (tree, node), answer in zip(self.members, answers, strict=True):
            key, text = (tree.index, node.number), answer.tobytes()
            last, count = self._steady.get(key, (b"", 0))
            now[key] = text, count + 1 if text == last else 0
        self._steady = now

    def is_steady(self, tree: _Tree, node: _Node) -> bool:
        """Whether a node's answer will hardly change any more."""
        return self._steady.get((tree.index, node.number), (b"", 0))[1] >= STEADY

    def probabilities(self, rows: list[int], blank: int | None) -> NDArray[np.float64]:
        """Mean token probabilities of some rows, `[b, S, V]`, excluding padding and blanks."""
        assert self._probability_sums is not None
        sums = self._probability_sums[rows].cpu().numpy().astype(np.float64)
        sums[:, :, [PAD, *([] if blank is None else [blank])]] = 0
        shares: NDArray[np.float64] = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-30)
        return shares

    def keep(self, rows: list[int]) -> None:
        """Keeps only these rows."""
        chosen = torch.tensor(rows, dtype=torch.int64, device=self.rows.device)
        self.rows.keep(chosen)
        self.members = [self.members[row] for row in rows]
        self._probability_sums = (
            self._probability_sums[chosen] if self._probability_sums is not None and rows else None
        )


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
    """Searches each of `puzzles` `[n, S]`. Yields each result with its index as soon as it is known.

    After every step, `on_step` receives the number of unfinished puzzles. Raises ConfigError for a domain whose cells
    cannot be pinned.
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
    nodes = _Nodes(model.no_rows(), limits, fills_blanks=rules.blank_token is not None)
    while unsolved and time.monotonic() < deadline:
        added: list[tuple[_Tree, _Node]] = []
        while waiting:
            active = len(nodes.members) + len(added)
            if active and active + waiting[0].round_size() > capacity:
                break
            tree = waiting.popleft()
            added += [(tree, node) for node in tree.next_round()]
        if added:
            nodes.add(added, identifiers[[tree.index for tree, _ in added]])
        solved = _step(nodes, rules)
        yield from ((tree.index, unsolved.pop(tree.index).outcome()) for tree in solved)
        for tree in _expand_failed(nodes, limits, solved, rules.blank_token):
            if tree.round_size():
                waiting.append(tree)
            else:
                yield tree.index, unsolved.pop(tree.index).outcome()
        if on_step is not None:
            on_step(len(unsolved))
    yield from ((tree.index, tree.outcome()) for tree in unsolved.values())


def _step(nodes: _Nodes, domain: PinningDomain) -> list[_Tree]:
    """Runs one step on all nodes in the batch. Returns the trees that it solved."""
    puzzles, answers = np.stack([tree.puzzle for tree, _ in nodes.members]), nodes.step()
    if hasattr(domain, "without_pins"):
        answers = domain.without_pins(puzzles, np.stack([node.tokens for _, node in nodes.members]), answers)
    violations = domain.violations(puzzles, answers)
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


def _expand_failed(
    nodes: _Nodes, limits: SearchLimits, solved: list[_Tree], blank: int | None
) -> list[_Tree]:
    """Expands the nodes that have used all their steps. Returns the unsolved trees whose round is complete."""
    done = {tree.index for tree in solved}
    failed: list[int] = []
    remaining: list[int] = []
    for row, ((tree, node), taken) in enumerate(zip(nodes.members, nodes.rows.steps.tolist(), strict=True)):
        if tree.index not in done:
            is_over = taken >= limits.node_steps or nodes.is_steady(tree, node)
            (failed if is_over else remaining).append(row)
    over: list[_Tree] = []
    if failed:
        for row, probabilities in zip(failed, nodes.probabilities(failed, blank), strict=True):
            tree, node = nodes.members[row]
            tree.expand(node, probabilities)
            if tree.active == 0:
                over.append(tree)
    if len(remaining) < len(nodes.members):
        nodes.keep(remaining)
    return over
