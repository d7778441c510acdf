"""Several sources in one dataset: counts for each, one test set for each, nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.config.presets import load_preset
from hrm_cli.config.resolved import commented_yaml, resolved_yaml
from hrm_cli.data.batches import TrainingBatches, expected_examples
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.data.set_names import UniqueNames, file_name, set_names
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain

from .conftest import ANSWERS_4

CsvWriter = Callable[..., Path]


def inputs(folder: Path, split: str, name: str | None = None) -> list[bytes]:
    dataset = Dataset.open(folder, split)
    parts = [part.inputs for part in dataset.sets if name in (None, part.name)]
    return [row.tobytes() for part in parts for row in part]


def clues(rows: list[bytes]) -> np.ndarray:
    return (np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1) != BLANK).sum(axis=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "d"
    config = DataConfig(
        size=6,
        clues="20-24",
        num_train=60,
        num_test=30,
        num_validation=20,
        augment="online",
        also=[
            {"clues": "minimal", "num_train": 40, "num_test": 10},
            {"clues": "30", "num_train": 0, "num_test": 15, "name": "nearly-solved"},
        ],
    )
    build_dataset(config, folder)
    return folder


def test_every_source_gives_its_count_to_every_split(mixed: Path) -> None:
    train = clues(inputs(mixed, "train"))
    assert (np.isin(train, range(20, 25)).sum(), (train < 16).sum(), len(train)) == (60, 40, 100)
    test = Dataset.open(mixed, "test")
    assert {part.name: len(part.inputs) for part in test.sets} == {
        "builtin-20-24": 30, "builtin-minimal": 10, "nearly-solved": 15
    }  # fmt: skip
    assert (clues(inputs(mixed, "test", "builtin-minimal")) < 16).all()
    assert (clues(inputs(mixed, "test", "nearly-solved")) == 30).all()
    assert len(inputs(mixed, "validation")) == 20


def test_training_puzzles_of_all_sources_are_mixed_as_if_of_one(mixed: Path) -> None:
    train = Dataset.open(mixed)
    assert [part.name for part in train.sets] == ["all"]
    assert train.num_groups == 100
    (batch,) = islice(TrainingBatches(train, 100), 1)
    minimal = (batch.inputs != BLANK).sum(axis=1) < 16
    assert 5 < minimal[:50].sum() < 35
    assert minimal.sum() == 40


def test_no_puzzle_is_in_two_splits_or_comes_from_two_sources(csv_file: CsvWriter, tmp_path: Path) -> None:
    # 4×4 puzzles with one or two empty cells are few: the generator and the file meet all the time.
    pairs = [(a, b) for a in range(16) for b in range(a, 16)]
    lines = [
        ("".join("." if i in pair else c for i, c in enumerate(answer)), answer, "1")
        for answer in ANSWERS_4
        for pair in pairs
    ]
    file = csv_file(rows=lines)
    config = DataConfig(
        size=4,
        clues="14-15",
        num_train=2000,
        num_test=800,
        num_validation=300,
        also=[{"source": str(file), "num_test": 100}, {"num_train": 500, "num_test": 300}],
    )
    summary = build_dataset(config, tmp_path / "d")
    every = [row for split in ("train", "validation", "test") for row in inputs(tmp_path / "d", split)]
    assert len(every) == len(set(every))
    assert [(part.train, part.validation, part.test) for part in summary.sources[::2]] == [
        (2000, 300, 800), (500, 0, 300)
    ]  # fmt: skip
    file_part = summary.sources[1]
    assert file_part.test == 100
    # Nothing is lost either: what the file shares with others is there once, the rest came from the file.
    domain = SudokuDomain(4)
    tokens = np.stack([domain.encode(domain.grid(question)) for question, _, _ in lines])
    usable = {row.tobytes() for row in tokens[domain.solve_all(tokens).counts == 1]}
    assert usable <= set(every)
    assert file_part.train < len(usable) - 100
    assert any("that are test puzzles" in note for note in summary.notes)
    assert any("that another source already has" in note for note in summary.notes)


def test_a_strict_split_holds_across_sources(tmp_path: Path) -> None:
    config = DataConfig(
        size=6,
        num_train=300,
        num_test=50,
        num_validation=30,
        strict_split=True,
        also=[{"clues": "12-14", "num_train": 200, "num_test": 40}],
    )
    build_dataset(config, tmp_path / "d")
    domain = SudokuDomain(6)
    names = {
        split: set(domain.canonical(np.frombuffer(b"".join(inputs(tmp_path / "d", split)), np.uint8).reshape(-1, 36)))
        for split in ("train", "validation", "test")
    }  # fmt: skip
    assert not names["train"] & (names["validation"] | names["test"])
    assert not names["validation"] & names["test"]


def test_a_folder_brings_its_own_test_set(csv_file: CsvWriter, tmp_path: Path) -> None:
    folder = csv_file("own/train.csv").parent
    csv_file("own/test.csv", rows=[("." * 5 + ANSWERS_4[0][5:], ANSWERS_4[0], "1")])
    config = DataConfig(
        size=4, num_train=20, num_test=10, also=[{"source": str(folder), "subsample_size": 5}]
    )
    build_dataset(config, tmp_path / "d")
    sets = {part.name: len(part.inputs) for part in Dataset.open(tmp_path / "d", "test").sets}
    assert sets == {"builtin-minimal": 10, "own": 1}
    assert len(inputs(tmp_path / "d", "train")) == 25


def test_additional_sources_leave_the_test_puzzles_of_the_first_unchanged(tmp_path: Path) -> None:
    config = DataConfig(size=6, num_train=30, num_test=10)
    build_dataset(config, tmp_path / "one")
    build_dataset(
        config.model_copy(update={"also": DataConfig(also=[{"clues": "20"}]).also}), tmp_path / "two"
    )
    assert inputs(tmp_path / "one", "test", "all") == inputs(tmp_path / "two", "test", "builtin-minimal")


def test_collections_of_a_file_are_separated_on_request(tmp_path: Path) -> None:
    def rows(answer: str, collections: list[str]) -> str:
        lines = [f"{c},{'.' * (i + 1)}{answer[i + 1 :]},{answer}" for i, c in enumerate(collections)]
        return "\n".join(["source,question,answer", *lines]) + "\n"

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.csv").write_text(rows(ANSWERS_4[0], ["a", "b", "a"]))
    (tmp_path / "own" / "test.csv").write_text(rows(ANSWERS_4[1], ["17 clues", "hard/est", "17 clues"]))
    config = DataConfig(source=str(tmp_path / "own"), by_collection=True)
    build_dataset(config, tmp_path / "one")
    sizes = {part.name: len(part.inputs) for part in Dataset.open(tmp_path / "one", "test").sets}
    assert sizes == {"17-clues": 2, "hard-est": 1}
    assert [part.name for part in Dataset.open(tmp_path / "one").sets] == ["all"]
    further = DataConfig(also=[{"source": "builtin", "clues": "8", "num_train": 5}]).also
    build_dataset(config.model_copy(update={"also": further, "size": 4}), tmp_path / "two")
    assert [part.name for part in Dataset.open(tmp_path / "two", "test").sets] == [
        "own-17-clues",
        "own-hard-est",
    ]
    build_dataset(config.model_copy(update={"by_collection": False}), tmp_path / "three")
    assert [part.name for part in Dataset.open(tmp_path / "three", "test").sets] == ["all"]


def test_collections_whose_names_would_be_one_file_are_kept_apart(tmp_path: Path) -> None:
    def rows(answer: str, collections: list[str], first: int = 1) -> str:
        lines = [f"{c},{'.' * (i + first)}{answer[i + first :]},{answer}" for i, c in enumerate(collections)]
        return "\n".join(["source,question,answer", *lines]) + "\n"

    for name, answer in (("own", ANSWERS_4[0]), ("own-hard", ANSWERS_4[1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.csv").write_text(rows(answer, ["a"]))
    alike = ["hard set", "hard-set", "Hard Set", "hard  set", "!?"]
    (tmp_path / "own" / "test.csv").write_text(rows(ANSWERS_4[0], alike, 2))
    (tmp_path / "own-hard" / "test.csv").write_text(rows(ANSWERS_4[1], ["set", "set"], 2))
    config = DataConfig(source=str(tmp_path / "own"), by_collection=True)
    done = build_dataset(config, tmp_path / "one")
    test = Dataset.open(tmp_path / "one", "test")
    assert {part.name: len(part.inputs) for part in test.sets} == {
        "hard-set": 1, "hard-set-2": 1, "Hard-Set-3": 1, "hard-set-4": 1, "unnamed": 1
    }  # fmt: skip
    assert len({row.tobytes() for part in test.sets for row in part.inputs}) == done.test.puzzles == 5
    assert "collection 'hard-set' is the set hard-set-2, because another set is called hard-set" in done.notes
    # Also over sources, whose names stand before those of their collections.
    further = DataConfig(also=[{"source": str(tmp_path / "own-hard")}]).also
    build_dataset(config.model_copy(update={"also": further}), tmp_path / "two")
    sizes = {part.name: len(part.inputs) for part in Dataset.open(tmp_path / "two", "test").sets}
    assert sizes["own-hard-set"] == 1
    assert sizes["own-hard-set-5"] == 2
    assert sum(sizes.values()) == 7


def test_names_of_sets_fit_every_file_system() -> None:
    names = UniqueNames()
    assert [names.take(name) for name in ("é", "e\u0301", "STRASSE", "straße")] == [
        "é", "e\u0301-2", "STRASSE", "straße-2"
    ]  # fmt: skip
    assert len(file_name("é" * 300).encode()) == 150
    with pytest.raises(ConfigError, match="150 bytes at most"):
        set_names(DataConfig(name="n" * 151).sources)


def test_a_source_of_another_size_is_refused_with_both(csv_file: CsvWriter, tmp_path: Path) -> None:
    config = DataConfig(size=6, num_train=5, num_test=2, also=[{"source": str(csv_file())}])
    with pytest.raises(
        DatasetError, match=r"data\.also\[0\]: .*puzzles\.csv contains 4×4 Sudoku, but builtin contains 6×6"
    ):
        build_dataset(config, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_sets_are_named_after_their_sources_and_never_alike() -> None:
    config = DataConfig(
        also=[
            {},
            {"clues": "30"},
            {"source": "some/hard.csv"},
            {"source": "hf:a/extreme"},
            {"name": "builtin-minimal"},
        ]
    )
    assert set_names(config.sources) == [
        "builtin-minimal", "builtin-minimal-2", "builtin-30", "hard", "extreme", "builtin-minimal-3"
    ]  # fmt: skip
    assert set_names(DataConfig().sources) == ["all"]
    with pytest.raises(ConfigError, match=r"data\.name '\.\./x'"):
        set_names(DataConfig(name="../x").sources)


def test_sources_are_given_in_a_file_or_on_the_command_line_and_survive_being_written_down(
    tmp_path: Path,
) -> None:
    given = "[{source: hard.csv, subsample_size: 30}, {clues: minimal, num_train: 7e2}]"
    preset = load_preset("tiny", [f"data.also={given}", "num_validation=9"])
    assert [(part.source, part.clues, part.num_train, part.num_test) for part in preset.data.sources] == [
        ("builtin", "45-70", 1000, 500), ("hard.csv", "45-70", 1000, 0), ("builtin", "minimal", 700, 0)
    ]  # fmt: skip
    assert expected_examples(preset.data).groups == 1730
    for text in (resolved_yaml(preset), commented_yaml(preset)):
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        assert load_preset(str(tmp_path / "mine.yaml")) == preset


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ("[{clus: minimal}]", r"data\.also\.0\.clus: unknown key; did you mean clues"),
        ("[{num_train: -1}]", r"data\.also\.0\.num_train: found -1; accepted: a whole number, at least 0"),
        ("[7]", r"data\.also\.0: found 7; accepted: a mapping such as"),
        ("minimal", r"data\.also: found 'minimal'; accepted: a list"),
    ],
)
def test_an_additional_source_that_is_wrong_is_named_by_its_position(further: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_preset("tiny", [f"data.also={further}"])
