"""The recordings of the reference are reproduced on the accelerator, within the tolerances of their README.

These are wide enough for another order of summation: 1e-4 of states, outputs and gradients, 1e-3 of losses, and 99.5 %
of the updated parameters within 1e-5. All of it is float32, with TF32 off.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from hrm_cli.models.registry import CORES

pytestmark = pytest.mark.cuda

PROGRAM = Path(__file__).resolve().parents[1] / "golden" / "replay.py"
NAMES = [
    "hrm_forward_learned_nopuzzle", "hrm_forward_rope", "hrm_train_correct_rows", "hrm_train_softmax_learned",
    "hrm_train_stablemax", "trm_forward_attn", "trm_forward_mlp", "trm_train_attn", "trm_train_correct_rows",
    "trm_train_mlp",
]  # fmt: skip


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_reproduced_on_the_accelerator(
    name: str, golden: Path, program: ModuleType, accelerator: torch.device
) -> None:
    report = program.replay(golden / f"{name}.safetensors", str(accelerator))
    print({quantity: f"{deviation:.2g}" for quantity, deviation in report.largest.items()})
    assert report.failures == []
    assert report.largest


def test_no_recording_is_left_out(golden: Path) -> None:
    assert {path.stem for core in CORES for path in golden.glob(f"{core}_*.safetensors")} == set(NAMES)
