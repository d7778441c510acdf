"""The page *Your own puzzles*, followed step by step in an empty folder, as a reader would."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from functools import reduce
from itertools import groupby
from pathlib import Path

import pytest

from .documentation import FENCE, REPOSITORY
from .running import RunHrm

PAGE = REPOSITORY / "docs" / "own-puzzles.md"
SHORTER = {
    "train.max_minutes=3": "train.max_steps=60",
    "arch.mixer=grid": "arch.mixer=grid train.max_steps=5 --report",
}
"""Replacements, so that the test does not train for minutes; of two runs, the second writes a report."""


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


def run_block(text: str, folder: Path, run_hrm: RunHrm) -> None:
    """Runs a block of shell. Lines of `hrm` run in this process, which has torch already."""
    for is_hrm, lines in groupby(text.splitlines(), lambda line: line.startswith("hrm ")):
        if not is_hrm:
            subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(lines)], check=True, cwd=folder)
            continue
        for line in lines:
            words, _, output = line.removeprefix("hrm ").partition(" > ")
            finished = run_hrm(*shlex.split(words), cwd=folder)
            # After so little training, a check may refuse an answer (status 1).
            accepted = (0, 1) if "--check" in words else (0,)
            assert finished.status in accepted, f"{line}\n{finished.stdout}\n{finished.stderr}"
            if output:
                (folder / output).write_text(finished.stdout, encoding="utf-8")


@pytest.mark.slow(seconds=15)
@pytest.mark.skipif(sys.platform == "win32", reason="the page is written for a POSIX shell")
def test_every_command_of_the_page_on_own_puzzles_works_in_the_order_of_the_page(
    run_hrm: RunHrm, tmp_path: Path
) -> None:
    done = 0
    for name, text in steps():
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        if "gym:" in text and importlib.util.find_spec("reasoning_gym") is None:
            continue
        run_block(
            reduce(lambda line, change: line.replace(*change), SHORTER.items(), text), tmp_path, run_hrm
        )
        done += 1
    assert done >= 7
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
