"""The accelerator that the tests of this folder run on.

They are marked `cuda` and skipped where no CUDA device is. `HRM_ACCELERATOR=cpu` has a CPU stand in for one, which
shows that the tests themselves work: `benchmarks/gpu.py check --device cpu` does that.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hrm_cli.models.device import resolve_device

# cuBLAS reads it once, when the first matrix multiplication runs: without it no algorithm is deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ACCELERATOR = os.environ.get("HRM_ACCELERATOR", "cuda")


@pytest.fixture(scope="session")
def accelerator() -> torch.device:
    """The CUDA device, or what `HRM_ACCELERATOR` names."""
    if ACCELERATOR.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return resolve_device(ACCELERATOR)


@pytest.fixture(autouse=True)
def float32_products_in_float32() -> Iterator[None]:
    """TF32 off, whatever a test before has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def quick_compiler(accelerator: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in, torch.compile traces and leaves the kernels as they are: inductor would take minutes."""
    torch.compiler.reset()
    if accelerator.type == "cuda":
        return
    compile_ = torch.compile

    def traced(*args: object, **settings: object) -> object:
        return compile_(*args, **{**settings, "backend": "eager", "mode": None})

    monkeypatch.setattr(torch, "compile", functools.wraps(compile_)(traced))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The recordings of the reference: `HRM_GOLDEN`, or `shared/golden` next to the checkout."""
    folder = Path(os.environ.get("HRM_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip("no recordings: neither HRM_GOLDEN nor ../shared/golden is a folder")
    return folder
