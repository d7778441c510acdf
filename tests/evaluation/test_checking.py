"""`--check` in an evaluation: any output that a function, or the scorer of a reasoning-gym task, accepts is counted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hrm_cli.data.format import Dataset
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.checking import AnswerCheck
from hrm_cli.evaluation.evaluate import Answers

RULES = """
def permutes(given, output):
    return all(sorted(first) == sorted(second) for first, second in zip(given, output))

def broken(given, output):
    return output[9][9]
"""


def built(folder: Path, source: str, domain: str = "grids", **settings: Any) -> Dataset:
    build_request(BuildRequest(domain, folder, {"source": source, **settings}, as_options=True))
    return Dataset.open(folder, "test")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Rows of three letters; the stored output is the row in reverse."""
    rng = Random(0)
    rows = {"".join(rng.choice("abcd") for _ in range(3)) for _ in range(200)}
    (tmp_path / "rows.csv").write_text(
        "input,output\n" + "".join(f"{row},{row[::-1]}\n" for row in sorted(rows))
    )
    return built(tmp_path / "data", str(tmp_path / "rows.csv"), num_test=6)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.py").write_text(RULES)
    return tmp_path / "rules.py"


def answers(dataset: Dataset, predictions: np.ndarray) -> Answers:
    inputs, labels = dataset.gather(np.arange(dataset.num_examples))
    count = len(inputs)
    return Answers(
        inputs.astype(np.int32), np.zeros(count, np.int32), labels.astype(np.int32), predictions.astype(np.int64),
        np.zeros(count, np.float32), np.arange(count),
    )  # fmt: skip


def accepted(check: AnswerCheck, dataset: Dataset, predictions: np.ndarray) -> tuple[int, int]:
    check.count(answers(dataset, predictions))
    return check.result().accepted, check.result().puzzles


def test_every_output_that_the_function_accepts_counts_and_not_only_the_stored_one(dataset, rules) -> None:
    inputs, labels = dataset.gather(np.arange(6))
    for predictions, expected in ((labels, 6), (inputs, 6), (np.full_like(labels, labels.max() + 1), 0)):
        check = AnswerCheck(f"{rules}:permutes", dataset)
        assert accepted(check, dataset, predictions) == (expected, 6)
    half = np.where(np.arange(6)[:, None] < 3, inputs, 0)  # cells without a symbol are no answer
    check = AnswerCheck(f"{rules}:permutes", dataset)
    check.count(answers(dataset, half))
    figures = check.result().figures()
    assert (figures["check"], figures["accepted"]) == (f"{rules}:permutes", 0.5)
    assert figures["accepted_interval"] == pytest.approx([0.188, 0.812], abs=0.001)


def test_checks_that_cannot_be_used_are_refused(dataset, rules, tmp_path) -> None:
    with pytest.raises(ConfigError, match="IndexError"):
        accepted(AnswerCheck(f"{rules}:broken", dataset), dataset, dataset.gather(np.arange(6))[1])
    with pytest.raises(ConfigError, match="was not made from a task of reasoning-gym"):
        AnswerCheck("gym", dataset)
    sudoku = built(tmp_path / "sudoku", "builtin", "sudoku", size=4, num_train=5, num_test=2)
    with pytest.raises(ConfigError, match=r"--check gym: only for own puzzles \(grids\)"):
        AnswerCheck("gym", sudoku)


@dataclass
class Config:
    """The parameters of the stand-in task."""

    seed: int = 0
    size: int = 1
    n: int = 4


class Queens:
    """A stand-in for the task n_queens of reasoning-gym: every second answer is a mirrored one."""

    def __init__(self, seed: int = 0, **settings: Any) -> None:
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = Random(self.seed + index)
        row = [rng.choice("_Q") for _ in range(8)]
        return {
            "question": "",
            "answer": " ".join(row),
            "metadata": {"puzzle": [row], "valid": [row, row[::-1]]},
        }

    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        return float(answer.split() in entry["metadata"]["valid"])


@pytest.fixture
def gym(monkeypatch: pytest.MonkeyPatch) -> None:
    package, factory = ModuleType("reasoning_gym"), ModuleType("reasoning_gym.factory")
    factory.DATASETS = {"n_queens": (Queens, Config)}  # type: ignore[attr-defined]
    package.factory = factory  # type: ignore[attr-defined]
    package.create_dataset = lambda name, **settings: Queens(**settings)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reasoning_gym", package)
    monkeypatch.setitem(sys.modules, "reasoning_gym.factory", factory)


def test_the_scorer_of_a_gym_task_accepts_solutions_that_are_not_the_stored_ones(gym, tmp_path) -> None:
    dataset = built(tmp_path / "data", "gym:n_queens", num_train=40, num_test=6, num_validation=0, seed=3)
    _, labels = dataset.gather(np.arange(6))
    for predictions, expected in ((labels, 6), (labels[:, ::-1], 6), (np.roll(labels, 1, axis=0), 0)):
        check = AnswerCheck("gym", dataset)
        assert check.name == "gym:n_queens"
        assert accepted(check, dataset, predictions)[0] == expected


def test_questions_of_another_seed_are_not_searched_for_without_end(gym, tmp_path, monkeypatch) -> None:
    dataset = built(tmp_path / "data", "gym:n_queens", num_train=40, num_test=6, num_validation=0, seed=3)
    monkeypatch.setattr("hrm_cli.evaluation.checking._FEWEST_ENTRIES", 3)
    monkeypatch.setattr("hrm_cli.evaluation.checking._ENTRIES_PER_PAIR", 0)
    with pytest.raises(ConfigError, match=r"of 6 questions .* are not among the first 3"):
        AnswerCheck("gym", dataset)
