"""`hrm info`: a block for a bug report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from hrm_cli import __version__, machine
from hrm_cli.cli import info
from hrm_cli.numba_cache import compiled_code_folder

RunHrm = Callable[..., Any]


def test_the_block_names_versions_machine_packages_caches_and_choices(run_hrm: RunHrm) -> None:
    done = run_hrm("info", "--device", "cpu", "--json")
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == [
        "hrm", "python", "torch", "device", "processor", "memory", "packages", "plugins", "extras", "caches",
        "environment", "choices",
    ]  # fmt: skip
    assert found["hrm"] == __version__
    assert torch.__version__ in found["torch"]
    assert found["device"]["used"] == "cpu"
    known = {"device", "dtype", "attention", "blocks", "compiled", "optimizer", "int8"}
    assert set(found["choices"]) == known
    assert float(found["memory"]["total"].removesuffix(" GB")) > 0.5
    text = run_hrm("info", "--device", "cpu").stdout
    assert f"hrm: {__version__}\n" in text
    assert "\nchoices:\n  device     cpu\n" in text


def test_the_home_folder_and_unrelated_variables_stay_private(run_hrm: RunHrm, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.setenv("MY_SECRET_TOKEN", "geheim")
    compiled_code_folder.cache_clear()
    try:
        done = run_hrm("info", "--device", "cpu")
    finally:
        compiled_code_folder.cache_clear()
    assert str(tmp_path) not in done.stdout
    assert os.path.join("~", "numba") in done.stdout
    assert "geheim" not in done.stdout


def test_an_installed_package_that_does_not_load_is_reported_with_the_reason(monkeypatch) -> None:
    def fails(name: str) -> ModuleType:
        raise ImportError("undefined symbol: _ZN3c10\nmore")

    monkeypatch.setattr("importlib.import_module", fails)
    assert info._extra("numpy", "numpy").endswith("but cannot be imported (undefined symbol: _ZN3c10)")
    assert info._extra("no-such-package", "nothing") == "not installed"


def test_a_missing_device_is_refused(run_hrm: RunHrm) -> None:
    done = run_hrm("info", "--device", "nonsense")
    assert done.status == 2
    assert "nonsense" in done.stderr


def test_a_processor_has_a_name_and_cores_on_every_system(monkeypatch) -> None:
    assert machine.processor_name()
    assert 1 <= machine.granted_cores() <= (os.cpu_count() or 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert machine.processor_name()
