"""ONNX files compute the step that torch computes, for every core, and a loop outside solves puzzles with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli.checkpoints.model_files import load_model, write_model_file
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError
from hrm_cli.exporting import onnx_export
from hrm_cli.exporting.onnx_export import ExportRefused, OnnxRequest, compare_logits, export_onnx
from hrm_cli.exporting.onnx_model import convert_step, metadata_of, portable_model
from hrm_cli.models.registry import build_model
from hrm_cli.models.size_adapters import size_adapters

from ..cuda.cases import CASES, FACTS, TRAIN, arch  # noqa: TID252

REPOSITORY = Path(__file__).resolve().parents[2]
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.fixture(scope="session")
def onnx() -> Any:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="the extra onnx is not installed", exc_type=ImportError)
    import onnx

    return onnx


def written_model(folder: Path, case: str, settings: dict[str, Any] | None = None) -> Path:
    """A model file with random weights, puzzle embeddings and size adapters."""
    preset = Preset(arch=arch(case, **settings or {}), train=TrainConfig(**TRAIN.get(case, {})))
    generator = torch.Generator().manual_seed(0)
    facts = replace(FACTS, domain={"name": "sudoku", "size": 9})
    model = build_model(preset.arch, 11, 81, 5, domain=facts.domain, generator=generator)
    table = getattr(model.inner, "puzzle_emb", None)
    if table is not None:
        table.weights.normal_(generator=generator)
    for adapter in size_adapters(model).values():
        torch.nn.init.normal_(adapter.up, std=0.2, generator=generator)
    path = folder / f"{case}.safetensors"
    write_model_file(path, model.state_dict(), preset, 1, facts)
    return path


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize("case", CASES)
def test_one_step_is_torchs_for_every_core_and_batch_size(onnx: Any, tmp_path: Path, case: str) -> None:
    from hrm_cli.exporting.onnx_session import OnnxStep

    model, card = portable_model(written_model(tmp_path, case))
    step = OnnxStep(convert_step(model, metadata_of(model, card, None)).SerializeToString())
    assert step.has_identifiers is (arch(case).puzzle_emb_size > 0)
    for rows in (1, 5):
        inputs = torch.randint(1, 11, (rows, 81), generator=torch.Generator().manual_seed(rows)).int()
        deviation, largest = compare_logits(model, step, inputs)
        assert deviation < 1e-4 < largest


@pytest.fixture(scope="module")
def exported(onnx: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, onnx_export.OnnxExport]:
    path = tmp_path_factory.mktemp("onnx") / "sudoku.onnx"
    return path, export_onnx(OnnxRequest(Path("bundled:sudoku-6x6"), path))


@pytest.mark.slow(seconds=25)
def test_a_bundled_model_keeps_its_accuracy_on_200_puzzles(
    exported: tuple[Path, onnx_export.OnnxExport],
) -> None:
    path, done = exported
    assert done.exact_accuracy == done.exported_accuracy
    assert done.exact_accuracy is not None
    assert done.exact_accuracy > 0.95
    assert done.deviation < 1e-4
    assert done.puzzles == "200 generated 6×6 Sudoku puzzles"
    assert path.stat().st_size == done.bytes < 2_000_000


def test_the_file_says_what_a_program_needs_to_know(exported: tuple[Path, onnx_export.OnnxExport]) -> None:
    from hrm_cli.exporting.onnx_session import OnnxStep

    facts = OnnxStep(exported[0].read_bytes()).metadata
    assert json.loads(facts["domain"]) == {"name": "sudoku", "size": 6}
    assert (facts["seq_len"], facts["positions"], facts["max_steps"]) == ("36", "36", "16")
    assert json.loads(facts["verified"])["exported_accuracy"] > 0.95
    assert "60,000 generated puzzles" in facts["trained_on"]


@pytest.mark.slow(seconds=40)
def test_the_example_of_the_page_solves_a_puzzle(
    onnx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "docs" / "exporting.md").read_text(encoding="utf-8")
    example = re.search(r"```py\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert len(example[1].splitlines()) <= 22
    monkeypatch.chdir(tmp_path)
    export_onnx(OnnxRequest(Path("bundled:sudoku-9x9"), tmp_path / "sudoku.onnx", puzzles=3))
    exec(compile(example[1], "docs/exporting.md", "exec"), {})
    answer = capsys.readouterr().out.split()[0]
    assert re.fullmatch("[1-9]{81}", answer)
    rows = np.array(list(answer), int).reshape(9, 9)
    assert all(set(line) == set(range(1, 10)) for line in (*rows, *rows.T))


@pytest.mark.slow(seconds=25)
def test_int8_is_smaller_and_refused_if_it_costs_accuracy(
    onnx: Any, tmp_path: Path, run_hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.onnx"
    done = run_hrm("export", "bundled:sudoku-4x4", path, "--int8", "--puzzles", 50, "--json")
    assert done.status == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["exact_accuracy"] - told["exported_accuracy"] <= 0.01
    assert told["bytes"] == path.stat().st_size < 150_000
    monkeypatch.setattr(onnx_export, "torch_answers", lambda model, puzzles, steps: puzzles.labels)
    monkeypatch.setattr(onnx_export.OnnxStep, "answers", lambda self, inputs, *_: np.zeros_like(inputs))
    refused = run_hrm("export", "bundled:sudoku-4x4", tmp_path / "bad.onnx", "--int8", "--puzzles", 50)
    assert refused.status == 1
    assert "100.0%" in refused.stderr
    assert "--force" in refused.stderr
    assert not (tmp_path / "bad.onnx").exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, run_hrm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    done = run_hrm("export", "bundled:sudoku-4x4", tmp_path / "model.onnx")
    assert done.status == 2
    assert "pip install 'hrm-cli[onnx]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_int8_without_puzzles_to_measure_on_is_refused(onnx: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="--data"):
        export_onnx(OnnxRequest(Path("bundled:sudoku-4x4"), tmp_path / "a.onnx", int8=True, puzzles=0))


def test_another_size_needs_a_mixer_that_serves_it(onnx: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mixer=units"):
        export_onnx(OnnxRequest(Path("bundled:sudoku-4x4"), tmp_path / "a.onnx", size=9))


def test_the_portable_model_is_the_one_that_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported gives the logits of the model with the kernels of this machine, in float32."""
    monkeypatch.setenv("HRM_CPU_INT8", "off")
    model, _ = portable_model(Path("bundled:sudoku-any-size"))
    other, _ = load_model(Path("bundled:sudoku-any-size"))
    other.core.dtype = torch.float32
    inputs = torch.tensor([[int(c) + 1 if c != "." else 1 for c in PUZZLE]], dtype=torch.int32)
    logits = []
    for one in (model, other):
        with torch.inference_mode():
            step = next(one.infer(inputs, torch.zeros(1, dtype=torch.int32), 1, adaptive=False))
        logits.append(step.logits)
    assert torch.allclose(*logits, atol=1e-3)
