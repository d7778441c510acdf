"""Datasets of mazes: generated, and read from files with and without answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.puzzles.domain import make_domain
from hrm_cli.puzzles.maze.domain import MazeDomain

SHORT = ("S###G###    ####", "S###G###    ####")
LONGER = ("####S  G####    ", "####SooG####    ")
TIED = ("S  # #   # #  G ", "")
OPEN = ("S    #      # G ", "")
"""Two mazes with several shortest paths."""


@pytest.fixture
def maze_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: tuple[str, str], name: str = "mazes.csv") -> Path:
        file = tmp_path / name
        lines = ["source,question,answer,rating", *(f"t,{q},{a},99" for q, a in rows)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return write


def build(folder: Path, **fields: object):
    return build_dataset(DataConfig(domain="maze", **fields), folder)


def tokens(folder: Path, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    part = Dataset.open(folder, split).sets[0]
    return np.asarray(part.inputs, np.uint8), np.asarray(part.labels, np.uint8)


def test_a_generated_dataset_holds_shortest_paths_and_says_what_it_is(tmp_path: Path) -> None:
    summary = build(
        tmp_path / "d", size=10, min_path=15, style="braided", num_train=20, num_test=6, num_aug=7
    )
    assert (summary.vocab_size, summary.seq_len) == (6, 100)
    assert (summary.train.groups, summary.train.puzzles, summary.test.puzzles) == (20, 160, 6)
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.metadata.domain == {"name": "maze", "rows": 10, "columns": 10}
    domain = make_domain(**dataset.metadata.domain)
    assert isinstance(domain, MazeDomain)
    for split in ("train", "test"):
        inputs, labels = tokens(tmp_path / "d", split)
        found = domain.solve_all(inputs)
        assert (found.counts == 1).all()
        assert found.difficulties.min() >= 15
        assert (found.answers == labels).all()
    assert len(np.unique(tokens(tmp_path / "d")[0], axis=0)) == 160


def test_thirty_by_thirty_is_the_usual_size(tmp_path: Path) -> None:
    assert build(tmp_path / "d", num_train=2, num_test=0).seq_len == 900


def test_the_same_seed_builds_the_same_files(tmp_path: Path) -> None:
    for name in "ab":
        build(tmp_path / name, size=8, num_train=10, num_test=2, num_aug=3, seed=4)
    for file in (tmp_path / "a").rglob("*.npy"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_more_copies_than_a_square_has_symmetries_give_all_of_them_and_a_note(tmp_path: Path) -> None:
    summary = build(tmp_path / "d", size=8, num_train=3, num_test=0, num_aug=20)
    assert summary.train.puzzles == 3 * 8
    assert "3 of 3 training puzzles have fewer than 20 different augmented copies" in summary.notes[0]


def test_no_symmetric_copy_of_a_test_maze_is_trained_on_with_a_strict_split(tmp_path: Path) -> None:
    build(tmp_path / "d", size=4, num_train=30, num_test=30, style="walls", strict_split=True)
    domain = MazeDomain(size=4)
    names = [set(domain.canonical(tokens(tmp_path / "d", split)[0])) for split in ("train", "test")]
    assert names[0].isdisjoint(names[1])


def test_answers_in_a_file_are_checked_and_missing_ones_computed(
    maze_csv: Callable[..., Path], tmp_path: Path
) -> None:
    build(tmp_path / "d", source=str(maze_csv(LONGER, (SHORT[0], ""))), num_test=0)
    domain = MazeDomain(4, 4)
    labels = [domain.text(domain.decode(row)) for row in tokens(tmp_path / "d")[1]]
    assert labels == [LONGER[1], SHORT[1]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("####S #G####    ", ""), "mazes.csv:2: no solution (no path leads from S to G)"),
        (
            ("####S  G####    ", "####S  G####    "),
            "the given answer is wrong (no path: no cell next to S is marked)",
        ),
        (
            ("S       G       ", "Sooo   oGooo    "),
            "the given answer is wrong (a path of 8 moves; the shortest has 2)",
        ),
        (("####S  G###     x", ""), "17 characters"),
    ],
)
def test_lines_that_hold_no_usable_maze_are_named(
    row: tuple[str, str], reason: str, maze_csv: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        build(tmp_path / "d", source=str(maze_csv(row, LONGER)), num_test=0)
    assert reason in str(caught.value)
    assert not (tmp_path / "d").exists()


def test_mazes_of_another_shape_than_the_first_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mazes.txt"
    file.write_text("S G\n\nS  \n  G\n")
    with pytest.raises(DatasetError, match=r"mazes.txt:3: 2×3 cells; the earlier puzzles have 1×3"):
        build(tmp_path / "d", source=str(file), num_test=0)


def test_mazes_with_more_than_one_shortest_path_are_left_out_unless_allowed(
    maze_csv: Callable[..., Path], tmp_path: Path
) -> None:
    file = maze_csv(LONGER, TIED, OPEN)
    summary = build(tmp_path / "d", source=str(file), num_test=0)
    assert summary.train.groups == 1
    assert summary.notes == ["mazes.csv: left out 2 puzzles with more than one solution"]
    assert build(tmp_path / "e", source=str(file), num_test=0, allow_ties=True).train.groups == 3


def test_short_paths_are_left_out_by_their_moves_not_by_the_rating_in_the_file(
    maze_csv: Callable[..., Path], tmp_path: Path
) -> None:
    summary = build(tmp_path / "d", source=str(maze_csv(LONGER, SHORT)), num_test=0, min_path=3)
    assert summary.train.groups == 1
    assert summary.notes == ["mazes.csv: left out 1 puzzle below a shortest path of 3"]


def test_a_sudoku_in_a_file_is_not_a_maze(tmp_path: Path) -> None:
    file = tmp_path / "puzzles.txt"
    file.write_text("1.3.....2341....\n")
    with pytest.raises(DatasetError, match=r"'1' in row 1, column 1"):
        build(tmp_path / "d", source=str(file))


def test_a_domain_without_a_recipe_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sudoku"):
        build_dataset(DataConfig(domain="chess"), tmp_path / "d")


def test_the_real_mazes_make_a_dataset(shared: Path, tmp_path: Path) -> None:
    summary = build(tmp_path / "d", source=str(shared / "data/maze/test.csv"), num_test=30, num_aug=7)
    assert (summary.train.groups, summary.train.puzzles, summary.test.puzzles) == (120, 960, 30)
    assert summary.notes == []
