"""The regime of a score: data, built-in knowledge, effort, use of the rules, compute, n and the interval."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hrm_cli import api
from hrm_cli.checkpoints.bundled import bundled_models, named_model
from hrm_cli.checkpoints.model_files import read_model_card
from hrm_cli.checkpoints.regime import built_in_knowledge, training_data
from hrm_cli.config.schema import Preset
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.evaluation.intervals import wilson_interval
from hrm_cli.evaluation.measuring import measure
from hrm_cli.evaluation.request import EvalRequest
from hrm_cli.reporting import Progress, Reporter

SUDOKU = {"name": "sudoku", "size": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "nine"
    build_request(BuildRequest("sudoku", folder, {"clues": "40", "num_train": 1, "num_test": 6}))
    return folder


def test_one_pass_uses_no_rules(data: Path) -> None:
    found = api.evaluate("bundled:sudoku-9x9", data, attempts=1)
    regime = found["regime"]
    assert regime["training_data"] == named_model("sudoku-9x9").facts.trained_on
    assert regime["built_in_knowledge"] == "none"
    assert regime["effort"] == "one pass of at most 32 steps, adaptive halting"
    assert regime["rules"] == "not used"
    assert regime["puzzles"] == 6
    assert regime["interval"] == list(wilson_interval(found["exact_accuracy"], 6))
    assert regime["flops_per_puzzle"] > 1e8 * found["mean_steps"]


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        (("--search", 2), "verify answers"),
        (("--search", 2, "--search-rules"), "verify answers and prune the search"),
    ],
)
def test_further_effort_says_what_the_rules_are_used_for(
    data: Path, run_hrm: Any, options: tuple[Any, ...], rules: str
) -> None:
    command = ("eval", "bundled:sudoku-any-size", "--data", data, *options)
    found = json.loads(run_hrm(*command, "--json").stdout)
    regime = found["regime"]
    assert regime["rules"] == rules
    assert "then search of 2 nodes" in regime["effort"]
    assert regime["built_in_knowledge"].startswith("rows, columns and boxes")
    assert regime["flops_per_puzzle"] == found["flops_per_puzzle"]


def test_the_text_has_the_same_regime(data: Path, run_hrm: Any) -> None:
    text = " ".join(run_hrm("eval", "bundled:sudoku-9x9", "--data", data, "--attempts", 1).stdout.split())
    regime = api.evaluate("bundled:sudoku-9x9", data, attempts=1)["regime"]
    for key in ("training_data", "effort", "rules"):
        assert regime[key] in text
    assert regime["built_in_knowledge"] == "none"
    assert "no knowledge of the rules built in;" in text
    assert "6 puzzles (95 %:" in text


def trained(*, converted: bool = False, init_from: str | None = None, **data: Any) -> str:
    preset = Preset.model_validate({"data": data, "train": {"init_from": init_from}})
    return training_data(preset, SUDOKU, is_converted=converted)


def test_training_data_is_named_by_number_and_kind() -> None:
    assert trained(size=4, num_train=3000, clues="6", num_aug=8) == (
        "4×4 Sudoku: 3,000 generated puzzles (6 clues), 8 augmented copies each"
    )
    assert trained(size=4, also=[{"num_train": 20, "min_difficulty": 3}, {"num_train": 0}]) == (
        "4×4 Sudoku: 1,000 generated puzzles (minimal), and 20 generated puzzles (minimal, 3 or more branches)"
    )
    assert trained(source="/home/me/extreme.csv", subsample_size=50, augment="online") == (
        "4×4 Sudoku: 50 training puzzles of extreme.csv, a random symmetry at every visit"
    )


def test_data_missing_from_a_header_is_reported_as_not_described() -> None:
    assert trained(path="/home/me/data/four") == (
        "4×4 Sudoku: the dataset four, which the model file does not describe"
    )
    assert "reference implementation" in trained(converted=True)


def test_weights_that_a_run_began_with_are_named() -> None:
    assert trained(size=4, init_from="/home/me/runs/first").endswith(
        "; initialized from the weights of first"
    )


def test_a_model_without_box_relations_is_not_reported_to_know_boxes() -> None:
    assert "boxes" not in built_in_knowledge("units", {"name": "grids"})


def test_list_and_cards_of_models_say_the_same(run_hrm: Any) -> None:
    listed = {one["name"]: one for one in json.loads(run_hrm("models", "--json").stdout)["models"]}
    for model in bundled_models():
        card = read_model_card(model.path)
        assert card.training_data() == listed[model.name]["trained_on"]
        assert card.built_in_knowledge() == listed[model.name]["built_in_knowledge"]
        text = model.card.read_text(encoding="utf-8")
        assert f"- **Trained on**: {card.training_data()}" in text
        assert f"- **Built-in knowledge of the rules**: {card.built_in_knowledge()}" in text


class Recorder(Reporter):
    """Keeps what it is told of every job."""

    def __init__(self) -> None:
        self.jobs: dict[str, list[float]] = {}
        self.totals: dict[str, float | None] = {}

    @contextmanager
    def progress(
        self, description: str, total: float | None = None, *, start: float = 0
    ) -> Iterator[Progress]:
        self.totals[description] = total
        own = self.jobs.setdefault(description, [])

        class Job(Progress):
            def update(self, completed: float, note: str = "", total: float | None = None) -> None:
                own.append(completed)

        yield Job()


def test_the_progress_of_further_effort_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "hard"
    build_request(BuildRequest("sudoku", folder, {"min_difficulty": 20, "num_train": 1, "num_test": 8}))
    recorder = Recorder()
    request = EvalRequest("bundled:sudoku-9x9", str(folder), max_steps=4, attempts=2, search=2)
    failed = measure(request, recorder).attempted
    assert failed is not None
    assert failed.tried_again > 0
    assert list(recorder.jobs) == ["evaluating", "copies", "search"]
    assert recorder.jobs["evaluating"][-1] == recorder.totals["evaluating"] == 8
    assert recorder.totals["copies"] == failed.tried_again
    for updates in recorder.jobs.values():
        assert updates == sorted(updates)
