"""The recordings of the reference implementation are reproduced, and the check can fail."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.models.registry import CORES

PROGRAM = Path(__file__).with_name("replay.py")
SMALL = Path(__file__).with_name("small")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay"] = module
    spec.loader.exec_module(module)
    return module


def recordings(shared: Path) -> list[Path]:
    return [path for core in CORES for path in sorted((shared / "golden").glob(f"{core}_*.safetensors"))]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(SMALL.iterdir())])
def test_a_small_recording_is_reproduced(program: ModuleType, path: Path) -> None:
    report = program.replay(path)
    assert report.failures == []
    assert len(report.largest) >= 5
    # They were computed in float64, so only our own rounding is left.
    assert max(report.largest.values()) < 5e-5


def test_every_recording_of_a_core_we_have_is_reproduced(shared: Path, program: ModuleType) -> None:
    paths = recordings(shared)
    assert len(paths) >= 5
    for path in paths:
        report = program.replay(path)
        assert report.failures == [], path.name
        assert report.largest, path.name


def test_recordings_are_replayed_without_any_fused_kernel(
    shared: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(kernel: Kernel, *_: object) -> None:
        pytest.fail(f"{kernel.name} was run")

    monkeypatch.setattr(Kernel, "__call__", never)
    monkeypatch.setenv("HRM_CPU_KERNELS", "on")  # replay itself switches them off
    for name in ("hrm_forward_rope", "hrm_train_stablemax"):
        assert program.replay(shared / "golden" / f"{name}.safetensors").failures == []


def test_replay_says_which_path_it_runs(program: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([str(SMALL / "hrm_forward_learned.safetensors")]) == 0
    assert "HRM_CPU_KERNELS=off" in capsys.readouterr().out.splitlines()[0]


def altered(path: Path, folder: Path, prefix: str) -> Path:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors[f"{prefix}/inner.L_level.layers.0.mlp.down_proj.weight"][3, 5] += 0.05
    copy = folder / path.name
    save_file(tensors, copy, metadata=metadata)
    return copy


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("hrm_forward_learned", "state"),
        ("hrm_train_rope", "init"),
        ("trm_forward_mlp", "state"),
        ("trm_train_rope", "init"),
    ],
)
def test_a_single_altered_weight_is_noticed_with_exit_status_1(
    program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, prefix: str
) -> None:
    copy = altered(SMALL / f"{name}.safetensors", tmp_path, prefix)
    assert program.main([str(copy)]) == 1
    assert "NOT reproduced" in capsys.readouterr().out


def test_arc_voting_is_reproduced_exactly(shared: Path, program: ModuleType) -> None:
    report = program.replay(shared / "golden" / "arc_vote")
    assert report.failures == []
    assert {"ARC/pass@1", "ARC/pass@10", "submission: tasks that differ"} <= set(report.largest)


@pytest.mark.parametrize("quantity", ["preds", "q_halt_logits"])
def test_altered_predictions_of_the_arc_recording_give_exit_status_1(
    program: ModuleType, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quantity: str
) -> None:
    copy = tmp_path / "arc_vote"
    shutil.copytree(shared / "golden" / "arc_vote", copy)
    with np.load(copy / "predictions.npz") as stored:
        arrays = {name: stored[name] for name in stored}
    # Answers in another order, or believed in the other way round: the same votes from other copies.
    arrays[quantity] = arrays[quantity][::-1] if quantity == "preds" else -arrays[quantity]
    np.savez(copy / "predictions.npz", **arrays)
    assert program.main([str(copy)]) == 1
    assert "NOT reproduced" in capsys.readouterr().out


def test_a_folder_that_is_not_a_recording_ends_with_status_2(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be replayed" in done.stderr


def test_a_file_that_is_not_a_recording_ends_with_status_2(
    program: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no recording")
    assert program.main([str(junk)]) == 2
    assert "cannot be replayed" in capsys.readouterr().err
