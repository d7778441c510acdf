"""The shell's completion, through the variables that its scripts set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hrm_cli.config.presets import list_presets

PROGRAM = "from hrm_cli.cli.app import main; main([])"


def completed(line: str, folder: Path) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=folder,
        env=os.environ | {"_HRM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hrm tra", ["train"]),
        ("hrm train --preset sudoku-9", [name for name in list_presets() if name.startswith("sudoku-9")]),
        ("hrm train --preset mi", ["mine.yaml"]),
        ("hrm presets show tin", ["tiny"]),
        ("hrm train --preset tiny train.lr_warm", ["train.lr_warmup_steps="]),
        ("hrm params arch.hidden", ["arch.hidden_size="]),
        ("hrm eval bundled:sudoku-4", ["bundled:sudoku-4x4"]),
        ("hrm eval run", ["runs/"]),
        ("hrm solve --checkpoint runs/fi", ["runs/first/"]),
        ("hrm train --resume runs/fi", ["runs/first/"]),
        ("hrm train --resu", ["--resume"]),
    ],
)
def test_names_and_settings_are_completed(tmp_path: Path, line: str, expected: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text("extends: tiny\n")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    assert completed(line, tmp_path) == expected
