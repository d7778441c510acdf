from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import DatasetError, HRMError
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

CsvWriter = Callable[..., Path]


def inputs(folder: Path, split: str) -> np.ndarray:
    dataset = Dataset.open(folder, split)
    return dataset.gather(np.arange(dataset.num_examples))[0].astype(np.uint8)


def row_set(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in rows}


def digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("size", [4, 6, 9])
def test_built_in_puzzles_come_in_groups_of_an_original_and_its_copies(size: int, tmp_path: Path) -> None:
    summary = build_dataset(DataConfig(size=size, num_train=20, num_test=10, num_aug=30), tmp_path / "d")
    domain = SudokuDomain(size)
    train = Dataset.open(tmp_path / "d")
    assert train.metadata.domain == {"name": "sudoku", "size": size}
    assert (train.metadata.vocab_size, train.metadata.seq_len) == (domain.vocab_size, domain.seq_len)
    assert (summary.train.groups, summary.train.puzzles, summary.train.examples) == (20, 620, 620)
    assert (summary.test.groups, summary.test.puzzles, summary.test.examples) == (10, 10, 10)
    assert np.diff(train.puzzle_indices).tolist() == [1] * 620
    rows = inputs(tmp_path / "d", "train")
    for a, b in pairwise(train.group_indices):
        assert len(row_set(rows[a:b])) == 31
        assert len(set(domain.canonical(rows[a:b]))) == 1
    assert not row_set(rows) & row_set(inputs(tmp_path / "d", "test"))


def test_the_same_seed_makes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = DataConfig(size=4, num_train=50, num_test=10, num_aug=20, seed=seed)
        build_dataset(config, tmp_path / name)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a")["train/all__inputs.npy"] != digest(tmp_path / "c")["train/all__inputs.npy"]


def test_stored_copies_of_training_puzzles_are_never_test_puzzles(tmp_path: Path) -> None:
    # 40 training puzzles of 4×4 cells have most of all there are as images: without the check this would fail.
    build_dataset(DataConfig(size=4, num_train=40, num_test=2000, num_aug=3000), tmp_path / "d")
    train, test = (row_set(inputs(tmp_path / "d", split)) for split in ("train", "test"))
    assert len(test) == 2000
    assert not train & test


@pytest.mark.slow
def test_thirty_thousand_distinct_puzzles_of_four_by_four_can_be_generated(tmp_path: Path) -> None:
    build_dataset(DataConfig(size=4, num_train=30_000, num_test=500), tmp_path / "d")
    train, test = (row_set(inputs(tmp_path / "d", split)) for split in ("train", "test"))
    assert (len(train), len(test)) == (30_000, 500)
    assert not train & test


@pytest.mark.parametrize("config", [{"size": 4, "num_train": 3000}, {"num_train": 200}])
def test_a_strict_split_holds_up_to_symmetry(config: dict[str, int], tmp_path: Path) -> None:
    build_dataset(DataConfig(num_test=100, strict_split=True, **config), tmp_path / "d")
    domain = SudokuDomain(config.get("size", 9))
    train, test = (set(domain.canonical(inputs(tmp_path / "d", split))) for split in ("train", "test"))
    assert len(inputs(tmp_path / "d", "train")) == config["num_train"]
    assert not train & test


def test_a_strict_split_drops_training_puzzles_that_are_copies_of_test_puzzles(
    csv_file: CsvWriter, tmp_path: Path
) -> None:
    train = csv_file("both/train.csv")
    csv_file("both/test.csv", rows=[(".234341221434321", "1234341221434321", "1")])
    loose = build_dataset(DataConfig(source=str(train.parent)), tmp_path / "loose")
    strict = build_dataset(DataConfig(source=str(train.parent), strict_split=True), tmp_path / "strict")
    assert loose.train.groups == 15
    assert loose.notes == ["left out 1 training puzzle that is a test puzzle"]
    domain = SudokuDomain(4)
    (test_class,) = domain.canonical(inputs(tmp_path / "strict", "test"))
    assert test_class not in domain.canonical(inputs(tmp_path / "strict", "train"))
    assert strict.train.groups < loose.train.groups


