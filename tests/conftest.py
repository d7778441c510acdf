"""Fixtures for all tests: the real command in a process of its own, and the folder `shared`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every command that a test interrupts would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("hrm", deadline=None)
settings.load_profile("hrm")

REPOSITORY = Path(__file__).resolve().parent.parent
UNSET = ("NO_COLOR", "CI", "FORCE_COLOR", "COLUMNS", "TERM")
"""What the shell that runs the tests may have set and the output depends on."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the recordings and puzzles in `shared` are not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def run_hrm() -> Callable[..., Finished]:
    """`run_hrm("presets", "show", "tiny")` runs the command; a traceback fails the test unless asked for."""

    def run(
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 300,
    ) -> Finished:
        words = [str(argument) for argument in arguments]
        environment = {name: value for name, value in os.environ.items() if name not in UNSET} | dict(
            env or {}
        )
        done = subprocess.run(
            [sys.executable, "-m", "hrm_cli", *words],
            cwd=cwd, env=environment, input=input, timeout=timeout, check=False, capture_output=True, text=True,
        )  # fmt: skip
        if "--debug" not in words:
            assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
