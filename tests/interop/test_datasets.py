"""Datasets both ways: ours by the reference's reading rules, and the reference's by ours.

The reference's loader is not here. `Theirs` states its rules anew, as the specification and the recordings' README give
them: which fields and files there must be, what an epoch visits, how batches are filled, ignored, cast and padded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.batches import TrainingBatches, evaluation_batches, total_steps
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import DatasetError

Arrays = dict[str, np.ndarray]
IGNORED = -100

NUMBERS = (
    "pad_id", "blank_identifier_id", "vocab_size", "seq_len", "num_puzzle_identifiers", "total_groups", "total_puzzles"
)  # fmt: skip
GRIDS = ("inputs", "labels")
INDICES = ("puzzle_identifiers", "puzzle_indices", "group_indices")


class Theirs:
    """One split as the reference reads it."""

    def __init__(self, folder: Path, split: str) -> None:
        self.facts = json.loads((folder / split / "dataset.json").read_text())
        # TRM's loader counts the puzzles itself where the file does not say how many there are.
        self.facts.setdefault("total_puzzles", len(np.load(folder / split / "all__puzzle_indices.npy")) - 1)
        for name in NUMBERS:
            assert type(self.facts[name]) is int, name
        assert self.facts["ignore_label_id"] is None or type(self.facts["ignore_label_id"]) is int
        assert isinstance(self.facts["mean_puzzle_examples"], float)
        assert all(isinstance(name, str) for name in self.facts["sets"])
        self.sets: dict[str, Arrays] = {
            name: {
                array: np.load(
                    folder / split / f"{name}__{array}.npy", mmap_mode="r" if array in GRIDS else None
                )
                for array in GRIDS + INDICES
            }
            for name in self.facts["sets"]
        }

    def train(self, batch_size: int, epochs: int, rng: np.random.Generator) -> Iterator[tuple[str, Arrays]]:
        """Set after set; an incomplete last batch is dropped."""
        for name, arrays in self.sets.items():
            starts, groups = arrays["puzzle_indices"], arrays["group_indices"]
            order = np.concatenate([rng.permutation(groups.size - 1) for _ in range(epochs)])
            rows: list[int] = []
            owners: list[int] = []
            for group in order:
                puzzle = int(rng.integers(groups[group], groups[group + 1]))
                size = int(starts[puzzle + 1] - starts[puzzle])
                # Of a puzzle that no longer fits, as many examples as do.
                taken = rng.choice(size, min(size, batch_size - len(rows)), replace=False)
                rows += [int(starts[puzzle] + example) for example in taken]
                owners += [puzzle] * len(taken)
                if len(rows) == batch_size:
                    yield name, self._collated(arrays, rows, owners, batch_size)
                    rows, owners = [], []

    def test(self, batch_size: int) -> Iterator[tuple[str, Arrays]]:
        """Every example once, set after set; the last batch of each set is padded."""
        for name, arrays in self.sets.items():
            count = len(arrays["inputs"])
            for start in range(0, count, batch_size):
                rows = list(range(start, min(start + batch_size, count)))
                owners = [
                    int(np.searchsorted(arrays["puzzle_indices"], row, side="right")) - 1 for row in rows
                ]
                yield name, self._collated(arrays, rows, owners, batch_size)

    def _collated(self, arrays: Arrays, rows: list[int], owners: list[int], batch_size: int) -> Arrays:
        batch = {name: np.asarray(arrays[name][rows]).astype(np.int32) for name in GRIDS}
        batch["puzzle_identifiers"] = arrays["puzzle_identifiers"][owners].astype(np.int32)
        if self.facts["ignore_label_id"] is not None:
            batch["labels"][batch["labels"] == self.facts["ignore_label_id"]] = IGNORED
        missing = batch_size - len(rows)
        fill = {
            "inputs": self.facts["pad_id"],
            "labels": IGNORED,
            "puzzle_identifiers": self.facts["blank_identifier_id"],
        }
        return {
            name: np.concatenate([values, np.full((missing, *values.shape[1:]), fill[name], np.int32)])
            for name, values in batch.items()
        }


def rows_of(batch: Any) -> list[bytes]:
    """Each row as one value: input, label and identifier together."""
    arrays = batch if isinstance(batch, dict) else vars(batch)
    parts = [
        np.asarray(arrays[name]).reshape(len(arrays["inputs"]), -1) for name in (*GRIDS, "puzzle_identifiers")
    ]
    return [row.tobytes() for row in np.concatenate(parts, axis=1).astype(np.int32)]


def allowed_rows(theirs: Theirs) -> list[list[set[bytes]]]:
    """Of every group, of every puzzle: the rows that training may show."""
    groups = []
    for arrays in theirs.sets.values():
        starts = arrays["puzzle_indices"]
        for first, end in zip(arrays["group_indices"], arrays["group_indices"][1:], strict=False):
            puzzles = []
            for puzzle in range(first, end):
                rows = list(range(starts[puzzle], starts[puzzle + 1]))
                puzzles.append(set(rows_of(theirs._collated(arrays, rows, [puzzle] * len(rows), len(rows)))))
            groups.append(puzzles)
    return groups


ANSWERS = ("1234341221434321", "4321214334121234", "1234341243212143", "2143432134121234")


@pytest.fixture(scope="module")
def sudoku(tmp_path_factory) -> Path:
    """Built by us: four 4×4 puzzles, one of them for the test, the others with three copies each."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "puzzles.txt").write_text("\n".join("...." + answer[4:] for answer in ANSWERS))
    build_dataset(DataConfig(source=str(folder / "puzzles.txt"), num_test=1, num_aug=3), folder / "sudoku")
    return folder / "sudoku"


