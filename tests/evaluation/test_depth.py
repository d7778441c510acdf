"""Accuracy at several numbers of steps from one run: as separate runs would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import DepthFigures, Drift, doubling_depths, evaluate, find_drift
from hrm_cli.evaluation.request import parse_depths
from hrm_cli.models.act import ACTModel

from .scripted import scripted

SEQ, VOCABULARY, COUNT = 3, 6, 40


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Puzzle i holds the number i in base 5."""
    numbers = np.arange(COUNT)
    inputs = np.stack([numbers // 25 + 1, numbers // 5 % 5 + 1, numbers % 5 + 1], 1).astype(np.uint8)
    with DatasetWriter(tmp_path / "data") as writer:
        writer.split("test", seq_len=SEQ).append(inputs, inputs, group_sizes=np.ones(COUNT, np.int64))
        writer.set_identifiers(["<blank>"])
        writer.commit({"vocab_size": VOCABULARY, "pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0})
    return Dataset.open(tmp_path / "data", "test")


def wavering() -> ACTModel:
    """Right at steps that depend on the puzzle, wrong in between; halts some puzzles early, right or not."""

    def respond(row: np.ndarray, step: int) -> tuple[np.ndarray, float]:
        number = int(row @ [25, 5, 1])
        right = (number + step) % 3 > 0
        return (row if right else row % 5 + 1), 1.0 if step >= 2 + number % 7 else -1.0

    return scripted(respond, VOCABULARY, SEQ)


@pytest.mark.parametrize("halt", ["adaptive", "full"])
@pytest.mark.parametrize("batch_size", [7, 100])
def test_every_depth_has_the_figures_of_a_run_of_its_own(data: Dataset, halt: str, batch_size: int) -> None:
    depths = (1, 2, 4, 9)
    config = EvalConfig(halt=halt, batch_size=batch_size, max_steps=9)  # type: ignore[arg-type]
    curve = evaluate(wavering(), data, config, depths=depths).by_depth
    assert [one.max_steps for one in curve] == list(depths)
    for one in curve:
        alone = evaluate(wavering(), data, config.model_copy(update={"max_steps": one.max_steps}))
        assert one.exact_accuracy == pytest.approx(alone.exact_accuracy)
        assert one.mean_steps == pytest.approx(alone.mean_steps)
    assert len({one.exact_accuracy for one in curve}) > 1


def test_without_depths_there_is_no_curve(data: Dataset) -> None:
    result = evaluate(wavering(), data, EvalConfig(max_steps=4))
    assert result.by_depth == ()
    assert "by_depth" not in result.figures()


def drifting(best: int) -> ACTModel:
    """Every puzzle right at step `best` alone, and none of them ever halts."""
    return scripted(lambda row, step: (row if step == best else row % 5 + 1, -1.0), VOCABULARY, SEQ)


def test_a_model_that_is_better_after_fewer_steps_is_said_to_drift(data: Dataset) -> None:
    found = evaluate(drifting(2), data, EvalConfig(max_steps=6)).drift
    assert found == Drift(2, 1.0, 6, 0.0)
    assert found.describe() == (
        "Note: 100.00% exact after 2 steps, 0.00% after 6: this model drifts. "
        "Fewer steps are better here: --max-steps 2"
    )
    assert evaluate(drifting(6), data, EvalConfig(max_steps=6)).drift is None
    assert evaluate(drifting(5), data, EvalConfig(max_steps=6), depths=(5, 6)).drift == Drift(5, 1.0, 6, 0.0)


def test_a_difference_inside_the_interval_is_not_drift() -> None:
    def curve(early: float, last: float) -> tuple[DepthFigures, ...]:
        return DepthFigures(1, early, 1.0), DepthFigures(8, last, 8.0)

    assert find_drift(curve(0.36, 0.0), 500) == Drift(1, 0.36, 8, 0.0)
    assert find_drift(curve(0.36, 0.0), 5) is None  # 0 of 5: up to 43 %
    assert find_drift(curve(0.52, 0.50), 500) is None
    assert find_drift(curve(0.505, 0.50), 1_000_000) is None  # certain, and too small to matter
    assert find_drift(curve(0.2, 0.9), 500) is None
    assert find_drift((), 500) is None


def test_drift_is_looked_for_at_doubling_numbers_of_steps() -> None:
    assert doubling_depths(1) == (1,)
    assert doubling_depths(8) == (1, 2, 4, 8)
    assert doubling_depths(9) == (1, 2, 4, 8, 9)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, ()), ("16", (16,)), ("64,16,256", (16, 64, 256)), ("8, 8", (8,))]
)
def test_depths_are_read_in_order(text: str | None, expected: tuple[int, ...]) -> None:
    assert parse_depths(text) == expected


@pytest.mark.parametrize("text", ["", "0", "16,", "16;64", "a", "-1", "1.5"])
def test_other_depths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="whole numbers from 1 up"):
        parse_depths(text)
