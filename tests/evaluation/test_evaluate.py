"""Evaluation: every example once, figures as their names say, and baselines that expose a constant predictor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import DatasetError
from hrm_cli.evaluation.baselines import measure_baselines
from hrm_cli.evaluation.evaluate import evaluate
from hrm_cli.models.act import ACTModel

from .scripted import scripted

TOKENS, VOCABULARY = 4, 5


def write(
    folder: Path, inputs: list[list[int]], labels: list[list[int]], vocabulary: int = VOCABULARY
) -> Dataset:
    with DatasetWriter(folder) as writer:
        split = writer.split("test", seq_len=TOKENS)
        split.append(
            np.array(inputs, dtype=np.uint8),
            np.array(labels, dtype=np.uint8),
            group_sizes=np.ones(len(inputs), np.int64),
        )
        writer.set_identifiers(["<blank>"])
        writer.commit({"vocab_size": vocabulary, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0})
    return Dataset.open(folder, "test")


def halting_at(halting: dict[int, int]) -> ACTModel:
    """Answers with its input's tokens plus one from step 2 on, and with the input before; halts at given steps."""

    def respond(tokens: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        return tokens + (1 if step > 1 else 0), 1.0 if halting.get(int(tokens[0]), 99) <= step else -1.0

    return scripted(respond, VOCABULARY, TOKENS)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    inputs = [[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]
    labels = [[2, 2, 2, 2], [3, 3, 3, 0], [4, 4, 2, 2]]
    return write(tmp_path / "data", inputs, labels)


def test_metrics_follow_from_the_answers_and_the_steps(dataset: Dataset) -> None:
    # The first puzzle halts at step 1, too early; the second at 2, right; the third never, with two cells right.
    result = evaluate(halting_at({1: 1, 2: 2}), dataset, EvalConfig(batch_size=2))
    assert result.puzzles == 3
    assert result.exact_accuracy == pytest.approx(1 / 3)
    assert result.cell_accuracy == pytest.approx((0 + 1 + 0.5) / 3)
    assert result.mean_steps == pytest.approx((1 + 2 + 3) / 3)
    assert result.q_halt_accuracy == pytest.approx(2 / 3)
    assert result.efficiency == pytest.approx(result.exact_accuracy / result.mean_steps)


def test_full_halting_spends_every_step_and_more_steps_than_trained_are_allowed(dataset: Dataset) -> None:
    result = evaluate(halting_at({1: 1, 2: 2}), dataset, EvalConfig(halt="full", max_steps=7))
    assert result.mean_steps == 7
    assert result.exact_accuracy == pytest.approx(2 / 3)


def test_the_batch_size_changes_no_figure(dataset: Dataset) -> None:
    results = [evaluate(halting_at({1: 1, 2: 2}), dataset, EvalConfig(batch_size=size)) for size in (1, 2, 3)]
    assert len({(r.puzzles, r.exact_accuracy, r.cell_accuracy, r.mean_steps) for r in results}) == 1


def test_finished_rows_are_replaced_so_that_the_batch_stays_full(tmp_path: Path) -> None:
    # One in eight takes all three steps, the others one.
    inputs = [[3 if i % 8 == 0 else 1] * TOKENS for i in range(64)]
    data = write(tmp_path / "data", inputs, inputs)
    model = halting_at({1: 1})
    result = evaluate(model, data, EvalConfig(batch_size=16))
    assert (result.puzzles, result.mean_steps) == (64, pytest.approx((56 + 8 * 3) / 64))
    assert sum(model.inner.at_work) == 56 + 8 * 3, "no puzzle is worked on longer than it needs"
    assert max(model.inner.at_work) == 16, "nor are there more of them than fit"
    # Four batches one after the other would take three steps each.
    assert len(model.inner.at_work) <= 7


def test_puzzles_that_halt_on_the_mean_of_their_batch_start_together(tmp_path: Path) -> None:
    inputs = [[1 if i % 2 else 2] * TOKENS for i in range(8)]
    model = halting_at({1: 1, 2: 2})
    model.inner.halts_together = True
    evaluate(model, write(tmp_path / "data", inputs, inputs), EvalConfig(batch_size=4))
    assert model.inner.at_work == [4, 2, 4, 2]


def test_a_dataset_with_another_vocabulary_is_refused_with_both_numbers(tmp_path: Path) -> None:
    other = write(tmp_path / "other", [[1, 2, 3, 6]], [[1, 2, 3, 6]], vocabulary=7)
    with pytest.raises(DatasetError, match=r"vocab_size is 7.*trained with 5"):
        evaluate(halting_at({}), other, EvalConfig())


def test_baselines_score_the_commonest_token_and_a_copy_of_the_input_on_labeled_cells(
    tmp_path: Path,
) -> None:
    data = write(tmp_path / "data", [[1, 2, 3, 4], [3, 3, 1, 2]], [[1, 3, 3, 0], [3, 3, 3, 1]])
    baselines = measure_baselines(data)
    assert baselines["most_frequent"].cell_accuracy == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert baselines["copy_input"].cell_accuracy == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert baselines["copy_input"].exact_accuracy == 0


def test_a_split_of_several_sets_is_measured_set_by_set(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "sets") as writer:
        for name, (first, label) in {"easy": (1, 2), "hard": (2, 4), "mixed": (3, 4)}.items():
            grid = np.full((first, TOKENS), first, np.uint8)
            writer.split("test", name, seq_len=TOKENS).append(
                grid, np.full_like(grid, label), group_sizes=np.ones(first, np.int64)
            )
        writer.commit({"vocab_size": VOCABULARY, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0})
    dataset = Dataset.open(tmp_path / "sets", "test")
    # Rows of the hard set halt a step before the others; batches run across the borders of sets.
    result = evaluate(halting_at({1: 3, 2: 2, 3: 3}), dataset, EvalConfig(batch_size=4))
    figures = {name: (s.puzzles, s.exact_accuracy, s.mean_steps) for name, s in result.by_set.items()}
    assert figures == {"easy": (1, 1, 3), "hard": (2, 0, 2), "mixed": (3, 1, 3)}
    assert result.exact_accuracy == pytest.approx(4 / 6)
    assert result.figures()["by_set"]["hard"]["cell_accuracy"] == 0


def test_a_split_of_one_set_has_no_figures_by_set(dataset: Dataset) -> None:
    assert "by_set" not in evaluate(halting_at({}), dataset, EvalConfig()).figures()
