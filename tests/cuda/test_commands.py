"""The commands on the accelerator: bundled models solve and are evaluated as on a CPU, and a run trains and resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.bundled import named_model
from hrm_cli.checkpoints.model_files import load_model
from hrm_cli.config.data import DataConfig
from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.evaluation.evaluate import Answers, evaluate

pytestmark = pytest.mark.cuda

PUZZLES = """\
003020600900305001001806400008102900700000008006708200002609500800203009005010300
2135.9..4.6.81..9.59..6.2...8..461....9281...13.95...6......63.85.73.9..3...9..48
1.3..4.12.4.4..2
"""

SOLVED = {
    "sudoku-4x4": DataConfig(size=4, clues="6-10", num_train=1, num_test=64, seed=3),
    "sudoku-9x9": DataConfig(size=9, clues="30-50", num_train=1, num_test=64, seed=3),
    "maze-any-size": DataConfig(domain="maze", size=10, num_train=1, num_test=24, seed=3),
}
"""Bundled models, and puzzles for each."""


def answers(model: Any, dataset: Dataset) -> tuple[dict[int, np.ndarray], Any]:
    """What a model answers to every example, and the figures of the evaluation."""
    found: dict[int, np.ndarray] = {}

    def keep(done: Answers) -> None:
        found.update(zip(done.examples.tolist(), done.predictions, strict=True))

    return found, evaluate(model, dataset, EvalConfig(batch_size=32), on_answers=keep)


@pytest.mark.parametrize("name", SOLVED)
def test_a_bundled_model_gives_the_same_answers_as_on_a_cpu(
    name: str, accelerator: torch.device, tmp_path: Path
) -> None:
    build_dataset(SOLVED[name], tmp_path / "data")
    dataset = Dataset.open(tmp_path / "data", "test")
    outcomes = []
    for device in (accelerator, torch.device("cpu")):
        model, _ = load_model(named_model(f"bundled:{name}").path, device)
        model.core.dtype = (
            torch.float32
        )  # bfloat16 would round in another order, and so answer otherwise in doubt
        outcomes.append(answers(model, dataset))
    (here, ours), (there, theirs) = outcomes
    assert theirs.exact_accuracy > 0.7
    assert ours.exact_accuracy == pytest.approx(theirs.exact_accuracy, abs=1 / 24)
    assert ours.mean_steps == pytest.approx(theirs.mean_steps, abs=0.1)
    assert here.keys() == there.keys()
    assert [n for n in here if not np.array_equal(here[n], there[n])][1:] == []


def test_a_bundled_model_solves_on_the_accelerator_in_its_own_number_format(
    run_hrm: Callable[..., Any], accelerator: torch.device, tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text(PUZZLES, encoding="utf-8")
    done = run_hrm("solve", "puzzles.txt", "--device", accelerator, "--json", cwd=tmp_path)
    assert done.status == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["status"] for record in records] == ["solved"] * 3


HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..\n"


@pytest.mark.parametrize(
    "options",
    [
        ("--checkpoint", "bundled:sudoku-9x9", "--effort", "low", "--search", "32"),
        (
            "--checkpoint",
            "bundled:sudoku-9x9",
            "--restarts",
            "4",
            "--select",
            "confidence",
        ),
        ("--checkpoint", "bundled:sudoku-any-size", "--attempts", "4", "--select", "agreement"),
    ],
    ids=["search", "restarts", "attempts"],
)
def test_more_effort_at_inference_runs_on_the_accelerator(
    options: tuple[str, ...], run_hrm: Callable[..., Any], accelerator: torch.device, tmp_path: Path
) -> None:
    (tmp_path / "puzzles.txt").write_text(PUZZLES.splitlines()[0] + "\n" + HARD, encoding="utf-8")
    done = run_hrm("solve", "puzzles.txt", "--device", accelerator, "--json", *options, cwd=tmp_path)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    # The second puzzle is among the hardest known: whether it is solved depends on rounding.
    assert done.status in (0, 1), done.stderr
    assert records[0]["status"] == "solved"
    assert len(records) == 2


def test_a_model_of_every_size_is_evaluated_on_another_size_on_the_accelerator(
    run_hrm: Callable[..., Any], accelerator: torch.device, tmp_path: Path
) -> None:
    build_dataset(DataConfig(size=6, clues="30", num_train=1, num_test=8, seed=3), tmp_path / "data")
    done = run_hrm(
        "eval", "bundled:sudoku-any-size", "--data", "data", "--device", accelerator, "--json", cwd=tmp_path
    )
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["puzzles"] == 8


def test_a_run_trains_on_the_accelerator_and_resumes_from_its_checkpoint(
    run_hrm: Callable[..., Any], accelerator: torch.device, tmp_path: Path
) -> None:
    settings = (
        "data.size=4", "data.clues=8-10", "data.num_train=64", "data.num_test=16", "global_batch_size=32",
        "train.epochs=10", "train.eval_interval=5", "train.compile=off", f"train.device={accelerator}",
        "arch.halt_max_steps=2",
    )  # fmt: skip
    first = run_hrm(
        "train", "--preset", "tiny", "--output-dir", "run", *settings, "train.max_steps=8", cwd=tmp_path
    )
    assert first.status == 0, first.stderr
    second = run_hrm("train", "--resume", "run", "train.max_steps=null", "--json", cwd=tmp_path)
    assert second.status == 0, second.stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["kind"] == "eval"]
    assert steps[-1] == 20
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert len(losses) >= 2
    assert np.isfinite(losses).all()
