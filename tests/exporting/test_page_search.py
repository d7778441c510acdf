"""Further effort of the page where one pass fails: walls in mazes, or copies if a model answers them differently."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.schema import Preset
from hrm_cli.exporting import wasm
from hrm_cli.exporting.page import WEB, page_model
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.maze.generator import generate

from ..cuda.cases import arch  # noqa: TID252

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node here")
PARTS = ("kernels", "engine", "puzzles", "worker", "solver")
BUNDLED = "bundled:maze-any-size"


def solved_by_page(folder: Path, checkpoint: str, puzzles: np.ndarray, **options: Any) -> list[Any]:
    """What a page answers to mazes `[n, cells]`."""
    model = page_model(checkpoint)
    case = {
        "facts": model.document(), "file": model.weights(), "wasm": base64.b64encode(wasm.module()).decode(),
        "puzzles": puzzles.tolist(), "options": options,
    }  # fmt: skip
    path = folder / "case.json"
    path.write_text(json.dumps(case), encoding="utf-8")
    script = str(Path(__file__).with_name("solver_check.js"))
    command = [str(NODE), script, *(str(WEB / f"{part}.js") for part in PARTS), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def unsolved_in_one_pass(count: int) -> np.ndarray:
    """10×10 mazes with loops that the bundled model does not solve in one pass, among the first `count`."""
    domain, rng = MazeDomain(10), np.random.default_rng(0)
    mazes, _ = next(generate(10, count, rng, style="braided", min_path=8))
    tokens = np.stack([domain.encode(maze.reshape(10, 10)) for maze in mazes])
    model, _ = load_model(Path(BUNDLED))
    answers = np.zeros_like(tokens)
    rows = torch.from_numpy(tokens.astype(np.int32))
    for step in model.infer(rows, torch.zeros(count, dtype=torch.int32), 128, adaptive=True):
        answers[step.rows.numpy()] = step.predictions.numpy()
    return mazes[domain.violations(tokens, answers) > 0]


@pytest.mark.slow(seconds=15)
def test_a_maze_that_one_pass_does_not_solve_is_solved_with_further_walls(tmp_path: Path) -> None:
    mazes = unsolved_in_one_pass(400)
    assert len(mazes) >= 2
    for one, maze in zip(solved_by_page(tmp_path, BUNDLED, mazes), mazes, strict=True):
        assert (one["status"], one["verified"], one["turned"]) == ("solved", True, 0)
        assert one["reason"] == "", "the path is the shortest"
        assert "search of" in one["how"]
        nodes = one["search"]["nodes"]
        assert 1 < len(nodes) <= 64
        assert {node["symbol"] for node in nodes[1:]} == {"#"}
        assert {int(maze[node["cell"]]) for node in nodes[1:]} == {1}, "only free cells become walls"
        assert 0 in [node["violations"] for node in nodes]
        # Rounds of four: all walls of the first round are in the maze itself.
        assert all(node["parent"] == 0 for node in nodes if 1 < node["order"] <= 5)
        assert len({tuple(tokens) for tokens in one["asked"]}) == len(one["asked"]), "no maze is tried twice"


def test_the_search_ends_at_its_limit_and_the_best_answer_is_kept(tmp_path: Path) -> None:
    path = untrained(tmp_path, "edges")
    (one,) = solved_by_page(tmp_path, str(path), SMALL, nodes=6)
    assert (one["status"], one["verified"], one["turned"]) == ("unsolved", False, 0)
    assert one["reason"].startswith("no answer of 6 search nodes obeys the rules; the best: ")
    assert len(one["asked"]) == 6


def test_a_model_whose_answers_to_copies_differ_tries_copies(tmp_path: Path) -> None:
    path = untrained(tmp_path, "trm-mlp")
    (one,) = solved_by_page(tmp_path, str(path), SMALL)
    assert (one["status"], one["turned"], one["search"]) == ("unsolved", 8, None)
    assert one["reason"].startswith("no answer of 8 copies obeys the rules; the best: ")
    assert one["stages"][-1] == "trying copy 8 of 8, rotated or reflected"


SMALL = np.array([[2, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 3]], np.uint8)


def untrained(folder: Path, case: str) -> Path:
    """A model of random weights for 4×4 mazes."""
    domain = MazeDomain(4)
    facts = DatasetFacts(domain.vocab_size, 16, 1, domain={"name": "maze", **domain.facts()})
    preset = Preset(arch=arch(case))
    generator = torch.Generator().manual_seed(0)
    model = build_model(preset.arch, domain.vocab_size, 16, 1, domain=facts.domain, generator=generator)
    path = folder / "maze.safetensors"
    write_model_file(path, model.state_dict(), preset, 1, facts)
    return path
