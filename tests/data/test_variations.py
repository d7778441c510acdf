"""Variations of a source's training puzzles: how many, from which, and apart from what is held out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import DataConfig
from hrm_cli.data.batches import expected_examples
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.variations import vary

CsvWriter = Callable[..., Path]


def tokens(folder: Path, split: str) -> np.ndarray:
    return np.concatenate([part.inputs for part in Dataset.open(folder, split).sets])


def rows(puzzles: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in puzzles}


def test_variations_come_on_top_of_the_training_puzzles(tmp_path: Path) -> None:
    plain = DataConfig(size=6, num_train=30, num_test=20, num_validation=10)
    build_dataset(plain, tmp_path / "plain")
    summary = build_dataset(plain.model_copy(update={"variations": 45}), tmp_path / "varied")
    assert (summary.train.puzzles, summary.validation.puzzles, summary.test.puzzles) == (75, 10, 20)
    assert "45 of the training puzzles are variations of the other 30" in summary.notes
    for split in ("validation", "test"):
        assert (tokens(tmp_path / "plain", split) == tokens(tmp_path / "varied", split)).all()
    train = tokens(tmp_path / "varied", "train")
    assert rows(tokens(tmp_path / "plain", "train")) <= rows(train)
    assert (SudokuDomain(6).solve_all(train).counts == 1).all()
    build_dataset(plain.model_copy(update={"variations": 45}), tmp_path / "again")
    assert (tokens(tmp_path / "again", "train") == train).all()


def test_a_few_variations_of_a_large_source_differ_from_all_its_puzzles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied = []

    def spy(size: int, puzzles: np.ndarray, *rest: object, **options: object) -> object:
        varied.append(len(puzzles))
        return vary(size, puzzles, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("hrm_cli.puzzles.sudoku.variations.vary", spy)
    build_dataset(DataConfig(size=4, clues="15", num_train=3000, num_test=0, variations=40), tmp_path / "d")
    assert varied == [40]
    assert len(rows(tokens(tmp_path / "d", "train"))) == 3040


@pytest.mark.parametrize("size", [4, 6])
def test_a_strict_split_holds_for_variations(size: int, tmp_path: Path) -> None:
    # Of minimal 4×4 puzzles there are 36 up to symmetry (Royle): variations meet the held-out ones all the time.
    config = DataConfig(
        size=size, num_train=20, num_test=20, num_validation=20, variations=150, strict_split=True, seed=1
    )
    build_dataset(config, tmp_path / "d")
    domain = SudokuDomain(size)
    train, validation, test = (
        set(domain.canonical(tokens(tmp_path / "d", split))) for split in ("train", "validation", "test")
    )
    assert not train & (validation | test)
    assert not validation & test


def test_without_a_strict_split_no_variation_equals_a_held_out_puzzle(tmp_path: Path) -> None:
    build_dataset(
        DataConfig(size=4, clues="14", num_train=200, num_test=500, variations=1500), tmp_path / "d"
    )
    train = rows(tokens(tmp_path / "d", "train"))
    assert len(train) == 1700
    assert not train & rows(tokens(tmp_path / "d", "test"))


def test_sources_are_varied_each_by_its_own_number(csv_file: CsvWriter, tmp_path: Path) -> None:
    config = DataConfig(
        source=str(csv_file()),
        subsample_size=5,
        num_test=3,
        variations=7,
        by_collection=True,
        size=4,
        also=[{"source": "builtin", "num_train": 4}],
    )
    summary = build_dataset(config, tmp_path / "d")
    assert [part.train for part in summary.sources] == [12, 4]
    # The collections of its test puzzles are still told apart.
    assert [part.name for part in Dataset.open(tmp_path / "d", "test").sets] == ["puzzles-t"]


def test_more_variations_than_there_are_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_cli.puzzles.sudoku.variations.PATIENCE", 3)
    config = DataConfig(size=4, clues="15", num_train=2, num_test=0, variations=100_000)
    with pytest.raises(PuzzleError, match="100,000 variations of 2 4×4 puzzles were requested"):
        build_dataset(config, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_mazes_have_no_variations() -> None:
    with pytest.raises(ConfigError, match=r"variations work only for Sudoku, but data\.domain is maze"):
        load_preset("tiny", ["data.domain=maze", "data.variations=5"])


def test_variations_need_training_puzzles() -> None:
    with pytest.raises(ConfigError, match="made from training puzzles, but num_train of source builtin is 0"):
        load_preset("tiny", ["data.also=[{num_train: 0, num_test: 5, variations: 5}]"])


def test_variations_count_as_examples_of_an_epoch() -> None:
    data = DataConfig(
        num_train=100, variations=50, also=[{"num_train": 10}, {"num_train": 10, "variations": 3}]
    )
    assert expected_examples(data).groups == 173
