"""A short run of the fuzzer: hostile files end with an error of our own, quickly, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

INPUTS = int(os.environ.get("HRM_FUZZ_INPUTS", "75"))
"""At least one of each kind; the variable asks for more."""
FUZZER = Path(__file__).with_name("run.py")


@pytest.mark.slow(seconds=12)
@pytest.mark.skipif(sys.platform != "linux", reason="the watchdog reads /proc")
def test_a_few_hostile_files_of_every_kind_lead_to_no_finding(tmp_path: Path) -> None:
    words = [sys.executable, str(FUZZER), "--inputs", str(INPUTS), "--seed", "2026"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=max(900, 10 * INPUTS)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 findings" in done.stdout
