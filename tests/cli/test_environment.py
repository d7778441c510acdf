"""The environment that commands read, and the one that they give to torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hrm_cli import environment
from hrm_cli.environment import limit_spinning

GNU_OPENMP = [*Path(torch.__file__).parent.glob("lib/libgomp*.so*")]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that what a test sets is removed after it
        monkeypatch.delenv(name)


def test_threads_sleep_soon_unless_the_user_sets_how_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == environment.SPINS
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    limit_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_spinning()
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.skipif(not GNU_OPENMP, reason="this torch has another OpenMP")
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, environment.SPINS), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_openmp_finds_the_setting_when_a_command_loads_torch(
    given: dict[str, str], spins: str | None, hrm_process: Callable[..., Any]
) -> None:
    done = hrm_process("params", "--preset", "tiny", env={**given, "OMP_DISPLAY_ENV": "VERBOSE"})
    assert done.status == 0
    assert "OPENMP DISPLAY ENVIRONMENT" in done.stderr
    assert (f"GOMP_SPINCOUNT = '{environment.SPINS}'" in done.stderr) == (spins is not None)


def test_a_wrong_value_of_the_switch_ends_a_command_before_it_begins(
    run_hrm: Callable[..., Any],
) -> None:
    done = run_hrm("train", "--preset", "tiny", env={"HRM_CPU_KERNELS": "none"})
    assert done.status == 2
    assert done.stderr == "Error: environment variable HRM_CPU_KERNELS: expected on or off, got 'none'\n"
    assert run_hrm("--help", env={"HRM_CPU_KERNELS": "none"}).status == 0
