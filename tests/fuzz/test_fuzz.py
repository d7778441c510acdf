"""A short run of the fuzzer: hostile files end with an error of our own, quickly, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("run.py")


@pytest.mark.slow(seconds=20)
@pytest.mark.skipif(sys.platform != "linux", reason="the watchdog reads /proc")
def test_a_few_hostile_files_of_every_kind_lead_to_no_finding(tmp_path: Path) -> None:
    words = [sys.executable, str(FUZZER), "--inputs", "150", "--seed", "2026"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 findings" in done.stdout
