"""Mazes on the command line: a dataset built, a model trained on it, files solved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.models.registry import build_model

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
BESIDE = "####\n#SG#\n####\n####\n"
"""Needs no marks: the model below, which repeats its input, solves it."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 4×4 mazes that answers what it is asked."""
    arch = ArchConfig(
        hidden_size=32, num_heads=4, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1, puzzle_emb_ndim=0,
        halt_max_steps=4, forward_dtype="float32",
    )  # fmt: skip
    model = build_model(arch, 6, 16, 1, initialize=False)
    tensors = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    tensors["inner.embed_tokens.embedding_weight"] = torch.eye(6, 32)
    tensors["inner.lm_head.weight"] = torch.eye(6, 32)
    tensors["inner.q_head.bias"] = torch.tensor([6.0, -3.0])
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    facts = DatasetFacts(6, 16, 1, {"name": "maze", "rows": 4, "columns": 4})
    write_model_file(path, tensors, Preset(arch=arch), 1, facts)
    return path


def test_every_documented_option_is_accepted(run_hrm: Callable, tmp_path: Path) -> None:
    done = run_hrm(
        "build-dataset", "maze", "--source", "builtin", "--size", 8, "--min-path", 12, "--style", "braided", "--aug",
        "--num-train", 20, "--num-test", 5, "--allow-ties", "--seed", 3, "--output-dir", tmp_path / "d", "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["train"] == {"groups": 20, "puzzles": 160, "examples": 160}
    assert document["domain"] == {"name": "maze", "rows": 8, "columns": 8}
    assert (document["vocab_size"], document["seq_len"], document["seed"]) == (6, 64, 3)


def test_a_dataset_of_mazes_that_are_not_square(run_hrm: Callable, tmp_path: Path) -> None:
    options = (
        "--size",
        "6x11",
        "--num-train",
        8,
        "--num-test",
        2,
        "--aug",
        "--output-dir",
        tmp_path / "d",
        "--json",
    )
    done = run_hrm("build-dataset", "maze", *options)
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["domain"] == {"name": "maze", "rows": 6, "columns": 11}
    assert document["seq_len"] == 66
    assert document["train"]["puzzles"] == 8 * 4  # only four symmetries keep the shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--style", "perfct"), "--style: found"),
        (("--size", "3"), "maze size 3: choose one from 4 to 180"),
        (("--size", "20x200"), "maze size 200: choose one from 4 to 180"),
        (("--size", "20x"), "--size: found '20x'; accepted: cells along a side"),
        (("--size", "10", "--min-path", "200"), "perfect mazes of 10×10 have at most 48"),
        (("--size", "10x20", "--min-path", "200"), "perfect mazes of 10×20 have at most 98"),
        (("--min-path", "0"), "--min-path: found 0"),
        (("--aug", "--num-aug", "3"), "--aug means --num-aug 7"),
        (("--source", "x.csv", "--style", "walls"), "--style: only for puzzles from the built-in generator"),
        (("--source", "x.csv"), "x.csv: does not exist"),
    ],
)
def test_a_wrong_request_is_one_message_and_status_2(
    run_hrm: Callable, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run_hrm("build-dataset", "maze", *options, "--output-dir", tmp_path / "d")
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_solving_verifies_says_whether_the_path_is_shortest_and_draws(
    run_hrm: Callable, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "mazes.txt").write_text(
        f"{BESIDE}\n####\n#S #\n# G#\n####\n\n#####\n#S G#\n\n####\n#S##\n##G#\n####\n"
    )
    done = run_hrm(
        "solve", "mazes.txt", "--checkpoint", checkpoint, "--json", "--output", "answers.txt", "--picture", "m.svg",
        cwd=tmp_path, env=ONE_THREAD,
    )  # fmt: skip
    assert done.status == 2
    solved, tied, other_size, closed = [json.loads(line) for line in done.stdout.splitlines()]
    assert (solved["domain"], solved["status"], solved["verified"]) == ("maze", "solved", True)
    assert solved["reason"] == "the shortest path, 1 move"
    assert solved["answer"] == BESIDE.replace("\n", "")
    assert (tied["status"], tied["verified"]) == ("multiple", False)
    assert "more than one shortest path, of 2 moves each; the answer breaks a rule: no path" in tied["reason"]
    assert other_size["status"] == closed["status"] == "invalid"
    assert "trained on 4×4 maze puzzles, and this is a different kind: 2×5 cells" in other_size["reason"]
    assert closed["reason"] == "no path leads from S to G"
    assert (tmp_path / "answers.txt").read_text().splitlines() == [solved["answer"], "", "", ""]
    drawn = ElementTree.parse(tmp_path / "m.svg").getroot()
    boxes = [
        element.get("class") for element in drawn.iter() if element.get("class") in ("solidbox", "endbox")
    ]
    # The puzzle and every step, and the legend's wall.
    grids = 1 + solved["steps"]
    assert (boxes.count("endbox"), boxes.count("solidbox")) == (2 * grids, 14 * grids + 1)


def test_a_sudoku_is_refused_by_a_maze_checkpoint_though_it_has_as_many_cells(
    run_hrm: Callable, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("1.3.....2341....\n")
    done = run_hrm("solve", "p.txt", "--checkpoint", checkpoint, cwd=tmp_path, env=ONE_THREAD)
    assert done.status == 2
    assert "trained on 4×4 maze puzzles, and this is a different kind: sudoku of 4×4 cells" in done.stdout


@pytest.mark.slow
def test_training_builds_the_mazes_of_its_configuration_and_the_run_solves_files(
    run_hrm: Callable, tmp_path: Path
) -> None:
    done = run_hrm(
        "train", "--preset", "maze-small", "--output-dir", "run", "--json", "arch.hidden_size=32", "data.size=6",
        "data.min_path=4", "data.num_train=32", "data.num_test=8", "train.max_steps=2", "global_batch_size=16",
        cwd=tmp_path, env=ONE_THREAD,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    (tmp_path / "m.txt").write_text("S     \n##### \n# ### \n# #   \n# # ##\n    #G\n")
    solved = run_hrm("solve", "m.txt", "--checkpoint", "run", "--json", cwd=tmp_path, env=ONE_THREAD)
    assert json.loads(solved.stdout)["domain"] == "maze"
    assert solved.status in (0, 1)
