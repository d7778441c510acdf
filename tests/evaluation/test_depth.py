"""Accuracy at several numbers of steps from one run: as separate runs would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import evaluate
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


@pytest.mark.parametrize(
    ("text", "expected"), [(None, ()), ("16", (16,)), ("64,16,256", (16, 64, 256)), ("8, 8", (8,))]
)
def test_depths_are_read_in_order(text: str | None, expected: tuple[int, ...]) -> None:
    assert parse_depths(text) == expected


@pytest.mark.parametrize("text", ["", "0", "16,", "16;64", "a", "-1", "1.5"])
def test_other_depths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="whole numbers from 1 on"):
        parse_depths(text)