@pytest.fixture(scope="module")
def arc(tmp_path_factory, shared: Path) -> Path:
    """Built by us from the recordings' sixteen tasks."""
    folder = tmp_path_factory.mktemp("ours") / "arc"
    config = DataConfig(domain="arc", source=str(shared / "golden" / "arc_vote" / "mini"), num_aug=3)
    build_dataset(config, folder)
    return folder


@pytest.fixture(params=["ours: sudoku", "ours: arc", "theirs: sudoku", "theirs: arc"])
def either(request: pytest.FixtureRequest) -> Path:
    """A dataset of ours or of the reference's."""
    whose, _, what = request.param.partition(": ")
    if whose == "ours":
        return request.getfixturevalue(what)
    golden = request.getfixturevalue("shared") / "golden"
    return golden / "official_sudoku_dataset" if what == "sudoku" else golden / "arc_vote" / "dataset"


def test_both_read_the_same_test_batches_number_for_number(either: Path) -> None:
    theirs = [batch for _, batch in Theirs(either, "test").test(7)]
    ours = list(evaluation_batches(Dataset.open(either, "test"), 7, pad=True))
    assert len(ours) == len(theirs) > 0
    for own, other in zip(ours, theirs, strict=True):
        for name, values in other.items():
            assert getattr(own, name).dtype == values.dtype == np.int32
            assert np.array_equal(getattr(own, name), values), name


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_an_epoch_by_either_rule_visits_every_group_with_one_of_its_puzzles(either: Path, whose: str) -> None:
    theirs = Theirs(either, "train")
    groups = allowed_rows(theirs)
    if whose == "theirs":
        batches = theirs.train(3, 1, np.random.default_rng(1))
        shown = {row for _, batch in batches for row in rows_of(batch)}
    else:
        stream, rows = TrainingBatches(Dataset.open(either), 1, seed=1), list[bytes]()
        while stream.epoch == 0:
            rows += rows_of(next(stream))
        shown = set(rows)
    assert shown
    assert shown <= set().union(*(rows for group in groups for rows in group))
    for group in groups:
        visited = [puzzle for puzzle in group if puzzle & shown]
        # Rows that two puzzles share do not tell which of them was drawn.
        told = [
            puzzle for puzzle in visited if not any(puzzle & other for other in group if other is not puzzle)
        ]
        assert len(told) <= 1
        if whose == "ours":
            assert any(puzzle <= shown for puzzle in group)


def test_our_metadata_gives_the_number_of_steps_that_the_reference_computes(sudoku: Path, arc: Path) -> None:
    for folder in (sudoku, arc):
        facts, dataset = Theirs(folder, "train").facts, Dataset.open(folder)
        reckoned = int(50 * facts["total_groups"] * facts["mean_puzzle_examples"] / 6)
        assert (
            total_steps(50, dataset.metadata.total_groups, dataset.metadata.mean_puzzle_examples, 6)
            == reckoned
        )
        assert facts["total_puzzles"] == dataset.num_puzzles
        names = json.loads((folder / "identifiers.json").read_text())
        assert len(names) == facts["num_puzzle_identifiers"]
        assert names[facts["blank_identifier_id"]] == "<blank>"


def test_ours_of_arc_has_what_the_references_voting_reads(arc: Path, shared: Path) -> None:
    golden = shared / "golden" / "arc_vote" / "dataset"
    ours, theirs = (json.loads((folder / "test_puzzles.json").read_text()) for folder in (arc, golden))
    assert ours == theirs
    names = json.loads((arc / "identifiers.json").read_text())
    split = Theirs(arc, "test")
    tested = {names[identifier].split("|||")[0] for identifier in split.sets["all"]["puzzle_identifiers"]}
    assert tested == set(ours)


def with_types(source: Path, target: Path, grids: str, indices: str) -> Path:
    """A copy of a dataset whose numbers are stored in other formats."""
    shutil.copytree(source, target)
    for file in target.rglob("*.npy"):
        kind = file.stem.partition("__")[2]
        np.save(file, np.load(file).astype(grids if kind in GRIDS else indices))
    return target


