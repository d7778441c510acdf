"""A command that is run in this process leaves it as it was, and finds what a process of its own would find."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunHrm = Callable[..., Any]


@pytest.mark.parametrize(
    "words",
    [["presets"], ["presets", "show", "tiny", "lr=1e-5"], ["presets", "shwo"], ["presets", "show", "no"]],
)
def test_a_command_prints_the_same_in_this_process_as_in_a_subprocess(
    run_hrm: RunHrm, hrm_process: RunHrm, words: list[str]
) -> None:
    assert run_hrm(*words) == hrm_process(*words)


def test_folder_environment_streams_signals_and_descriptors_are_put_back(
    run_hrm: RunHrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")

    def state() -> tuple[Any, ...]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        opened = sorted(os.listdir("/proc/self/fd")) if sys.platform == "linux" else []
        return os.getcwd(), dict(os.environ), sys.stdin, sys.stdout, sys.stderr, handlers, opened

    run_hrm("presets")
    before = state()
    done = run_hrm("presets", "copy", "tiny", cwd=tmp_path, env={"NO_COLOR": "1"}, input="unread")
    assert done.status == 0
    assert (tmp_path / "tiny.yaml").is_file()
    assert state() == before


def test_standard_input_is_what_is_given(run_hrm: RunHrm) -> None:
    done = run_hrm("solve", "-", "--max-steps", 1, input="1234\n3412\n2143\n432.\n")
    assert done.status in (0, 1), done.stderr
    assert "12343412214343" in done.stdout
    assert run_hrm("solve", "-").status == 2


def test_a_variable_that_would_come_too_late_is_refused(run_hrm: RunHrm) -> None:
    with pytest.raises(AssertionError, match="HF_TOKEN: without effect in this process"):
        run_hrm("presets", env={"HF_TOKEN": "x"})
