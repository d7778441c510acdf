"""The page *Your own puzzles*, followed step by step in an empty folder, as a reader would."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from .documentation import FENCE, REPOSITORY

PAGE = REPOSITORY / "docs" / "own-puzzles.md"
SHORTER = {
    "train.max_minutes=3": "train.max_steps=60",
    "arch.mixer=grid": "arch.mixer=grid train.max_steps=5",
}
"""Replacements, so that the test does not train for minutes."""


def steps() -> list[tuple[str, str]]:
    """The files and the commands of the page in order: `("rules.py", its text)` or `("", a block of shell)`."""
    found = []
    for fence in FENCE.finditer(PAGE.read_text(encoding="utf-8")):
        language, text = fence[3].strip(), fence[4]
        name = re.match(r"# (\w+\.py)\n", text)
        if language == "python" and name:
            found.append((name[1], text))
        elif language == "sh":
            found.append(("", text))
    return found


@pytest.mark.slow(seconds=90)
@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a POSIX shell")
def test_every_command_of_the_page_on_own_puzzles_works_in_the_order_of_the_page(tmp_path: Path) -> None:
    bin_folder = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }
    done = []
    for name, text in steps():
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        if "gym:" in text and importlib.util.find_spec("reasoning_gym") is None:
            continue
        command = reduce(lambda line, change: line.replace(*change), SHORTER.items(), text)
        finished = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            check=False, cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        # After so little training, a check may refuse an answer (status 1).
        accepted = (0, 1) if "--check" in text else (0,)
        assert finished.returncode in accepted, f"{command}\n{finished.stdout}\n{finished.stderr}"
        assert "Traceback" not in finished.stderr
        done.append(command)
    assert len(done) >= 7
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
