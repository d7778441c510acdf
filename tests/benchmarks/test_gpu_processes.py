"""The processes of benchmarks/gpu.py: none outlives its parent, and each has its own part of a log."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_stages.processes import Process  # noqa: E402


def is_gone(process: int) -> bool:
    """Whether a process ends within seconds. Where nobody collects the dead it stays as a zombie."""
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_a_killed_process_takes_its_children_along(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; c = subprocess.Popen(['sleep', '600']); print(c.pid, flush=True)"
    code += "; time.sleep(600)"
    process = Process(["-c", code], tmp_path / "log")
    line = process.line(30)
    assert line is not None
    process.end()
    assert is_gone(int(line))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_processes_end_when_the_script_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from pathlib import Path
from gpu_stages.processes import Process
log = Path({str(tmp_path / "log")!r})
child = Process(["-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"], log)
print(child.line(60), flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(child)


def test_the_log_of_a_process_is_without_that_of_earlier_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("first", "second"):
        process = Process(["-c", f"import sys; print('the {word}', file=sys.stderr)"], log)
        assert process.line(60) is None
        process.end()
    assert log.read_text(encoding="utf-8").split() == ["the", "first", "the", "second"]
    assert process.logged().split() == ["the", "second"]
