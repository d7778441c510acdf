from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.data.writer import DatasetWriter
from hrm_cli.errors import DatasetError

from .conftest import FACTS


def write(folder: Path, rows: int = 3, *, force: bool = False) -> None:
    grid = np.full((rows, 4), rows, np.uint8)
    with DatasetWriter(folder, force=force) as writer:
        writer.split("train", seq_len=4).append(grid, grid, group_sizes=np.array([rows]))
        writer.commit(FACTS)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_plain_numpy_and_json_read_it_as_the_reference_does(tmp_path: Path) -> None:
    write(tmp_path / "d")
    split = tmp_path / "d" / "train"
    metadata = json.loads((split / "dataset.json").read_text())
    reference = {
        "pad_id": 0,
        "ignore_label_id": 0,
        "blank_identifier_id": 0,
        "vocab_size": 11,
        "seq_len": 4,
        "num_puzzle_identifiers": 1,
        "total_groups": 1,
        "mean_puzzle_examples": 1.0,
        "sets": ["all"],
        "total_puzzles": 3,
    }
    assert {key: metadata[key] for key in reference} == reference
    for grid in ("inputs", "labels"):
        array = np.load(split / f"all__{grid}.npy", mmap_mode="r")
        assert (array.dtype, array.shape) == (np.uint8, (3, 4))
        assert (array == 3).all()
    expected = {"puzzle_identifiers": [0, 0, 0], "puzzle_indices": [0, 1, 2, 3], "group_indices": [0, 3]}
    for name, values in expected.items():
        array = np.load(split / f"all__{name}.npy")
        assert (array.dtype, array.tolist()) == (np.int32, values)
    assert json.loads((tmp_path / "d" / "identifiers.json").read_text()) == ["<blank>"]


def test_a_grid_file_is_the_one_numpy_would_save(tmp_path: Path) -> None:
    write(tmp_path / "d", rows=200)
    np.save(tmp_path / "numpy.npy", np.full((200, 4), 200, np.uint8))
    assert (tmp_path / "d/train/all__inputs.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_an_existing_dataset_stays_unless_force_is_given(tmp_path: Path) -> None:
    write(tmp_path / "d", rows=3)
    with pytest.raises(DatasetError, match="--force"):
        write(tmp_path / "d", rows=5)
    assert len(np.load(tmp_path / "d/train/all__inputs.npy")) == 3
    write(tmp_path / "d", rows=5, force=True)
    assert len(np.load(tmp_path / "d/train/all__inputs.npy")) == 5
    assert names(tmp_path) == ["d"]


@pytest.mark.parametrize("kind", ["file", "folder of something else", "dataset with a stranger in it"])
def test_a_folder_that_is_not_a_dataset_is_never_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "d"
    if kind == "file":
        target.write_text("precious")
    elif kind == "folder of something else":
        target.mkdir()
        (target / "thesis.txt").write_text("precious")
    else:
        write(target)
        (target / "thesis.txt").write_text("precious")
    with pytest.raises(DatasetError, match=r"is a file|thesis\.txt"):
        write(target, force=True)
    assert "precious" in {file.read_text() for file in [target, *target.rglob("*.txt")] if file.is_file()}


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "d")
    assert names(tmp_path / "d") == ["identifiers.json", "train"]


def test_an_error_in_the_build_leaves_nothing_not_even_new_parents(tmp_path: Path) -> None:
    def build() -> None:
        with DatasetWriter(tmp_path / "a" / "b" / "d") as writer:
            writer.split("train", seq_len=4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file/d: cannot be created"):
        write(tmp_path / "file" / "d")


KILLED = """
import os, signal, sys
from pathlib import Path
from hrm_cli.data.writer import DatasetWriter
with DatasetWriter(Path(sys.argv[1])) as writer:
    writer.split("train", seq_len=4)
    print("ready", flush=True)
    sys.stdin.read()
"""


def start_build(target: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_next_build_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    process = start_build(tmp_path / "d")
    process.kill()
    process.communicate()
    assert len(names(tmp_path)) == 2
    write(tmp_path / "d")
    assert names(tmp_path) == ["d"]


def test_a_build_in_progress_is_left_alone(tmp_path: Path) -> None:
    process = start_build(tmp_path / "d")
    write(tmp_path / "d")
    assert len(names(tmp_path)) == 3
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    assert names(tmp_path) == ["d"]


def test_a_dataset_whose_replacement_died_between_two_renames_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "d", rows=3)
    (tmp_path / "d").rename(tmp_path / ".d.replaced-1")
    with pytest.raises(DatasetError, match="--force"):
        write(tmp_path / "d", rows=5)
    assert len(np.load(tmp_path / "d/train/all__inputs.npy")) == 3


@pytest.mark.parametrize("again", ["hard", "HARD"])
def test_a_set_is_never_written_over_another(tmp_path: Path, again: str) -> None:
    message = f"split test already has a set hard, which a set {again} would overwrite"
    with DatasetWriter(tmp_path / "d") as writer:
        writer.split("test", "hard", seq_len=4)
        writer.split("validation", again, seq_len=4)
        with pytest.raises(DatasetError, match=message):
            writer.split("test", again, seq_len=4)
    assert not names(tmp_path)
