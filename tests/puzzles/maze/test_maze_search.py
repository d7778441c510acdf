"""Search on mazes: further walls in uncertain corridors, and answers to them as answers to the maze."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.evaluation.search import STEADY, Searched, SearchLimits, search_puzzles
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.puzzles.maze.domain import FIRST_TOKEN, FREE, MARK, WALL, MazeDomain
from hrm_cli.puzzles.maze.generator import generate
from hrm_cli.solving.tracing import recomputed

from ...evaluation.believers import Believer  # noqa: TID252
from ...evaluation.scripted import ScriptedCore  # noqa: TID252

RING = ["S     ", " #### ", " #### ", " #### ", "    # ", "#####G"]
"""Two ways leave S; the lower one is a dead end."""
LOOP = ["S   ", "# # ", "# # ", "#G  "]
"""Two ways lead from S to G: 4 moves and 8."""


class Walker(Believer):
    """Solves a maze without loops; in others, it gives every free cell the same probability."""

    def __init__(self, domain: MazeDomain) -> None:
        super().__init__(lambda tokens: beliefs(domain, tokens))
        ScriptedCore.__init__(self, lambda *_: (np.zeros(1), 0.0), domain.vocab_size, domain.seq_len)


def beliefs(domain: MazeDomain, tokens: np.ndarray) -> np.ndarray:
    chances = np.eye(domain.vocab_size)[tokens]
    grid = (tokens != WALL + FIRST_TOKEN).reshape(domain.rows, domain.columns)
    doors = int((grid[1:] & grid[:-1]).sum() + (grid[:, 1:] & grid[:, :-1]).sum())
    found = domain.solve_all(tokens[None])
    if doors < int(grid.sum()) and found.counts[0]:
        return np.eye(domain.vocab_size)[found.answers[0]]
    free = tokens == FREE + FIRST_TOKEN
    chances[free] = 0
    chances[free, FREE + FIRST_TOKEN], chances[free, MARK + FIRST_TOKEN] = 0.6, 0.4
    return chances


def maze_of(rows: list[str]) -> tuple[MazeDomain, np.ndarray]:
    domain = MazeDomain(len(rows), len(rows[0]))
    return domain, domain.encode(domain.parse("".join(rows)).grid)


def searched(domain: MazeDomain, puzzle: np.ndarray, **limits: object) -> Searched:
    asked = SearchLimits(**{"nodes": 60, "node_steps": 2, **limits})  # type: ignore[arg-type]
    (found,) = search_puzzles(FixedModel(ACTModel(Walker(domain))), domain, puzzle[None], asked)
    return found[1]


def test_a_maze_with_a_loop_is_solved_once_a_wall_closes_the_longer_way() -> None:
    domain, puzzle = maze_of(LOOP)
    found = searched(domain, puzzle, keeps_tree=True)
    assert found.violations == 0
    assert np.array_equal(found.tokens, domain.solve_all(puzzle[None]).answers[0])
    assert found.pins >= 1
    (walls,) = np.nonzero(found.pinned != puzzle)
    assert (found.pinned[walls] == WALL + FIRST_TOKEN).all()
    assert (found.tokens[walls] == FREE + FIRST_TOKEN).all(), "walls are no part of the answer"
    assert {node.token for node in found.tree[1:]} == {WALL + FIRST_TOKEN}


def test_a_node_ends_once_its_answer_stays_the_same() -> None:
    domain, puzzle = maze_of(LOOP)
    found = searched(domain, puzzle, nodes=1, node_steps=90)
    assert found.violations > 0
    assert found.steps == 1 + STEADY


def test_the_steps_of_a_search_node_are_shown_without_its_walls() -> None:
    domain, puzzle = maze_of(LOOP)
    found = searched(domain, puzzle)
    model = FixedModel(ACTModel(Walker(domain)))
    (step,) = recomputed(model, domain, puzzle, found.pinned, 1, with_chances=False)
    assert np.array_equal(step.grid, domain.decode(found.tokens))


def test_mazes_with_loops_are_solved_by_a_model_that_solves_only_those_without() -> None:
    mazes, answers = next(generate(6, 6, np.random.default_rng(1), style="braided", min_path=8))
    domain = MazeDomain(size=6)
    for cells, answer in zip(mazes, answers, strict=True):
        found = searched(domain, cells + FIRST_TOKEN, nodes=3000)
        assert found.violations == 0
        assert np.array_equal(found.tokens, answer + FIRST_TOKEN)


def test_every_wall_is_in_a_corridor_of_its_own() -> None:
    domain, puzzle = maze_of(LOOP)
    pins = domain.next_pins(puzzle, beliefs(domain, puzzle))
    assert 2 <= len(pins) <= 4
    cells = [cell for cell, _, _ in pins]
    assert all(puzzle[cell] == FREE + FIRST_TOKEN for cell in cells)
    column = [3, 7, 11]
    assert sum(cell in column for cell in cells) <= 1, "one wall closes the corridor on the right"
    assert [chance for _, _, chance in pins] == pytest.approx([0.6] * len(pins))


def test_a_model_that_is_certain_of_a_wrong_answer_has_no_walls_to_try() -> None:
    domain, puzzle = maze_of(LOOP)
    assert domain.next_pins(puzzle, np.eye(domain.vocab_size)[puzzle]) == []


def test_rules_leave_out_walls_that_cut_off_the_goal() -> None:
    domain, puzzle = maze_of(RING)
    plain, pruned = searched(domain, puzzle, nodes=200), searched(domain, puzzle, nodes=200, rules=True)
    assert plain.violations == pruned.violations == 0
    assert pruned.nodes <= plain.nodes
    cut = domain.pin(puzzle, 5, WALL + FIRST_TOKEN)
    assert domain.refuted(np.stack([puzzle, cut])).tolist() == [False, True]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_a_wall_beside_the_shortest_path_leaves_the_answer_as_it_is(seed: int, walls: int) -> None:
    rng = np.random.default_rng(seed)
    mazes, answers = next(generate(5, 1, rng, style="braided", min_path=4))
    domain, puzzle, answer = MazeDomain(size=5), mazes[0] + FIRST_TOKEN, answers[0] + FIRST_TOKEN
    beside = np.flatnonzero(answer == FREE + FIRST_TOKEN)
    pinned = puzzle.copy()
    for cell in rng.choice(beside, min(walls, len(beside)), replace=False):
        pinned = domain.pin(pinned, int(cell), WALL + FIRST_TOKEN)
    own = domain.solve_all(pinned[None]).answers
    back = domain.without_pins(puzzle[None], pinned[None], own)
    assert np.array_equal(back[0], answer)
    assert domain.violations(puzzle[None], back)[0] == 0
