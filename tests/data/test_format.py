from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import DatasetError

from .conftest import FACTS


def edit_json(folder: Path, **values: object) -> None:
    file = folder / "train" / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def edit_array(folder: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    file = folder / "train" / f"all__{name}.npy"
    np.save(file, change(np.load(file)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_reads_the_reference_dataset_with_any_integer_type(shared: Path, split: str) -> None:
    folder = shared / "golden" / "official_sudoku_dataset"
    dataset = Dataset.open(folder, split)
    assert (dataset.num_groups, dataset.num_puzzles) == (10, 40 if split == "train" else 10)
    assert dataset.sets[0].inputs.dtype == (np.int64 if split == "train" else np.uint8)
    inputs, labels = dataset.gather(np.arange(dataset.num_examples))
    assert np.array_equal(inputs, np.load(folder / split / "all__inputs.npy"))
    assert np.array_equal(labels, np.load(folder / split / "all__labels.npy"))
    assert inputs.dtype == labels.dtype == np.int32


def test_reads_the_reference_arc_dataset_with_identifiers_and_many_examples(shared: Path) -> None:
    dataset = Dataset.open(shared / "golden" / "arc_vote" / "dataset")
    assert (dataset.num_groups, dataset.num_puzzles, dataset.num_examples) == (16, 208, 806)
    assert dataset.metadata.num_puzzle_identifiers == 209


def test_sets_of_a_split_are_read_one_after_another(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "d") as writer:
        for name, value in (("a", 3), ("b", 7)):
            grid = np.full((value, 4), value, np.uint8)
            writer.split("train", name, seq_len=4).append(grid, grid, group_sizes=np.ones(value, int))
        writer.commit(FACTS)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.metadata.sets == ("a", "b")
    assert dataset.group_indices.tolist() == dataset.puzzle_indices.tolist() == list(range(11))
    inputs, labels = dataset.gather(np.array([9, 0, 3, 2]))
    assert inputs[:, 0].tolist() == labels[:, 0].tolist() == [7, 3, 7, 3]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda d: d.rename(d.with_name("elsewhere")), "does not exist"),
    "no metadata": (lambda d: (d / "train" / "dataset.json").unlink(), "no train split .only test."),
    "metadata is no JSON": (lambda d: (d / "train" / "dataset.json").write_text("{"), r"dataset\.json.*JSON"),
    "metadata lacks a field": (
        lambda d: (d / "train" / "dataset.json").write_text("{}"),
        r"dataset\.json: pad_id: missing",
    ),
    "vocabulary of none": (lambda d: edit_json(d, vocab_size=0), "vocab_size: found 0"),
    "no set": (lambda d: edit_json(d, sets=[]), "sets is empty"),
    "set outside the folder": (lambda d: edit_json(d, sets=["../x"]), "not a plain name"),
    "missing array": (
        lambda d: (d / "train" / "all__labels.npy").unlink(),
        r"all__labels\.npy: missing",
    ),
    "truncated array": (
        lambda d: (d / "train" / "all__inputs.npy").write_bytes(
            (d / "train" / "all__inputs.npy").read_bytes()[:-7]
        ),
        r"all__inputs\.npy: not a complete \.npy file",
    ),
    "empty array file": (
        lambda d: (d / "train" / "all__inputs.npy").write_bytes(b""),
        r"all__inputs\.npy: not a complete",
    ),
    "not an array at all": (
        lambda d: (d / "train" / "all__puzzle_indices.npy").write_text("hello"),
        r"all__puzzle_indices\.npy: not a complete",
    ),
    "pickled objects": (
        lambda d: np.save(d / "train" / "all__inputs.npy", np.array([{}]), allow_pickle=True),
        r"all__inputs\.npy: not a complete",
    ),
    "floats": (lambda d: edit_array(d, "inputs", lambda a: a / 1), "float64; expected an integer type"),
    "wrong dimensions": (lambda d: edit_array(d, "inputs", lambda a: a[0]), "1 dimensions"),
    "wrong sequence length": (
        lambda d: edit_array(d, "labels", lambda a: a[:, :5]),
        "rows of 5 .* seq_len is 6",
    ),
    "fewer labels than inputs": (lambda d: edit_array(d, "labels", lambda a: a[:9]), "9 rows, .* has 19"),
    "indices beyond the examples": (
        lambda d: edit_array(d, "puzzle_indices", lambda a: a + 1),
        r"puzzle_indices\.npy: ranges from 1 to 20",
    ),
    "no indices": (lambda d: edit_array(d, "group_indices", lambda a: a[:0]), "ranges from nothing"),
    "indices that fall": (
        lambda d: edit_array(d, "puzzle_indices", lambda a: np.r_[a[:2], a[4], a[3], a[4:]]),
        "entry 3 is 6 after 7",
    ),
    "empty group": (
        lambda d: edit_array(d, "group_indices", lambda a: np.r_[a[:2], a[1:]]),
        "expected increasing entries",
    ),
    "identifiers for other puzzles": (
        lambda d: edit_array(d, "puzzle_identifiers", lambda a: a[:3]),
        "3 identifiers for 10 puzzles",
    ),
    "identifier beyond the table": (
        lambda d: edit_array(d, "puzzle_identifiers", lambda a: a + 5),
        "found 15; expected 0 to 10",
    ),
    "input beyond the vocabulary": (
        lambda d: edit_json(d, vocab_size=9),
        r"inputs\.npy: found 10; expected 0 to 8",
    ),
    "negative input": (
        lambda d: edit_array(d, "inputs", lambda a: a.astype(np.int16) - 1),
        r"inputs\.npy: found -1",
    ),
    "label beyond the vocabulary": (
        lambda d: edit_array(d, "labels", lambda a: a + 3),
        r"labels\.npy: found 13; expected 0 to 10",
    ),
    "nothing but ignored labels": (lambda d: edit_array(d, "labels", lambda a: a * 0), "every label is 0"),
    "other number of groups": (lambda d: edit_json(d, total_groups=5), "total_groups is 5, .* have 4"),
    "other mean": (lambda d: edit_json(d, mean_puzzle_examples=1), "mean_puzzle_examples is 1"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_with_the_file_and_what_is_expected(dataset: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(dataset)
    with pytest.raises(DatasetError, match=message):
        Dataset.open(dataset)


def test_a_test_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    grid = np.ones((2, 4), np.uint8)
    with DatasetWriter(tmp_path / "d") as writer:
        writer.split("train", seq_len=4).append(grid, grid, group_sizes=np.array([2]))
        writer.commit(FACTS)
    assert Dataset.open(tmp_path / "d").num_groups == 1
    with pytest.raises(DatasetError, match=r"no test split \(only train\)"):
        Dataset.open(tmp_path / "d", "test")


def test_a_folder_without_dataset_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="hrm build-dataset"):
        Dataset.open(tmp_path)


def test_an_ignored_label_outside_the_vocabulary_is_allowed(dataset: Path) -> None:
    edit_array(dataset, "labels", lambda a: np.where(a == 0, -100, a.astype(np.int32)))
    edit_json(dataset, ignore_label_id=-100)
    assert Dataset.open(dataset).metadata.ignore_label_id == -100
