"""Several tries at once: rows of a solved puzzle leave, small groups give no copy twice, figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.attempted import dataset_domain, evaluate_with_effort
from hrm_cli.evaluation.attempts import SETTLED_AFTER, AttemptBudget, try_copies
from hrm_cli.evaluation.effort import Effort, forward_flops
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.models.act import ACTModel, InferenceStep
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

from .scripted import scripted

FOUR = SudokuDomain(4)
PUZZLES = np.stack([FOUR.encode(FOUR.parse(text).grid) for text in ("..1..4...3....2.", "....41.....33.4.")])
ANSWERS = FOUR.solve_all(PUZZLES).answers


def wrong(tokens: np.ndarray) -> np.ndarray:
    return np.where(tokens == 1, 2, tokens).astype(np.uint8)


def right(tokens: np.ndarray) -> np.ndarray:
    return FOUR.solve_all(tokens[None]).answers[0]


@dataclass
class Scripted:
    """Answers as `respond` says, and keeps how many rows were at work at each step."""

    respond: Callable[[np.ndarray, int], np.ndarray]
    at_work: list[int] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)
    device = torch.device("cpu")

    def infer(
        self, inputs: torch.Tensor, puzzle_identifiers: torch.Tensor, max_steps: int, *, adaptive: bool
    ) -> Generator[InferenceStep, torch.Tensor | None, None]:
        assert not adaptive, "the rules know better than the model when an attempt is done"
        tokens = inputs.numpy().astype(np.uint8)
        self.tokens.append(tokens)
        rows = torch.arange(len(tokens))
        for step in range(1, max_steps + 1):
            self.at_work.append(len(rows))
            answers = np.stack([self.respond(tokens[row], step) for row in rows]).astype(np.int64)
            finished = torch.full((len(rows),), step == max_steps)
            dropped = yield InferenceStep(
                step, rows, torch.from_numpy(answers), torch.zeros(len(rows)), finished
            )
            rows = rows[~(finished if dropped is None else finished | dropped)]
            if not len(rows):
                return


def test_all_copies_of_a_puzzle_finish_as_soon_as_one_is_right() -> None:
    first = PUZZLES[0].tobytes()

    def respond(tokens: np.ndarray, step: int) -> np.ndarray:
        return right(tokens) if step == (2 if tokens.tobytes() == first else 4) else wrong(tokens)

    model = Scripted(respond)
    found = dict(try_copies(model, FOUR, PUZZLES, AttemptBudget(3, 9), [1, 2]))
    assert (found[0].steps, found[0].attempt, found[0].of, found[0].violations) == (2, 1, 3, 0)
    assert (found[1].steps, found[1].violations) == (4, 0)
    assert np.array_equal(np.stack([found[0].tokens, found[1].tokens]), ANSWERS), "brought back to the puzzle"
    assert model.at_work == [6, 6, 3, 3]


def test_a_copy_whose_answer_is_stable_ends_and_one_that_changes_continues() -> None:
    first = PUZZLES[0].tobytes()

    def respond(tokens: np.ndarray, step: int) -> np.ndarray:
        answer = wrong(tokens)
        if tokens.tobytes() == first:
            answer[np.flatnonzero(tokens == 1)[0]] = 2 + step % 4
        return right(tokens) if step == 20 else answer

    model = Scripted(respond)
    ((_, found),) = try_copies(model, FOUR, PUZZLES[:1], AttemptBudget(3, 40), [1])
    assert (found.steps, found.attempt, found.violations) == (20, 1, 0)
    assert (model.at_work[SETTLED_AFTER], model.at_work[SETTLED_AFTER + 1]) == (3, 1)


def test_a_model_that_ignores_dropped_rows_gives_the_same_answers() -> None:
    class Stubborn(Scripted):
        def infer(self, inputs, puzzle_identifiers, max_steps, *, adaptive):
            # Not `yield from`, which would hand on what is sent.
            for step in super().infer(inputs, puzzle_identifiers, max_steps, adaptive=adaptive):  # noqa: UP028
                yield step

    def respond(tokens: np.ndarray, step: int) -> np.ndarray:
        return right(tokens) if step == 1 else wrong(tokens)

    found = list(try_copies(Stubborn(respond), FOUR, PUZZLES, AttemptBudget(2, 3), [1, 2]))
    assert [(index, one.violations) for index, one in found] == [(0, 0), (1, 0)]


def test_a_puzzle_is_tried_first_unchanged_and_never_twice_as_the_same_copy() -> None:
    model = Scripted(lambda tokens, step: tokens)
    maze = MazeDomain(size=3)
    tokens = maze.encode(maze.parse("S #  ## G").grid)
    ((_, found),) = try_copies(model, maze, tokens[None], AttemptBudget(50, 1), [7])
    assert found.of == 8, "a square has eight symmetries"
    (copies,) = model.tokens
    assert np.array_equal(copies[0], tokens)
    assert len({row.tobytes() for row in copies}) == 8


def test_memory_is_bounded_by_the_batch_size_and_copies_follow_from_the_stream_alone() -> None:
    puzzles = np.repeat(PUZZLES, 5, axis=0)

    def copies(batch_size: int) -> tuple[int, set[bytes]]:
        model = Scripted(lambda tokens, step: wrong(tokens))
        list(try_copies(model, FOUR, puzzles, AttemptBudget(4, 1, batch_size=batch_size), range(10)))
        return max(map(len, model.tokens)), {row.tobytes() for batch in model.tokens for row in batch}

    (small, one), (large, other) = copies(8), copies(100)
    assert (small, large) == (8, 40)
    assert one == other


def sure_of_all_but(known: set[bytes]) -> ACTModel:
    """Right on copies, wrong on the puzzles `known`; always sure."""

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        tokens = tokens.astype(np.uint8)
        return (wrong(tokens) if tokens.tobytes() in known else right(tokens)), 1.0

    return scripted(respond, 6, 16)


def dataset(folder: Path, labels: np.ndarray, domain: dict[str, object] | None) -> Dataset:
    with DatasetWriter(folder) as writer:
        split = writer.split("test", seq_len=16)
        split.append(PUZZLES, labels, group_sizes=np.ones(len(PUZZLES), np.int64))
        writer.set_identifiers(["<blank>"])
        facts = {"vocab_size": 6, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0}
        writer.commit({**facts, **({"domain": domain} if domain else {})})
    return Dataset.open(folder, "test")


def test_one_pass_and_attempts_are_measured_on_the_same_puzzles(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", ANSWERS, {"name": "sudoku", "size": 4})
    model = sure_of_all_but({PUZZLES[0].tobytes()})
    one_pass, attempted = evaluate_with_effort(model, data, EvalConfig(), Effort(6, copies=4))
    assert one_pass.exact_accuracy == 0.5
    assert (attempted.exact_accuracy, attempted.tried_again, attempted.attempts) == (1.0, 1, 4)
    assert attempted.solved_by == {"pass": 1, "copies": 1}
    assert attempted.steps_per_puzzle == one_pass.mean_steps + 4 / 2
    figures = attempted.figures()
    assert (figures["effort"]["copies"], figures["effort"]["nodes"]) == (4, 0)
    assert figures["flops_per_puzzle"] == forward_flops(model.arch, 6, 16) * figures["steps_per_puzzle"]


def test_accuracy_with_attempts_is_reported_for_each_source(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "data") as writer:
        for name, row in (("easy", 1), ("hard", 0)):
            split = writer.split("test", name, seq_len=16)
            split.append(PUZZLES[[row]], ANSWERS[[row]], group_sizes=np.ones(1, np.int64))
        writer.set_identifiers(["<blank>"])
        facts = {"vocab_size": 6, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0}
        writer.commit({**facts, "domain": {"name": "sudoku", "size": 4}})
    model = sure_of_all_but({PUZZLES[0].tobytes()})
    one_pass, attempted = evaluate_with_effort(
        model, Dataset.open(tmp_path / "data", "test"), EvalConfig(), Effort(6, copies=4)
    )
    assert {name: part.exact_accuracy for name, part in one_pass.by_set.items()} == {"easy": 1.0, "hard": 0.0}
    assert attempted.by_set == {"easy": 1.0, "hard": 1.0}


def test_retries_are_decided_by_the_rules_and_never_by_the_answers_of_the_dataset(
    tmp_path: Path,
) -> None:
    # An answer that obeys the rules but is not the dataset's counts as wrong, and no attempt may mend it.
    labels = ANSWERS.copy()
    labels[0] = np.roll(labels[0], 1)
    data = dataset(tmp_path / "data", labels, None)
    one_pass, attempted = evaluate_with_effort(
        sure_of_all_but(set()), data, EvalConfig(), Effort(6, copies=4)
    )
    assert (one_pass.exact_accuracy, attempted.exact_accuracy, attempted.tried_again) == (0.5, 0.5, 0)


def test_puzzles_without_rules_are_refused_because_no_attempt_could_end_well(tmp_path: Path) -> None:
    arc = make_domain("arc")
    with DatasetWriter(tmp_path / "data") as writer:
        grids = np.ones((2, arc.seq_len), np.uint8)
        writer.split("test", seq_len=arc.seq_len).append(grids, grids, group_sizes=np.ones(2, np.int64))
        writer.set_identifiers(["<blank>"])
        facts = {"vocab_size": arc.vocab_size, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0}
        writer.commit({**facts, "domain": {"name": "arc"}})
    data = Dataset.open(tmp_path / "data", "test")
    with pytest.raises(ConfigError, match="no rules"):
        dataset_domain(data)


def test_interval_holds_the_share_and_narrows_with_more_puzzles() -> None:
    assert wilson_interval(0.66, 1000) == pytest.approx((0.6301, 0.6887), abs=1e-4)
    assert wilson_interval(1.0, 1000) == pytest.approx((0.99617, 1.0), abs=1e-5)
    assert wilson_interval(0.5, 0) == (0.0, 1.0)
