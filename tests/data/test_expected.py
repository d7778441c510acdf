"""The length of a run, told before its dataset is built, is the length that it then has."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.data.batches import expected_examples
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import DatasetError
from hrm_cli.training.state import make_plan


@pytest.mark.parametrize("copies", [0, 3])
@pytest.mark.parametrize("train", [{"epochs": 7}, {"epochs": 1}, {"epochs": 50, "max_steps": 9}])
def test_steps_are_those_of_the_plan_over_the_built_dataset(
    tmp_path: Path, copies: int, train: dict[str, int]
) -> None:
    config = TrainConfig(global_batch_size=16, **train)
    data = DataConfig(size=4, clues="6", num_train=25, num_test=2, num_aug=copies)
    build_dataset(data, tmp_path / "set")
    planned = make_plan(config, Dataset.open(tmp_path / "set", "train")).total_steps
    assert expected_examples(data).steps(config) == planned
    built = DataConfig(path=str(tmp_path / "set"))
    assert expected_examples(built).steps(config) == planned


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "hf:someone/puzzles"}, "the size of hf:someone/puzzles is known only after the build"),
        ({"domain": "arc", "num_train": 5}, "tasks differ in their number of examples"),
    ],
)
def test_what_only_the_dataset_determines_is_not_guessed(settings: dict[str, object], words: str) -> None:
    found = expected_examples(DataConfig(**settings))
    assert (found.groups, found.steps(TrainConfig())) == (None, None)
    assert words in found.words
    assert "data.path=DIR" in found.words


def test_sampled_puzzles_of_a_source_are_counted() -> None:
    data = DataConfig(source="hf:someone/puzzles", subsample_size=1000, num_aug=1000)
    assert expected_examples(data).steps(TrainConfig(epochs=20_000, global_batch_size=768)) == 26_041


def test_a_path_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        expected_examples(DataConfig(path=str(tmp_path / "none")))
