"""Voting on ARC tasks, by the reference's rules; and the published table of trivial baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrm_cli.distributed.world import World
from hrm_cli.evaluation.arc_voting import Votes, pass_at, submission
from hrm_cli.evaluation.baselines import measure_output_baselines
from hrm_cli.puzzles.arc.fields import Fields
from hrm_cli.puzzles.arc.symmetry import ArcSymmetry
from hrm_cli.puzzles.arc.tasks import Pair, Task, read_tasks
from hrm_cli.puzzles.domain import Grid

INPUT = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
RIGHT = np.array([[7, 8], [9, 0], [1, 1]], np.uint8)
WRONG = np.array([[7, 8], [9, 0], [1, 2]], np.uint8)
COPIES = [ArcSymmetry(), *(ArcSymmetry(t, (0, 9, 1, 2, 3, 4, 5, 6, 7, 8)) for t in range(8))]


def votes_for(*answers: tuple[int, Grid, float]) -> Votes:
    """Votes of copies `(number, answer in the task's own terms, halt value)`."""
    votes = Votes.of(["<blank>", *(copy.name("a") for copy in COPIES)])
    add(votes, *answers)
    return votes


def add(votes: Votes, *answers: tuple[int, Grid, float]) -> None:
    numbers = np.array([number for number, _, _ in answers])
    inputs = Fields.from_grids([COPIES[number].apply(INPUT) for number, _, _ in answers]).tokens
    given = Fields.from_grids([COPIES[number].apply(answer) for number, answer, _ in answers]).tokens
    votes.add(numbers + 1, inputs, given, np.array([q for _, _, q in answers], np.float32))


def task(*outputs: Grid | None, name: str = "a") -> Task:
    return Task(name, (Pair(INPUT, RIGHT),), tuple(Pair(INPUT, output) for output in outputs))


@pytest.mark.parametrize("copy", range(len(COPIES)))
def test_every_copy_votes_in_the_frame_of_its_task(copy: int) -> None:
    (best,) = votes_for((copy, RIGHT, 0.0)).candidates("a", INPUT)
    assert np.array_equal(best.grid, RIGHT)
    assert (best.votes, best.confidence) == (1, 0.5)


def test_candidates_rank_by_votes_then_confidence_then_order() -> None:
    votes = votes_for((0, WRONG, 9.0), (1, RIGHT, -3.0), (2, RIGHT, -3.0))
    assert np.array_equal(votes.candidates("a", INPUT)[0].grid, RIGHT)
    votes = votes_for((0, WRONG, 1.0), (1, RIGHT, 2.0))
    assert np.array_equal(votes.candidates("a", INPUT)[0].grid, RIGHT)
    votes = votes_for((0, WRONG, 1.0), (1, RIGHT, 1.0))
    assert np.array_equal(votes.candidates("a", INPUT)[0].grid, WRONG)


def test_another_selector_ranks_answers_by_the_most_confident_copy() -> None:
    votes = votes_for((0, WRONG, 1.0), (1, RIGHT, -1.0), (2, RIGHT, 2.0), (3, WRONG, 1.5), (4, WRONG, 1.0))
    assert votes.selectors() == ["q_halt", "agreement"]
    best, second = votes.candidates("a", INPUT, "q_halt")
    assert (np.array_equal(best.grid, RIGHT), best.votes, best.first, second.first) == (True, 2, 2, 3)
    assert pass_at(votes, [task(RIGHT)], (1,), "q_halt") == {1: 1.0}
    assert pass_at(votes, [task(RIGHT)], (1,)) == {1: 0.0}
    votes.select = "q_halt"
    assert submission(votes, [task(None)])["a"][0]["attempt_1"] == RIGHT.tolist()
    assert votes.most() == 5


def test_confidence_is_the_mean_probability_not_the_probability_of_the_mean() -> None:
    (only,) = votes_for((0, RIGHT, 100.0), (1, RIGHT, -2.0)).candidates("a", INPUT)
    assert only.confidence == pytest.approx((1 + 1 / (1 + np.exp(2))) / 2)


def test_padding_rows_do_not_vote() -> None:
    votes = Votes.of(["<blank>", "a"])
    votes.add(np.zeros(3, int), np.zeros((3, 900)), np.full((3, 900), 5), np.zeros(3))
    assert votes.candidates("a", INPUT) == []


def test_other_inputs_and_other_tasks_have_votes_of_their_own() -> None:
    votes = votes_for((0, RIGHT, 0.0))
    assert votes.candidates("a", RIGHT) == []
    assert votes.candidates("b", INPUT) == []


def test_an_empty_prediction_is_a_candidate_like_another() -> None:
    (empty,) = votes_for((3, np.zeros((0, 0), np.uint8), 0.0)).candidates("a", INPUT)
    assert empty.grid.shape == (0, 0)


def test_pass_at_k_is_the_mean_over_tasks_of_the_share_of_their_test_inputs() -> None:
    votes = votes_for((0, WRONG, 0.0), (1, WRONG, 0.0), (2, RIGHT, 0.0))
    tasks = [task(RIGHT, WRONG), task(RIGHT, name="unheard")]
    assert pass_at(votes, tasks, (1, 2)) == {1: 0.25, 2: 0.5}


def test_tasks_without_known_answers_do_not_count() -> None:
    votes = votes_for((0, RIGHT, 0.0))
    assert pass_at(votes, [task(None)]) == {}
    assert pass_at(votes, [task(None), task(RIGHT)], (1,)) == {1: 1.0}


def test_a_submission_repeats_a_single_candidate_and_uses_the_input_if_there_is_none() -> None:
    votes = votes_for((0, WRONG, 0.0), (1, WRONG, 0.0), (2, RIGHT, 0.0))
    assert submission(votes, [task(None)]) == {
        "a": [{"attempt_1": WRONG.tolist(), "attempt_2": RIGHT.tolist()}]
    }
    one = submission(votes_for((0, RIGHT, 0.0)), [task(None), task(None, name="b")])
    assert one["a"] == [{"attempt_1": RIGHT.tolist(), "attempt_2": RIGHT.tolist()}]
    assert one["b"] == [{"attempt_1": INPUT.tolist(), "attempt_2": INPUT.tolist()}]


def test_votes_of_two_processes_add_up_to_those_of_one() -> None:
    answers = [(0, WRONG, 1.0), (1, RIGHT, 2.0), (2, RIGHT, -1.0), (3, WRONG, 0.5), (4, RIGHT, 0.0)]
    together, first, second = votes_for(*answers), votes_for(*answers[:2]), votes_for(*answers[2:])

    class OtherProcess(World):
        def gather_bytes(self, data: bytes) -> list[bytes]:
            return [data, second._packed()]

    added = first.gathered(OtherProcess(0, 2))
    for one, other in zip(together.candidates("a", INPUT), added.candidates("a", INPUT), strict=True):
        assert np.array_equal(one.grid, other.grid)
    for select in together.selectors():
        ranking = [one.candidates("a", INPUT, select) for one in (together, added)]
        assert [one.grid.tolist() for one in ranking[0]] == [one.grid.tolist() for one in ranking[1]]
        assert (one.votes, one.confidence) == (other.votes, pytest.approx(other.confidence))


def test_trivial_baselines_on_two_outputs_by_hand() -> None:
    tasks = [
        task(np.array([[0, 0, 0], [0, 5, 6]], np.uint8)),
        task(np.array([[1, 1, 0]], np.uint8), name="b"),
    ]
    count, scores = measure_output_baselines(tasks)
    assert count == 2
    assert scores["all_background"].cell_accuracy == pytest.approx((4 / 6 + 1 / 3) / 2)
    assert scores["copy_input"].cell_accuracy == pytest.approx((2 / 6 + 0) / 2)
    assert scores["all_background_padded"].cell_accuracy == pytest.approx(1 - (2 + 2) / 1800)
    assert scores["most_frequent"] == scores["all_background"]


@pytest.mark.parametrize(
    ("subset", "outputs", "background", "copy", "padded"),
    [
        ("training", 416, "48.13%", "48.00%", "93.02%"),
        ("evaluation", 419, "49.40%", "51.44%", "87.74%"),
        ("training2", 1076, "40.68%", "51.07%", "88.08%"),
        ("evaluation2", 172, "20.55%", "57.28%", "61.59%"),
        ("concept", 480, "60.41%", "63.74%", "97.01%"),
    ],
)
def test_the_published_table_of_trivial_baselines_is_recomputed_to_the_digit(
    shared: Path, subset: str, outputs: int, background: str, copy: str, padded: str
) -> None:
    tasks = read_tasks(shared / "data" / "arc" / f"arc-agi_{subset}_challenges.json")
    count, scores = measure_output_baselines(tasks)
    found = [
        f"{scores[name].cell_accuracy:.2%}"
        for name in ("all_background", "copy_input", "all_background_padded")
    ]
    assert (count, found) == (outputs, [background, copy, padded])
    if subset == "concept":
        assert round(scores["copy_input"].exact_accuracy * count) == 13