@pytest.mark.parametrize(
    ("grids", "indices"),
    [("uint8", "int32"), ("int64", "int64"), ("int16", "uint8"), ("uint16", "uint32"), (">i4", ">i8"),
     ("int8", "int16")],
)  # fmt: skip
def test_any_integer_type_gives_the_same_batches(
    sudoku: Path, tmp_path: Path, grids: str, indices: str
) -> None:
    copy = with_types(sudoku, tmp_path / "copy", grids, indices)
    for split in ("train", "test"):
        first, second = Dataset.open(sudoku, split), Dataset.open(copy, split)
        pairs = zip(evaluation_batches(first, 5), evaluation_batches(second, 5), strict=True)
        assert all(rows_of(a) == rows_of(b) for a, b in pairs)
    streams = [TrainingBatches(Dataset.open(folder), 3, seed=4) for folder in (sudoku, copy)]
    for _ in range(5):
        a, b = (next(stream) for stream in streams)
        assert rows_of(a) == rows_of(b)
        assert b.inputs.dtype == b.labels.dtype == b.puzzle_identifiers.dtype == np.int32


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Two sets, of other sizes and number formats, puzzles of several examples, identifiers of their own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "several"
    with DatasetWriter(folder) as writer:
        writer.set_identifiers(["<blank>", *"abcdefghij"])
        for split in ("train", "test"):
            for name, first, groups in (("all", 1, 3), ("concept", 7, 2)):
                inputs, labels = (rng.integers(1, 9, (4 * groups, 6), dtype=np.uint8) for _ in range(2))
                writer.split(split, name, seq_len=6).append(
                    inputs,
                    labels,
                    group_sizes=np.full(groups, 2),
                    puzzle_sizes=np.tile([1, 3], groups),
                    identifiers=first + np.repeat(np.arange(groups), 2),
                )
        writer.commit({"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 9})
    for file in folder.rglob("concept__*puts.npy"):
        np.save(file, np.load(file).astype(np.int64))
    return folder


def test_several_sets_are_read_by_both_in_the_same_order_and_none_is_left_out(several: Path) -> None:
    theirs, dataset = Theirs(several, "test"), Dataset.open(several, "test")
    assert list(theirs.sets) == list(dataset.metadata.sets) == ["all", "concept"]
    # They pad the end of each set, we the end of all: a batch of one needs neither.
    ours = [row for batch in evaluation_batches(dataset, 1) for row in rows_of(batch)]
    assert ours == [row for _, batch in theirs.test(1) for row in rows_of(batch)]
    assert len(ours) == 20
    stream = TrainingBatches(Dataset.open(several), 5, seed=0)
    shown = {row for _ in range(40) for row in rows_of(next(stream))}
    allowed = [rows for group in allowed_rows(Theirs(several, "train")) for rows in group]
    assert shown == set().union(*allowed)


def test_the_reference_names_the_missing_test_split_and_so_do_we_while_training_continues(
    shared: Path, tmp_path: Path, in_process: Callable[..., tuple[int, str, str]]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shared / "golden" / "official_sudoku_dataset", data)
    shutil.rmtree(data / "test")
    with pytest.raises(FileNotFoundError):
        Theirs(data, "test")
    with pytest.raises(DatasetError, match=r"no test split \(only train\)"):
        Dataset.open(data, "test")
    status, printed, errors = in_process(
        "train", "--preset", "tiny", "--data", data, "--output-dir", "run", "hidden_size=16", "num_heads=2",
        "train.max_steps=2", "global_batch_size=4", "L_cycles=1", "H_cycles=1", "forward_dtype=float32",
    )  # fmt: skip
    assert status == 0, errors
    assert "Finished after 2 steps" in printed
    assert not (tmp_path / "run" / "best").exists()  # nothing was evaluated, so nothing is best
    status, _, errors = in_process("eval", "run")
    assert status == 2
    assert "no test split (only train)" in errors
    status, printed, errors = in_process("eval", "run", "--split", "train", "--json", "--max-steps", "2")
    assert status == 0, errors
    assert json.loads(printed)["puzzles"] == 40


def test_a_dataset_without_a_test_split_of_ours_is_read_by_the_reference(tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text("...." + ANSWERS[0][4:])
    build_dataset(DataConfig(source=str(tmp_path / "puzzles.txt"), num_test=0, num_aug=2), tmp_path / "d")
    ((_, batch),) = Theirs(tmp_path / "d", "train").train(1, 1, np.random.default_rng(0))
    assert batch["inputs"].shape == (1, 16)
    assert (batch["labels"] >= 2).all()
    assert not (tmp_path / "d" / "test").exists()
