"""Sources of own puzzles that are not files: functions, tasks of reasoning-gym, datasets of the hub."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from hrm_cli.data.grids.gym import TASKS, GymSource
from hrm_cli.data.grids.sources import files_of, is_source
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.data.summary import BuildSummary
from hrm_cli.errors import ConfigError, DatasetError, HRMError

TRANSPOSE = """
def pair(rng):
    rows = [[rng.choice("012") for _ in range(3)] for _ in range(3)]
    return rows, [list(row) for row in zip(*rows)]

def many(rng):
    while True:
        yield pair(rng)

def few(rng):
    for number in range(5):
        yield str(number), str(number)

def number(rng):
    return 5

def failing(rng):
    raise ValueError("no luck")
"""


@pytest.fixture
def make(tmp_path: Path) -> Path:
    path = tmp_path / "make.py"
    path.write_text(TRANSPOSE)
    return path


def build(source: str, target: Path, **settings: Any) -> BuildSummary:
    return build_request(BuildRequest("grids", target, {"source": source, **settings}, as_options=True))


@pytest.mark.parametrize("function", ["pair", "many"])
def test_a_function_makes_as_many_different_inputs_as_requested(make, tmp_path, function):
    summary = build(f"{make}:{function}", tmp_path / "built", num_train=80, num_test=9, num_validation=7)
    assert (summary.train.examples, summary.test.examples, summary.validation.examples) == (80, 9, 7)


def test_the_same_seed_makes_the_same_pairs_and_another_seed_others(make, tmp_path):
    stored = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(f"{make}:pair", tmp_path / name, num_train=40, seed=seed)
        stored.append((tmp_path / name / "train" / "all__inputs.npy").read_bytes())
    assert stored[0] == stored[1] != stored[2]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("few", ["are needed", "--num-train"]),
        ("number", ["pair 1 is 5", "expected (input, output)"]),
        ("failing", ["failed: ValueError: no luck"]),
        ("absent", ["has no function absent"]),
    ],
)
def test_a_function_that_cannot_be_used_is_named_and_nothing_is_written(make, tmp_path, function, words):
    with pytest.raises(HRMError) as error:
        build(f"{make}:{function}", tmp_path / "built")
    assert all(word in str(error.value) for word in words)
    assert not (tmp_path / "built").exists()


def test_settings_for_files_are_refused_for_a_function(make, tmp_path):
    with pytest.raises(ConfigError, match="--subsample-size: only for puzzles from a file"):
        build(f"{make}:pair", tmp_path / "built", subsample_size=5)


def test_a_preset_cannot_run_code(make, tmp_path):
    from hrm_cli.config.schema import Preset
    from hrm_cli.data.build import build_dataset

    config = Preset.model_validate({"data": {"domain": "grids", "source": f"{make}:pair"}}).data
    with pytest.raises(ConfigError, match="only when named on the command line"):
        build_dataset(config, tmp_path / "built")


@dataclass
class _FakeConfig:
    min_n: int = 2
    max_n: int = 4
    min_rotations: int = 0
    max_rotations: int = 10
    seed: int | None = None
    size: int = 500

    def validate(self) -> None:
        assert self.min_n <= self.max_n, "max_n must be >= min_n"


class _FakeTask:
    def __init__(self, config: _FakeConfig) -> None:
        self.config = config

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = Random((self.config.seed or 0) + index)
        size = rng.randint(self.config.min_n, self.config.max_n)
        matrix = [[rng.randint(0, 9) for _ in range(size)] for _ in range(size)]
        turned = [list(row) for row in zip(*matrix[::-1], strict=True)]
        answer = "\n".join(" ".join(map(str, row)) for row in turned)
        return {"question": "", "answer": answer, "metadata": {"matrix": matrix}}

    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        return float(answer == entry["answer"])


@pytest.fixture
def fake_gym(monkeypatch) -> None:
    package, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    factory.DATASETS = {"rotate_matrix": (_FakeTask, _FakeConfig)}
    package.factory = factory
    package.create_dataset = lambda name, **settings: _FakeTask(_FakeConfig(**settings))
    monkeypatch.setitem(sys.modules, "reasoning_gym", package)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)


def test_a_task_of_reasoning_gym_becomes_a_dataset(fake_gym, tmp_path):
    summary = build(
        "gym:rotate_matrix?max_n=3", tmp_path / "built", num_train=30, num_test=5, num_validation=0
    )
    assert (summary.train.examples, summary.test.examples) == (30, 5)
    assert summary.domain["rows"] == 3


def test_right_answers_have_the_full_score_of_the_task_and_wrong_ones_do_not(fake_gym):
    source = GymSource.parse("gym:rotate_matrix")
    for entry in islice(source.entries(3), 20):
        answer = TASKS["rotate_matrix"].answer(entry)
        assert source.score(answer, entry) == 1
        assert source.score([["x"] * len(answer)] * len(answer), entry) < 1


def test_seeds_share_no_entries(fake_gym):
    first, second = (
        {json.dumps(pair) for pair in islice(GymSource.parse("gym:rotate_matrix?min_n=4").pairs(seed), 50)}
        for seed in (0, 1)
    )
    assert not first & second


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("gym:rotate_matrx", "did you mean rotate_matrix"),
        ("gym:rotate_matrix?min=3", "has no parameter 'min'"),
        ("gym:rotate_matrix?min_n=9", "max_n must be >= min_n"),
    ],
)
def test_unknown_tasks_and_parameters_are_named(fake_gym, source, words):
    with pytest.raises(ConfigError, match="source gym:") as error:
        GymSource.parse(source)
    assert words in str(error.value)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ConfigError, match=r"hrm-cli\[gym\]"):
        GymSource.parse("gym:rotate_matrix")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_scorer_of_each_real_task_accepts_its_own_answers(name):
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    source, task = GymSource.parse(f"gym:{name}"), TASKS[name]
    for entry in islice(source.entries(1), 3):
        question, answer = task.question(entry), task.answer(entry)
        assert len({len(row) for row in question}) == len({len(row) for row in answer}) == 1
        assert source.score(answer, entry) == pytest.approx(1)


def test_a_dataset_of_the_hub_is_read_from_its_split_files(monkeypatch, tmp_path):
    folder = tmp_path / "snapshot"
    (folder / "data").mkdir(parents=True)
    for name, first in (("train-00000-of-00002", 0), ("train-00001-of-00002", 20), ("test", 40)):
        lines = [json.dumps({"input": f"{n}", "output": f"{n + 1}"}) for n in range(first, first + 20)]
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(lines))
    package = ModuleType("huggingface_hub")
    asked: dict[str, Any] = {}

    def snapshot_download(repository: str, **options: Any) -> str:
        asked.update(options, repository=repository)
        return str(folder)

    package.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    summary = build("hf:someone/pairs@v2", tmp_path / "built", num_validation=0)
    assert (summary.train.examples, summary.test.examples) == (40, 20)
    assert asked["repository"] == "someone/pairs"
    assert (asked["repo_type"], asked["revision"]) == ("dataset", "v2")
    assert "*.jsonl" in asked["allow_patterns"]


def test_parquet_files_are_read_where_pyarrow_is_installed(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"input": [f"{n:02}" for n in range(30)], "output": [f"{n % 10}" for n in range(30)]}
    )
    parquet.write_table(table, tmp_path / "pairs.parquet")
    assert build(str(tmp_path / "pairs.parquet"), tmp_path / "built", num_test=5).test.examples == 5


def test_parquet_without_pyarrow_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"hrm-cli\[parquet\]"):
        build(str(tmp_path / "pairs.parquet"), tmp_path / "built")


def test_two_files_of_one_split_are_refused_unless_they_are_numbered_parts(tmp_path):
    for name in ("train.csv", "train.jsonl"):
        (tmp_path / name).write_text("")
    with pytest.raises(DatasetError, match="both the train split"):
        files_of("here", tmp_path)


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("mine.csv", True),
        ("hf:someone/pairs", True),
        ("gym:maze", True),
        ("make.py:pair", True),
        ("lr=1e-3", False),
        ("data.source=mine.csv", False),
        ("tiny", False),
        ("make.py", False),
    ],
)
def test_sources_are_told_from_settings_by_their_form(word, is_one):
    assert is_source(word) is is_one
