"""The independent computation reproduces the reference implementations, and the small recordings are what it gives."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from .reference import Model, Weights, forward_recording, train_recording

HERE = Path(__file__).parent
SMALL = sorted((HERE / "small").glob("*.safetensors"))


def read(path: Path) -> tuple[dict[str, str], Weights]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def computed(metadata: dict[str, str], recorded: Weights, dtype: torch.dtype) -> Weights:
    """What reference.py makes of a recording's weights and batches."""

    def under(prefix: str) -> Weights:
        return {name.removeprefix(prefix): t for name, t in recorded.items() if name.startswith(prefix)}

    is_forward, steps = metadata["kind"].endswith("_forward"), int(metadata["steps"])
    state = under("state/" if is_forward else "init/")
    weights = {name: t.to(dtype, copy=True) for name, t in state.items()}
    model = Model(metadata["kind"], json.loads(metadata["config"]), weights)
    if is_forward:
        return forward_recording(model, under("batch/"), steps)
    batches = [under(f"step{k}/batch/") for k in range(1, steps + 1)]
    return train_recording(model, batches, metadata["loss"], json.loads(metadata["optim"]))


def deviations(recorded: Weights, found: Weights) -> dict[str, str]:
    """What is out of the tolerances of the recordings, by name."""
    problems = {}
    for name, expected in recorded.items():
        if name.startswith(("state/", "init/", "batch/")) or "/batch/" in name:
            continue
        ours, theirs = found[name].double(), expected.double()
        kind = name.split("/")[1]
        off = (ours - theirs).abs()
        if kind == "params":
            # Updates are like signs: where a gradient is almost zero they amplify its rounding.
            fine = (off > 1e-5).double().mean().item() <= 0.005
        else:
            relative, absolute = {
                "loss": (1e-3, 1e-6), "metric": (1e-3, 1e-6), "grad": (0, 1e-4), "halted": (0, 0), "steps": (0, 0),
            }.get(kind, (1e-4, 1e-4))  # fmt: skip
            fine = bool((off <= absolute + relative * theirs.abs()).all())
        if ours.shape != theirs.shape or not fine:
            problems[name] = f"{off.max().item():.3g}"
    return problems


def test_every_recording_of_the_reference_implementations_is_reproduced(shared: Path) -> None:
    paths = sorted((shared / "golden").glob("*.safetensors"))
    assert len(paths) >= 10
    for path in paths:
        metadata, recorded = read(path)
        # In the number format of the recordings: a loss of almost zero is its rounding.
        assert deviations(recorded, computed(metadata, recorded, torch.float32)) == {}, path.name


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SMALL])
def test_a_small_recording_is_what_the_independent_computation_gives(path: Path) -> None:
    metadata, recorded = read(path)
    found = computed(metadata, recorded, torch.float64)
    names = [name for name in recorded if name.startswith("step") and "/batch/" not in name]
    assert len(names) >= 10
    for name in names:
        torch.testing.assert_close(
            found[name].double(), recorded[name].double(), rtol=1e-6, atol=1e-6, msg=name
        )


def test_small_recordings_have_rows_that_halt_rows_that_continue_and_whole_answers() -> None:
    trained = [read(path)[1] for path in SMALL if "_train_" in path.name]
    assert len(trained) == 2
    for recorded in trained:
        halted = torch.stack([recorded[f"step{k}/halted"] for k in range(1, 5)])
        assert halted.any(1).all()
        assert not halted.all(1).any()
        assert max(recorded[f"step{k}/steps"].max() for k in range(1, 5)) == 3
        assert recorded["step1/metric/exact_accuracy"] >= 1


def test_small_recordings_stay_small() -> None:
    assert len(SMALL) == 4
    assert sum(path.stat().st_size for path in SMALL) <= 200_000


@pytest.mark.parametrize("name", ["reference.py", "record.py"])
def test_the_independent_computation_imports_nothing_of_hrm_cli(name: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((HERE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert "torch" in imported
    assert not any(module.startswith("hrm") for module in imported)