def test_a_file_without_test_set_is_split_at_random(csv_file: CsvWriter, tmp_path: Path) -> None:
    file = csv_file()
    drawn = set()
    for seed in range(5):
        folder = tmp_path / str(seed)
        build_dataset(DataConfig(source=str(file), num_test=6, seed=seed), folder)
        train, test = (row_set(inputs(folder, split)) for split in ("train", "test"))
        assert (len(train), len(test), len(train | test)) == (10, 6, 16)
        drawn.add(frozenset(test))
    assert len(drawn) > 1


def test_requesting_no_test_puzzles_gives_no_test_split(csv_file: CsvWriter, tmp_path: Path) -> None:
    summary = build_dataset(DataConfig(source=str(csv_file()), num_test=0), tmp_path / "d")
    assert summary.test.examples == 0
    assert not (tmp_path / "d" / "test").exists()


def test_a_subsample_is_sampled_with_the_seed(shared: Path, tmp_path: Path) -> None:
    source = str(shared / "data" / "sudoku")
    config = {"source": source, "subsample_size": 50, "test_subsample_size": 30}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        summary = build_dataset(DataConfig(seed=seed, **config), tmp_path / name)
        assert (summary.train.groups, summary.test.groups) == (50, 30)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    a, c = (row_set(inputs(tmp_path / name, "train")) for name in "ac")
    assert len(a & c) < 10


def test_sampled_puzzles_with_more_than_one_solution_are_replaced(tmp_path: Path) -> None:
    a, b = "1234341221434321", "1243341221344321"
    several = "12..341221..4321"
    file = tmp_path / "p.csv"
    lines = [f"{several},{a}"] * 5 + [f".{x[1:]},{x}" for x in (a, b)]
    file.write_text("question,answer\n" + "\n".join(lines) + "\n")
    summary = build_dataset(DataConfig(source=str(file), num_test=1, subsample_size=1), tmp_path / "d")
    assert (summary.train.groups, summary.test.groups) == (1, 1)
    every = np.concatenate([inputs(tmp_path / "d", split) for split in ("train", "test")])
    assert (every == 1).sum() == 2
    assert "left out 4 repeated puzzles" in summary.notes


def test_too_few_puzzles_is_an_error_with_both_numbers(csv_file: CsvWriter, tmp_path: Path) -> None:
    config = DataConfig(source=str(csv_file()), num_test=6, subsample_size=11)
    with pytest.raises(DatasetError, match="10 usable training puzzles apart from the test puzzles; 11 were"):
        build_dataset(config, tmp_path / "d")
    with pytest.raises(DatasetError, match="16 usable test puzzles; 17 were requested"):
        build_dataset(DataConfig(source=str(csv_file()), num_test=17), tmp_path / "d")


def test_copies_that_do_not_exist_are_noted(tmp_path: Path) -> None:
    summary = build_dataset(DataConfig(size=4, num_train=3, num_test=0, num_aug=4000), tmp_path / "d")
    assert summary.train.examples <= 3 * 3072
    assert "3 of 3 training puzzles have fewer than 4,000 different augmented copies" in summary.notes[0]


def test_online_augmentation_stores_the_originals_only(tmp_path: Path) -> None:
    config = DataConfig(num_train=100, num_test=10, num_aug=1000, augment="online")
    summary = build_dataset(config, tmp_path / "d")
    assert summary.train.examples == 100
    assert Dataset.open(tmp_path / "d").metadata.augment == "online"
    assert summary.bytes < 30_000


@pytest.mark.parametrize("failure", ["reading", "writing"])
def test_a_build_that_fails_leaves_the_old_dataset_and_nothing_else(
    csv_file: CsvWriter, tmp_path: Path, failure: str
) -> None:
    file = csv_file()
    target = tmp_path / "out" / "d"
    config = DataConfig(source=str(file), num_test=3, num_aug=5)
    build_dataset(config, target)
    before = digest(target)

    def interrupt(stage: str, done: int, total: int | None) -> None:
        if stage.startswith(failure):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(config, target, force=True, report=interrupt)
    file.write_text("question,answer\n12,\n")
    with pytest.raises(HRMError):
        build_dataset(config, target, force=True)
    assert digest(target) == before
    assert [entry.name for entry in target.parent.iterdir()] == ["d"]


def test_progress_is_reported_and_ends_at_its_total(tmp_path: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    config = DataConfig(size=4, num_train=30, num_test=5, num_aug=10)
    build_dataset(config, tmp_path / "d", report=lambda stage, *numbers: told.update({stage: numbers}))
    assert told == {"generating": (35, 35), "writing": (335, 335)}
