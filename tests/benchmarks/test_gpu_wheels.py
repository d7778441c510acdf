"""benchmarks/gpu_wheels.sh, with a pip that downloads nothing: what it prepares, and what it refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the script needs GNU du")

REPOSITORY = Path(__file__).resolve().parents[2]

# Makes an empty wheel for every NAME==VERSION, as `pip download` would bring it.
PIP = """#!/usr/bin/env bash
while [[ $# -gt 0 ]]; do
    case $1 in
        --dest) mkdir -p "$2"; folder=$2; shift ;;
        *==*) pinned+=("$1") ;;
    esac
    shift
done
for one in "${pinned[@]}"; do
    name=${one%%==*}
    name=${name//-/_}
    tag=py3-none-any
    [[ $name == pydantic_core ]] && tag=${CORE_TAG:-cp312-cp312-manylinux_2_17_x86_64}
    echo > "$folder/$name-${one##*==}-$tag.whl"
done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script reads of a checkout, and a `python3` whose pip is `PIP`."""
    folder = tmp_path / "checkout"
    (folder / "benchmarks").mkdir(parents=True)
    shutil.copy(REPOSITORY / "benchmarks" / "gpu_wheels.sh", folder / "benchmarks")
    shutil.copy(REPOSITORY / "constraints.txt", folder)
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(PIP, encoding="utf-8")
    python.chmod(0o755)
    puzzles = tmp_path / "puzzles"
    puzzles.mkdir()
    for name in ("train.csv", "test.csv"):
        (puzzles / name).write_text("question,answer\n" * 1000, encoding="utf-8")
    return folder


def prepare(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}",
        "GPU_SUDOKU": str(checkout.parent / "puzzles"), "GPU_ARC": str(checkout.parent / "no tasks"), **variables,
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(checkout / "benchmarks" / "gpu_wheels.sh"), *arguments],
        capture_output=True, text=True, check=False, timeout=60, env=environment,
    )  # fmt: skip


def test_wheels_and_data_are_prepared_and_what_is_missing_is_named(checkout: Path) -> None:
    own = checkout.parent / "sudoku-9"
    own.mkdir()
    (own / "dataset.json").write_text("{}", encoding="utf-8")
    done = prepare(checkout, str(own))
    assert done.returncode == 0, done.stderr
    wheels = {wheel.name.split("-")[0] for wheel in (checkout / ".whl").iterdir()}
    assert {"pydantic", "pydantic_core", "typer", "typing_inspection"} <= wheels
    assert sorted(file.name for file in (checkout / ".gpu" / "sudoku").iterdir()) == ["test.csv", "train.csv"]
    assert (checkout / ".gpu" / "data" / "sudoku-9" / "dataset.json").is_file()
    assert "left out: .gpu/arc, because" in done.stdout
    assert not (checkout / ".gpu" / "arc").exists()
    assert done.stdout.splitlines()[-1].endswith("MiB of 64")


def test_a_wheel_for_another_python_is_refused(checkout: Path) -> None:
    done = prepare(checkout, CORE_TAG="cp311-cp311-manylinux_2_17_x86_64")
    assert done.returncode == 1
    assert "is for another machine than CPython 3.12 on x86-64" in done.stderr
    assert prepare(checkout, CORE_TAG="cp313-cp313-manylinux_2_17_x86_64", GPU_PYTHON="3.13").returncode == 0


def test_a_package_without_a_pinned_version_is_refused(checkout: Path) -> None:
    done = prepare(checkout, GPU_PACKAGES="not-a-package-of-anyone")
    assert done.returncode == 2
    assert "constraints.txt names no version of not-a-package-of-anyone" in done.stderr


def test_more_than_may_be_carried_is_refused(checkout: Path) -> None:
    (checkout.parent / "puzzles" / "train.csv").write_bytes(b"0" * 3 * 2**20)
    done = prepare(checkout, GPU_MIB="2")
    assert done.returncode == 1
    assert "more than 2; bring less or set GPU_MIB" in done.stderr
