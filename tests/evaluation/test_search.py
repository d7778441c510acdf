"""Search over pinned cells: order, budget, what rules may do, and that neighbors change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.attempts import NODE_STEPS
from hrm_cli.evaluation.search import (
    ROUND,
    Searched,
    SearchLimits,
    cell_to_expand,
    rows_at_once,
    search_puzzles,
)
from hrm_cli.models.act import ACTModel
from hrm_cli.models.inference import FixedModel
from hrm_cli.puzzles.domain import make_domain

from .believers import BLANK, FOUR, OTHER, PUZZLE, Beliefs, Believer, needs, solution, sure_of, tokens, unsure


def searched(
    beliefs: Beliefs, puzzles: list[np.ndarray], **limits: object
) -> tuple[dict[int, Searched], Believer]:
    core = Believer(beliefs)
    asked = SearchLimits(**{"nodes": 60, "node_steps": 2, **limits})  # type: ignore[arg-type]
    found = search_puzzles(FixedModel(ACTModel(core)), FOUR, np.stack(puzzles), asked)
    return dict(found), core


@pytest.mark.parametrize("pins", [0, 1, 2])
def test_a_puzzle_is_solved_once_enough_right_digits_are_pinned(pins: int) -> None:
    found, _ = searched(needs(pins), [PUZZLE])
    assert found[0].violations == 0
    assert np.array_equal(found[0].tokens, solution(PUZZLE))
    assert found[0].pins == pins
    assert found[0].node_steps == 1


def test_nodes_and_steps_are_counted_as_the_model_took_them() -> None:
    found, core = searched(needs(1), [PUZZLE])
    # The puzzle itself, two steps; then a round of four digits, which ends with the first step of the right one.
    assert (found[0].nodes, found[0].steps) == (1 + ROUND, 2 + ROUND)
    assert core.at_work == [1, 1, ROUND]


def test_a_search_keeps_its_budget_and_returns_the_best_answer_if_it_runs_out() -> None:
    found, core = searched(needs(9), [PUZZLE, OTHER], nodes=7)
    assert [one.nodes for one in found.values()] == [7, 7]
    assert sum(core.at_work) == sum(one.steps for one in found.values()) == 2 * 7 * 2
    for index, puzzle in enumerate((PUZZLE, OTHER)):
        assert found[index].violations == FOUR.violations(puzzle[None], found[index].tokens[None])[0] > 0


def test_the_most_probable_pins_come_first() -> None:
    cell = int(np.flatnonzero(PUZZLE == BLANK)[3])

    def beliefs(puzzle: np.ndarray) -> np.ndarray:
        chances = unsure(puzzle)
        # Every other cell is settled, and wrong.
        chances[:, BLANK + 1 :] = np.eye(4)[0]
        chances[cell, BLANK + 1 :] = [0.1, 0.5, 0.15, 0.25]
        return chances

    _, core = searched(beliefs, [PUZZLE])
    assert [int(node[cell]) for node in core.seen[:5]] == [BLANK, 3, 5, 4, 2]


def test_puzzles_searched_together_come_out_as_they_do_alone() -> None:
    together, _ = searched(needs(2), [PUZZLE, OTHER], batch_size=5)
    for index, puzzle in enumerate((PUZZLE, OTHER)):
        alone = searched(needs(2), [puzzle])[0][0]
        assert np.array_equal(together[index].tokens, alone.tokens)
        assert (together[index].nodes, together[index].steps) == (alone.nodes, alone.steps)


def test_no_batch_is_larger_than_asked_for() -> None:
    _, core = searched(needs(2), [PUZZLE, OTHER, PUZZLE], batch_size=6)
    assert max(core.at_work) <= 6


def test_rules_leave_out_nodes_that_naked_singles_refute() -> None:
    plain, with_plain = searched(needs(2), [PUZZLE])
    pruned, with_rules = searched(needs(2), [PUZZLE], rules=True)
    assert not FOUR.refuted(np.stack(with_rules.seen)).any()
    assert FOUR.refuted(np.stack(with_plain.seen)).any()
    assert pruned[0].violations == plain[0].violations == 0
    assert pruned[0].nodes < plain[0].nodes


def test_a_puzzle_without_a_solution_is_never_solved() -> None:
    impossible = tokens("123....4........")
    assert FOUR.solve_all(impossible[None]).counts[0] == 0
    found, _ = searched(unsure, [impossible], nodes=50)
    assert found[0].violations > 0


def test_search_ends_when_no_node_is_left() -> None:
    def hopeless(puzzle: np.ndarray) -> np.ndarray:
        return sure_of(np.where(puzzle == BLANK, 2, puzzle))

    found, _ = searched(hopeless, [PUZZLE], nodes=10_000)
    # One node for every open cell: each is confident of one digit.
    assert found[0].nodes == 1 + (PUZZLE == BLANK).sum()
    assert found[0].violations > 0


def test_a_model_that_diverged_finds_nothing_and_does_not_fail() -> None:
    found, _ = searched(lambda puzzle: np.full((16, FOUR.vocab_size), np.nan), [PUZZLE])
    assert (found[0].nodes, found[0].violations > 0) == (1, True)


def test_time_that_is_up_gives_every_puzzle_its_best_answer() -> None:
    found, core = searched(needs(9), [PUZZLE, OTHER], seconds=0.0)
    assert sorted(found) == [0, 1]
    assert core.at_work == []


def test_the_expanded_cell_has_the_most_entropy_per_plausible_token() -> None:
    puzzle = tokens("....4...........")
    chances = np.zeros((16, FOUR.vocab_size))
    chances[:, 2] = 1
    chances[1, 2:] = [0.25, 0.25, 0.25, 0.25]
    chances[2, 2:] = [1 / 3, 1 / 3, 1 / 3, 0]
    chances[3, 2:] = [0.5, 0.5, 0, 0]
    assert cell_to_expand(puzzle, chances, BLANK) == 2
    chances[2, 2:] = [0.98, 0.01, 0.01, 0]
    assert cell_to_expand(puzzle, chances, BLANK) in (1, 3)
    assert cell_to_expand(solution(PUZZLE), chances, BLANK) is None


def test_a_domain_whose_cells_cannot_be_pinned_is_refused() -> None:
    tasks = make_domain("arc")
    with pytest.raises(ConfigError, match=r"search: ARC"):
        list(
            search_puzzles(
                FixedModel(ACTModel(Believer(unsure))), tasks, np.ones((1, 900), np.uint8), SearchLimits()
            )
        )


def test_defaults_are_those_that_were_chosen_on_held_out_puzzles() -> None:
    assert (SearchLimits().nodes, SearchLimits().node_steps, SearchLimits().rules) == (64, NODE_STEPS, False)
    assert rows_at_once(torch.device("cpu")) < rows_at_once(torch.device("cuda"))
