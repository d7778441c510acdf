"""`hrm eval --sample`: a random subset that stays the same, whatever evaluates it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrm_cli import api
from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.schema import EvalConfig
from hrm_cli.data.batches import evaluation_batches
from hrm_cli.data.format import Dataset
from hrm_cli.data.request import BuildRequest, build_request
from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.evaluate import Answers, evaluate, sample_examples

from .scripted import scripted


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "four"
    settings = {"size": 4, "clues": "8", "num_train": 5, "num_test": 60}
    build_request(BuildRequest("sudoku", folder, settings))
    return folder


FROZEN = [74, 345, 588, 1283, 1284, 1337, 1745, 1981]
"""What other machines and versions must give too."""


def test_a_sample_is_frozen() -> None:
    assert sample_examples(1996, 8, 0).tolist() == FROZEN
    assert sample_examples(1996, 8, 1).tolist() != FROZEN


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    small, large = (set(sample_examples(500, count, 3).tolist()) for count in (20, 100))
    assert len(small) == 20
    assert small < large


def test_a_sample_of_more_than_there_are_is_all_of_them() -> None:
    assert sample_examples(7, 100, 0).tolist() == list(range(7))


def test_samples_are_uniform() -> None:
    counts = np.zeros(40)
    for seed in range(600):
        counts[sample_examples(40, 10, seed)] += 1
    assert counts.sum() == 6000
    assert abs(counts / 150 - 1).max() < 0.3


@pytest.mark.parametrize("batch_size", [3, 16, 100])
def test_the_same_puzzles_are_evaluated_for_any_batch_size(data: Path, batch_size: int) -> None:
    dataset = Dataset.open(data, "test")
    among = sample_examples(dataset.num_examples, 17, 5)
    seen: list[Answers] = []
    model = scripted(lambda row, step: (row, 1.0), dataset.metadata.vocab_size, dataset.metadata.seq_len)
    result = evaluate(model, dataset, EvalConfig(batch_size=batch_size), among=among, on_answers=seen.append)
    assert result.puzzles == 17
    numbers = np.sort(np.concatenate([one.examples for one in seen]))
    assert numbers.tolist() == among.tolist()
    inputs = {int(n): row for one in seen for n, row in zip(one.examples, one.inputs, strict=True)}
    assert all((dataset.gather(np.array([n]))[0][0] == row).all() for n, row in inputs.items())


def test_ranks_share_the_sample(data: Path) -> None:
    dataset = Dataset.open(data, "test")
    among = sample_examples(dataset.num_examples, 17, 5)
    parts = [
        batch.examples
        for rank in range(2)
        for batch in evaluation_batches(dataset, 8, among=among, rank=rank, world_size=2)
    ]
    assert np.sort(np.concatenate(parts)).tolist() == among.tolist()


def test_figures_say_how_many_of_how_many(data: Path, run_hrm: Any) -> None:
    found = api.evaluate("bundled:sudoku-4x4", data, sample=12, seed=7, attempts=1)
    assert found["sample"] == {"puzzles": 12, "of": 60, "seed": 7}
    assert found["puzzles"] == 12
    options = ("bundled:sudoku-4x4", "--data", data, "--sample", 12, "--seed", 7)
    printed = run_hrm("eval", *options, "--json")
    assert json.loads(printed.stdout)["sample"] == found["sample"]
    shown = run_hrm("eval", *options)
    assert "12 puzzles of test (a sample of its 60, seed 7)" in shown.stdout
    assert "sample" not in api.evaluate("bundled:sudoku-4x4", data, max_puzzles=3, attempts=1)


def test_the_limit_of_evaluations_during_training_is_not_one_of_the_command(
    data: Path, tmp_path: Path
) -> None:
    model, card = load_model(Path("bundled:sudoku-4x4"))
    limited = card.preset.model_copy(update={"eval": card.preset.eval.model_copy(update={"max_puzzles": 2})})
    write_model_file(tmp_path / "model.safetensors", model.state_dict(), limited, 1, card.facts)
    found = api.evaluate(tmp_path / "model.safetensors", data, attempts=1)
    assert found["puzzles"] == 60


def test_two_ways_to_choose_puzzles_are_refused(data: Path) -> None:
    with pytest.raises(ConfigError, match="--sample and --max-puzzles"):
        api.evaluate("bundled:sudoku-4x4", data, sample=12, max_puzzles=3)


def test_trivial_baselines_are_measured_on_the_same_sample(data: Path, run_hrm: Any) -> None:
    options = ("--data", data, "--sample", 12, "--seed", 7, "--json")
    alone = json.loads(run_hrm("eval", "--baselines-only", *options).stdout)
    assert alone["puzzles"] == 12
    assert (
        alone["baselines"] == json.loads(run_hrm("eval", "bundled:sudoku-4x4", *options).stdout)["baselines"]
    )
