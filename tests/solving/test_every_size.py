"""One set of weights for every size: mixers with a structure solve and evaluate puzzles of sizes they never saw."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hrm_cli.api import load
from hrm_cli.checkpoints.bundled import FOLDER_VARIABLE, BundledFacts
from hrm_cli.checkpoints.bundling import add_bundled
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.errors import ConfigError
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

SQUARE = "####\n#SG#\n####\n####"
WIDE = "#######\n#SG   #\n#######"
"""Mazes that need no marks: the model below, which repeats its input, solves them."""


@pytest.fixture(scope="module", params=["neighbors", "edges"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained, as it says, on 4×4 mazes, that answers what it is asked."""
    arch = ArchConfig(
        mixer=request.param, hidden_size=16, num_heads=1, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1,
        pos_encodings="none", expansion=3, halt_max_steps=4, forward_dtype="float32",
    )  # fmt: skip
    model = build_model(arch, 6, 16, 1, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(6, 16)
    tensors["inner.lm_head.weight"] = torch.eye(6, 16)
    tensors["inner.q_head.bias"] = torch.tensor([9.0, -3.0])
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    facts = DatasetFacts(6, 16, 1, {"name": "maze", "rows": 4, "columns": 4})
    write_model_file(path, tensors, Preset(arch=arch), 1, facts)
    return path


def statuses(done: Any) -> list[str]:
    return [json.loads(line)["status"] for line in done.stdout.splitlines()]


def test_one_file_of_mazes_of_several_sizes_is_solved_with_one_checkpoint(
    run_hrm: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "mazes.txt").write_text(f"{SQUARE}\n\n{WIDE}\n\n{SQUARE}\n")
    done = run_hrm("solve", "mazes.txt", "--checkpoint", checkpoint, "--json", cwd=tmp_path)
    assert statuses(done) == ["solved"] * 3, done.stderr


def test_in_python_too(checkpoint: Path) -> None:
    assert [found.status for found in load(checkpoint).solve(f"{WIDE}\n\n{SQUARE}\n")] == ["solved", "solved"]


def test_a_puzzle_of_another_kind_is_refused_as_before(
    run_hrm: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "sudoku.txt").write_text("1.3..4.12.4.4..2\n")
    done = run_hrm("solve", "sudoku.txt", "--checkpoint", checkpoint, cwd=tmp_path)
    assert done.status == 2
    assert "4×4 maze" in done.stdout + done.stderr or "sudoku" in done.stdout + done.stderr


def test_evaluation_takes_a_dataset_of_any_size(run_hrm: Callable, tmp_path: Path, checkpoint: Path) -> None:
    built = run_hrm(
        "build-dataset", "maze", "--size", "5x9", "--num-train", 4, "--num-test", 6, "-o", tmp_path / "d"
    )
    assert built.status == 0, built.stderr
    done = run_hrm("eval", checkpoint, "--data", tmp_path / "d", "--json")
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["puzzles"] == 6


def test_the_card_of_a_resized_model_states_the_size_it_was_loaded_for(checkpoint: Path) -> None:
    model, card = load_model(checkpoint, domain=MazeDomain(3, 7))
    assert (model.core.seq_len, card.facts.domain) == (21, {"name": "maze", "rows": 3, "columns": 7})
    _, unchanged = load_model(checkpoint, domain=SudokuDomain(4))
    assert unchanged.facts.domain == {"name": "maze", "rows": 4, "columns": 4}


def test_a_bundled_model_for_every_size_is_chosen_where_no_model_was_trained_on_the_size(
    run_hrm: Callable, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    (tmp_path / "wide.txt").write_text(f"{WIDE}\n")
    for every_size, expected in ((False, 2), (True, 0)):
        model = add_bundled(checkpoint, "maze-any", BundledFacts("nothing", every_size=every_size), folder)
        assert run_hrm("solve", "wide.txt", "--json", cwd=tmp_path).status == expected
    assert model.describe() == "maze of every size"


def test_a_model_whose_weights_depend_on_the_size_cannot_be_bundled_for_every_size(tmp_path: Path) -> None:
    arch = ArchConfig(hidden_size=16, num_heads=2, H_layers=1, L_layers=1)
    tensors = build_model(arch, 6, 16, 1).state_dict()
    facts = DatasetFacts(6, 16, 1, {"name": "maze", "rows": 4, "columns": 4})
    write_model_file(tmp_path / "model.safetensors", tensors, Preset(arch=arch), 1, facts)
    with pytest.raises(ConfigError, match=r"arch\.mixer=attention the weights depend on the size"):
        add_bundled(tmp_path / "model.safetensors", "m", BundledFacts("t", every_size=True), tmp_path / "out")
