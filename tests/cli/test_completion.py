"""The shell's completion, through the variables that its scripts set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hrm_cli.checkpoints.bundled import bundled_folder
from hrm_cli.cli.options import joined
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
        ("hrm train lr_w", ["lr_warmup_steps="]),
        ("hrm train batch_s", []),
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


def bash_completes(words: str, folder: Path) -> list[str]:
    """The COMPREPLY of a real bash, whose words are those that it makes of a line: split at `:` and `=`."""
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=folder,
        env=os.environ | {"_HRM_COMPLETE": "source_bash"},
    )  # fmt: skip
    (folder / "hrm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{PROGRAM}"\n')
    (folder / "hrm").chmod(0o755)
    script = f"""{shown.stdout}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_hrm_completion ./hrm
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc"], input=script, capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hrm eval bundled : sudoku-4", ["sudoku-4x4"]),
        ("hrm solve puzzles.txt --checkpoint bundled : maze-a", ["maze-any-size"]),
        ("hrm eval bundled :", sorted(path.stem for path in bundled_folder().glob("*.safetensors"))),
        ("hrm train --preset = tin", ["tiny"]),
        ("hrm train lr = 1e-3 --preset tin", ["tiny"]),
        ("hrm eval bundled:sudoku-4", ["bundled:sudoku-4x4"]),
        ("hrm tra", ["train"]),
    ],
)
def test_bash_completes_after_a_colon_and_an_equals_sign(
    tmp_path: Path, words: str, expected: list[str]
) -> None:
    assert bash_completes(words, tmp_path) == expected


@pytest.mark.parametrize(
    ("words", "at", "expected"),
    [
        (["hrm", "tra"], 1, (["hrm", "tra"], 1, "")),
        (["hrm", "eval", "bundled", ":", "s"], 4, (["hrm", "eval", "bundled:s"], 2, "bundled:")),
        (["hrm", "eval", "bundled", ":"], 3, (["hrm", "eval", "bundled:"], 2, "bundled:")),
        (["hrm", "eval", "hf", ":", "a/b", "--d"], 5, (["hrm", "eval", "hf:a/b", "--d"], 3, "")),
        (["hrm", "train", "lr", "=", "1", "x"], 5, (["hrm", "train", "lr=1", "x"], 3, "")),
        (["hrm", "train", "--preset", "="], 3, (["hrm", "train", "--preset", ""], 3, "")),
        (["hrm", "train", "--preset", "=", "t"], 4, (["hrm", "train", "--preset", "t"], 3, "")),
        (["hrm", "eval"], 2, (["hrm", "eval"], 2, "")),
    ],
)
def test_the_words_of_bash_are_put_together_again(
    words: list[str], at: int, expected: tuple[list[str], int, str]
) -> None:
    assert joined(words, at) == expected
