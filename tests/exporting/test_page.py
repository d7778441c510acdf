"""The page computes what torch computes: engine, rules, and the page as a file. tests/browser opens it in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.bundled import FOLDER_VARIABLE, BundledFacts, bundled_folder
from hrm_cli.checkpoints.bundling import add_bundled
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.errors import ConfigError
from hrm_cli.exporting import wasm
from hrm_cli.exporting.check_puzzles import check_puzzles
from hrm_cli.exporting.onnx_model import portable_model
from hrm_cli.exporting.page import (
    CORES,
    MIXERS,
    WEB,
    default_models,
    export_page,
    page_model,
    unsupported,
)
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

from ..cuda.cases import CASES, arch  # noqa: TID252
from .test_onnx import written_model

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYGROUND = REPOSITORY / "docs" / "playground" / "index.html"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node here")


def runs(case: str) -> bool:
    """Whether pages run this core and mixer."""
    own = arch(case)
    return own.core in CORES and own.mixer in MIXERS and not unsupported(own)


def test_settings_that_the_engine_does_not_have_are_named() -> None:
    assert unsupported(ArchConfig()) == []
    assert unsupported(ArchConfig(initial_state="random", damping=0.9)) == [
        "arch.initial_state",
        "arch.damping",
    ]


def computed(folder: Path, checkpoint: str, inputs: np.ndarray, **options: Any) -> dict[str, Any]:
    """What the engine computes for puzzles `[n, S]`."""
    model = page_model(checkpoint)
    case = {
        "facts": model.document(), "file": model.weights(), "inputs": inputs.tolist(), "max_steps": 4,
        "wasm": base64.b64encode(wasm.module()).decode(), "with_logits": True, "adaptive": False, **options,
    }  # fmt: skip
    path = folder / "case.json"
    path.write_text(json.dumps(case), encoding="utf-8")
    command = [
        str(NODE),
        str(Path(__file__).with_name("engine_check.js")),
        *(str(WEB / f"{n}.js") for n in ("kernels", "engine", "puzzles")),
    ]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def expected(checkpoint: str, inputs: np.ndarray, max_steps: int, *, adaptive: bool = False) -> list[Any]:
    """The steps of the original model in float32."""
    model, _ = portable_model(Path(checkpoint))
    rows = torch.from_numpy(inputs.astype(np.int32))
    return list(model.infer(rows, torch.zeros(len(rows), dtype=torch.int32), max_steps, adaptive=adaptive))


def assert_same_steps(found: dict[str, Any], wanted: list[Any]) -> None:
    for step in wanted:
        logits = np.array([row[step.step - 1]["logits"] for row in found["found"]])
        assert np.abs(logits - step.logits.numpy().reshape(logits.shape)).max() < 1e-3
        halts = torch.tensor([row[step.step - 1]["q_halt"] for row in found["found"]])
        assert (halts.sigmoid() - step.q_halt.sigmoid()).abs().max() < 1e-3


@needs_node
@pytest.mark.parametrize("case", [*(name for name in CASES if runs(name)), "learned", "settle"])
def test_the_engine_computes_every_core_and_mixer_as_torch_does(tmp_path: Path, case: str) -> None:
    if case in CASES:
        checkpoint = str(written_model(tmp_path, case))
    else:
        like, other = {
            "learned": ("hrm", {"pos_encodings": "learned"}),
            "settle": ("rsm", {"halting": "settle"}),
        }[case]
        checkpoint = str(written_model(tmp_path, like, other))
    inputs = np.random.default_rng(0).integers(1, 11, (2, 81))
    assert_same_steps(computed(tmp_path, checkpoint, inputs), expected(checkpoint, inputs, 4))


@needs_node
def test_the_engine_halts_at_the_models_threshold(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(1, 11, (3, 81))
    taken = {}
    for threshold in (0.001, 0.999):
        checkpoint = str(written_model(tmp_path, "edges", {"halt_threshold": threshold}))
        found = computed(tmp_path, checkpoint, inputs, adaptive=True)["found"]
        taken[threshold] = [len(steps) for steps in found]
        steps = expected(checkpoint, inputs, 4, adaptive=True)
        ends = {int(row): one.step for one in steps for row in one.rows[one.finished]}
        assert taken[threshold] == [ends[row] for row in range(3)]
    assert taken == {0.001: [1, 1, 1], 0.999: [4, 4, 4]}


@needs_node
@pytest.mark.parametrize("case", ["hrm", "trm-mlp", "units", "neighbors", "edges", "grid"])
def test_the_engine_computes_widths_that_are_no_multiple_of_its_vectors(tmp_path: Path, case: str) -> None:
    own = {"puzzle_emb_ndim": 0} if case in ("hrm", "trm-mlp") else {}
    checkpoint = str(written_model(tmp_path, case, {"hidden_size": 12, **own}))
    inputs = np.random.default_rng(0).integers(1, 11, (1, 81))
    assert_same_steps(computed(tmp_path, checkpoint, inputs), expected(checkpoint, inputs, 2))


@needs_node
@pytest.mark.parametrize("case", ["neighbors", "edges", "grid"])
def test_the_engine_runs_mazes_that_are_not_square(tmp_path: Path, case: str) -> None:
    domain = MazeDomain(5, 7)
    preset = Preset(arch=arch(case))
    facts = {"name": "maze", **domain.facts()}
    generator = torch.Generator().manual_seed(0)
    model = build_model(preset.arch, domain.vocab_size, 35, 1, domain=facts, generator=generator)
    path = tmp_path / "maze.safetensors"
    write_model_file(
        path, model.state_dict(), preset, 1, DatasetFacts(domain.vocab_size, 35, 1, domain=facts)
    )
    inputs = np.random.default_rng(0).integers(1, 5, (2, 35))
    assert_same_steps(computed(tmp_path, str(path), inputs), expected(str(path), inputs, 4))


@needs_node
@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize(
    ("name", "count"), [("sudoku-4x4", 25), ("sudoku-6x6", 12), ("sudoku-any-size", 5), ("maze-any-size", 5)]
)
def test_bundled_models_give_the_tokens_of_the_command(tmp_path: Path, name: str, count: int) -> None:
    checkpoint = f"bundled:{name}"
    model = page_model(checkpoint)
    puzzles = check_puzzles(model.card, model.domain, None, count, 1)
    assert puzzles is not None
    most = model.document()["max_steps"]
    found = computed(tmp_path, checkpoint, puzzles.inputs, max_steps=most, with_logits=False, adaptive=True)
    assert found["isWasm"] is True
    for step in expected(checkpoint, puzzles.inputs, most, adaptive=True):
        for row, answer, is_last in zip(
            step.rows.tolist(), step.predictions.tolist(), step.finished.tolist(), strict=True
        ):
            if is_last:
                assert len(found["found"][row]) == step.step
                assert found["found"][row][-1]["answer"] == answer


@needs_node
def test_without_webassembly_the_same_is_computed(tmp_path: Path) -> None:
    inputs = np.random.default_rng(0).integers(1, 6, (2, 16))
    found = computed(tmp_path, "bundled:sudoku-4x4", inputs, wasm=None)
    assert found["isWasm"] is False
    assert_same_steps(found, expected("bundled:sudoku-4x4", inputs, 4))


@needs_node
@pytest.mark.parametrize("name", ["sudoku-any-size", "sudoku-6x6", "maze-any-size"])
def test_the_rules_of_the_page_are_those_of_the_domain(tmp_path: Path, name: str) -> None:
    model = page_model(f"bundled:{name}")
    domain: Any = model.domain
    puzzles = check_puzzles(model.card, domain, None, 12, 2)
    assert puzzles is not None
    rng, judged, wanted = np.random.default_rng(0), [], []
    for inputs, labels in zip(puzzles.inputs, puzzles.labels, strict=True):
        for damage in (0, 1, 3):
            answer = labels.copy()
            for cell in rng.choice(len(answer), damage, replace=False):
                answer[cell] = rng.integers(2, domain.vocab_size)
            grid, filled = domain.decode(inputs.astype(np.uint8)), domain.decode(answer.astype(np.uint8))
            judged.append({"cells": grid.ravel().tolist(), "answer": filled.ravel().tolist()})
            violations = domain.violations(inputs[None].astype(np.uint8), answer[None].astype(np.uint8))
            wanted.append((domain.verify(grid, filled).ok, int(violations[0])))
    found = computed(tmp_path, f"bundled:{name}", puzzles.inputs[:0], judged=judged)["judged"]
    assert [(one["ok"], one["violations"]) for one in found] == wanted
    assert {one["solutions"] for one in found} == {1}
    assert {ok for ok, _ in wanted} == {True, False}


@needs_node
def test_puzzles_without_a_solution_or_with_more_than_one_are_known(tmp_path: Path) -> None:
    domain = SudokuDomain(9)
    texts = ["5" + "." * 80, "55" + "." * 79, "12345678." + "." * 8 + "9" + "." * 63, "." * 81]
    judged = [{"cells": domain.grid(text).ravel().tolist(), "answer": [0] * 81} for text in texts]
    found = computed(tmp_path, "bundled:sudoku-any-size", np.zeros((0, 81)), judged=judged)["judged"]
    assert [one["solutions"] for one in found] == [2, 0, 0, 2]


def test_a_page_is_one_small_file_that_asks_for_nothing(tmp_path: Path, run_hrm: Callable[..., Any]) -> None:
    page = tmp_path / "page.html"
    done = run_hrm("export", "--format", "html", page, "--json")
    assert done.status == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] == page.stat().st_size < 6_000_000
    assert set(told["models"]) == {
        "sudoku-4x4", "sudoku-6x6", "sudoku-any-size", "sudoku-any-size-12", "sudoku-any-size-16", "maze-any-size",
    }  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "{{" not in re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "default-src 'none'" in text


def test_a_page_of_named_models_has_those_alone(tmp_path: Path, run_hrm: Callable[..., Any]) -> None:
    page = tmp_path / "page.html"
    done = run_hrm("export", "bundled:sudoku-4x4", page)
    assert done.status == 0, done.stderr
    assert "with sudoku-4x4" in done.stdout
    assert page.stat().st_size < 500_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("page.txt",), "--format onnx or html"),
        (("bundled:sudoku-4x4", "page.html", "--int8"), "only for --format onnx"),
        (("bundled:sudoku-4x4", "bundled:sudoku-4x4", "page.html"), "sudoku-4x4"),
        (("bundled:sudoku-4x4", "bundled:sudoku-6x6", "model.onnx"), "expected one CHECKPOINT"),
    ],
)
def test_a_wrong_request_is_one_error(
    run_hrm: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run_hrm("export", *arguments, cwd=tmp_path)
    assert done.status == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_core_that_no_page_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="core nova"):
        export_page([str(written_model(tmp_path, "nova"))], tmp_path / "page.html")


def test_puzzles_that_no_page_solves_are_named_with_what_else_shows_them(tmp_path: Path) -> None:
    domain = ArcDomain()
    facts = DatasetFacts(domain.vocab_size, domain.seq_len, 1, domain={"name": "arc", **domain.facts()})
    preset = Preset(arch=arch("grid"))
    model = build_model(preset.arch, domain.vocab_size, domain.seq_len, 1, domain=facts.domain)
    write_model_file(tmp_path / "tasks.safetensors", model.state_dict(), preset, 1, facts)
    with pytest.raises(ConfigError, match=r"ARC.*only Sudoku and mazes. `hrm play .*tasks"):
        export_page([str(tmp_path / "tasks.safetensors")], tmp_path / "page.html")


def test_a_model_is_called_by_its_run_its_file_or_its_folder(tmp_path: Path) -> None:
    model = default_models()[0]
    for place, name in (
        ("runs/mine/checkpoints/step-000000040/model.safetensors", "mine"), ("sets/good.safetensors", "good"),
        ("sets/better/model.safetensors", "better"),
    ):  # fmt: skip
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(model.path, path)
        assert page_model(str(path)).name == name


def test_the_best_bundled_model_of_each_size_is_chosen() -> None:
    assert "sudoku-9x9" not in [model.name for model in default_models()]


def test_a_bundled_model_for_every_size_is_offered_for_sizes_without_a_model_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_bundled(
        written_model(tmp_path, "units"), "any", BundledFacts("nothing", every_size=True), tmp_path / "models"
    )
    shutil.copy(bundled_folder() / "sudoku-4x4.safetensors", tmp_path / "models")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "models"))
    sizes = {model.name: model.domain.describe() for model in default_models()}
    assert sizes == {
        "sudoku-4x4": "4×4 Sudoku", "any": "9×9 Sudoku", "any-6": "6×6 Sudoku", "any-12": "12×12 Sudoku",
        "any-16": "16×16 Sudoku",
    }  # fmt: skip
    told = export_page([], tmp_path / "page.html")
    text = told.path.read_text(encoding="utf-8")
    assert re.findall('id="weights-(any[^"]*)"', text) == ["any"]
    assert told.weights == sum(path.stat().st_size for path in (tmp_path / "models").glob("*.safetensors"))


def test_the_playground_in_the_documentation_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    export_page([], page)
    assert page.read_text(encoding="utf-8") == PLAYGROUND.read_text(encoding="utf-8"), "run `make playground`"
