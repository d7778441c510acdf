"""What traces hold for pictures and pages: probabilities of cells and the search tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.bundled import SCHEME
from hrm_cli.evaluation.effort import EffortRequest
from hrm_cli.evaluation.search import SearchNode
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.choosing import LoadedModel, SolveOptions
from hrm_cli.solving.solution import Solution
from hrm_cli.solving.tracing import MOST_TOKENS, TRACED_BYTES, chances_of, traced_batch

EASY = "1.3..4...3....2."
HARD = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"


def test_the_most_probable_token_is_the_answer_and_its_probability_the_confidence() -> None:
    logits = torch.tensor([[[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]])
    (chances,) = chances_of(logits)
    assert chances.tokens.tolist() == [[1, 2, 0], [0, 1, 2]]
    np.testing.assert_allclose(
        chances.probabilities.astype(float), logits[0].softmax(-1).sort(descending=True)[0], atol=1e-3
    )
    (many,) = chances_of(torch.zeros(1, 2, 300))
    assert many.tokens.shape == (2, MOST_TOKENS)


def test_memory_of_traces_is_bounded_by_smaller_batches() -> None:
    assert traced_batch(SudokuDomain(9), 16, 256) == 256
    large = traced_batch(MazeDomain(180, 180), 64, 256)
    assert 1 <= large < 16
    assert large * 64 * 180 * 180 * 6 * 3 <= TRACED_BYTES
    assert traced_batch(MazeDomain(180, 180), 10_000, 256) == 1, "one puzzle is always solved"


def solved(
    text: str, size: int, *, chances: bool, max_steps: int | None = None, **effort: int
) -> tuple[LoadedModel, list[Solution]]:
    loaded = LoadedModel.load(Path(f"{SCHEME}sudoku-{size}x{size}"), torch.device("cpu"))
    asked = SolveOptions(max_steps, effort=EffortRequest(**effort), trace=True, chances=chances)
    puzzles = [loaded.domain.parse(text.replace("0", "."), "here:1")]
    return loaded, list(loaded.solve(puzzles, asked))


def test_probabilities_are_kept_only_if_requested_and_agree_with_the_answers() -> None:
    _, (plain,) = solved(EASY, 4, chances=False, copies=1)
    assert plain.trace
    assert all(step.chances is None for step in plain.trace)
    loaded, (traced,) = solved(EASY, 4, chances=True, copies=1)
    assert traced.status == plain.status
    for step in traced.trace:
        assert step.chances is not None
        answered = loaded.domain.decode(step.chances.tokens[:, 0].astype(np.uint8))
        np.testing.assert_array_equal(answered, step.grid)


@pytest.mark.slow(seconds=20)
def test_the_search_tree_leads_from_the_puzzle_to_the_answer() -> None:
    few_steps = {
        "max_steps": 1,
        "copies": 1,
        "nodes": 64,
        "node_steps": 6,
    }  # so that the search has to branch
    _, (solution,) = solved(HARD, 9, chances=True, **few_steps)
    assert solution.how == "search"
    assert solution.answer is not None
    tree = {node.number: node for node in solution.tree}
    assert sorted(tree) == list(range(len(tree)))
    assert sorted(node.order for node in tree.values() if node.order is not None) == list(
        range(1, solution.nodes + 1)
    )
    (end,) = [node for node in tree.values() if node.violations == 0]
    pins = []
    while end.parent is not None:
        assert end.cell is not None
        pins.append((end.cell, end.token))
        assert solution.answer.flat[end.cell] + 1 == end.token, "the answer keeps the pins"
        end = tree[end.parent]
    assert end == SearchNode(0, order=1, violations=end.violations)
    assert solution.puzzle is not None
    assert all(solution.puzzle.grid.flat[cell] == 0 for cell, _ in pins)
    assert all(step.chances is not None for step in solution.trace)
    _, (without,) = solved(HARD, 9, chances=False, **few_steps)
    assert without.tree == ()
    np.testing.assert_array_equal(without.answer, solution.answer)


def test_a_model_that_has_diverged_is_certain_of_nothing() -> None:
    (chances,) = chances_of(torch.full((1, 16, 6), float("nan")))
    assert chances is not None
    assert (chances.probabilities == 0).all()
