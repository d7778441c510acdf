"""Compiled code is kept by what it was compiled from, and no state of its folder stops anything."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import pytest

from hrm_cli import numba_cache
from hrm_cli.numba_cache import COMPILED_FOLDERS, PACKAGE, compiled_code_folder, keep_on_disk, with_cache

OPENED = """
import torch
from hrm_cli.models.cpu.kernels.launch import Kernel
from hrm_cli.puzzles.sudoku.solver import digit_of
both, opened = torch.ones(1, 2), torch.empty(1, 1)
Kernel("blocks.silu_mul")(1, 12, both.dtype, 1, both, opened)
print(f"{opened.item():.4f}", digit_of(4))
"""
REPORTING = """
from hrm_cli import numba_cache, reporting
numba_cache.COMPILING_SECONDS = 0.0
reporting.when_compiling(lambda: print("compiling"))
"""
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
RIGHT = "0.7311 3"


def run(program: str, cache: Path, package: Path = PACKAGE, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment},
        cwd=package.parent,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled code."""
    monkeypatch.setattr(numba_cache, "compiled_code_folder", lambda: tmp_path)
    return tmp_path


def plus_one(x: int) -> int:
    return x + 1


def called_once() -> Any:
    function = keep_on_disk(numba.njit(plus_one))
    assert function(2) == 3
    return function.stats


def made_at_once() -> Any:
    return with_cache(lambda cache: numba.cfunc("int64(int64)", cache=cache)(plus_one))


def test_an_edit_of_a_called_file_recompiles_the_kernels_of_its_callers(tmp_path: Path) -> None:
    copy, cache = tmp_path / "hrm_cli", tmp_path / "cache"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "presets", "bundled"))
    assert run(OPENED, cache, copy) == RIGHT
    again = run(OPENED, cache, copy, NUMBA_DEBUG_CACHE="1")
    assert "data loaded" in again
    assert "data saved" not in again
    numbers = copy / "models" / "cpu" / "kernels" / "numbers.py"
    before = numbers.read_text(encoding="utf-8")
    edited = before.replace("return _ONE / (_ONE + exp(-x))", "return _ONE + _ONE")
    assert edited != before
    numbers.write_text(edited, encoding="utf-8")
    assert run(OPENED, cache, copy) == "2.0000 3"


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes there")
def test_a_full_disk_stops_nothing_and_long_compilation_is_reported_once_and_not_for_code_from_the_cache(
    tmp_path: Path,
) -> None:
    assert run(LIMITED + OPENED, tmp_path) == RIGHT
    # What it left is not taken for compiled code: it is compiled again, which takes long enough for a message.
    assert run(REPORTING + OPENED, tmp_path).splitlines() == ["compiling", RIGHT]
    assert run(REPORTING + OPENED, tmp_path) == RIGHT, "the message came for code from the cache"


def test_the_clock_of_a_puzzle_stops_while_kernels_are_compiled(tmp_path: Path) -> None:
    timed = f"""
import time
from hrm_cli.reporting import working_clock
began, worked = time.perf_counter(), working_clock()
{OPENED}
compiled = (time.perf_counter() - began) - (working_clock() - worked)
print("some" if compiled > 0.05 else "none")
"""
    assert run(timed, tmp_path).splitlines() == [RIGHT, "some"]
    assert run(timed, tmp_path).splitlines() == [RIGHT, "none"], "code from the cache was counted"


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run(OPENED, file / "cache") == RIGHT
    assert file.stat().st_size == 0


@pytest.mark.parametrize("damage", [b"", b"junk", None], ids=["empty", "junk", "half"])
def test_damaged_files_are_replaced(folder: Path, damage: bytes | None) -> None:
    called_once()
    made_at_once()
    assert called_once().cache_hits
    assert made_at_once().cache_hits == 1
    files = [path for path in folder.rglob("*.nb?") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage is None else damage)
    assert made_at_once().ctypes(2) == 3
    assert not called_once().cache_hits
    made_at_once()
    assert called_once().cache_hits
    assert made_at_once().cache_hits == 1


@pytest.mark.parametrize("make", [called_once, made_at_once])
def test_without_any_folder_functions_are_compiled_for_the_process(
    make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba_cache, "compiled_code_folder", lambda: None)
    make()


def test_an_error_in_a_function_is_raised_and_not_taken_for_a_damaged_file(folder: Path) -> None:
    with pytest.raises(numba.core.errors.TypingError):
        with_cache(lambda cache: numba.cfunc("int64(int64)", cache=cache)(lambda x: x.nothing))


def test_the_setting_of_other_packages_is_left_alone(folder: Path) -> None:
    before = numba.config.CACHE_DIR
    called_once()
    made_at_once()
    assert before == numba.config.CACHE_DIR != str(folder)


def test_few_folders_of_older_sources_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compiled_code_folder.cache_clear()
    (tmp_path / "another").mkdir()
    for i in range(9):
        old = tmp_path / f"hrm-numba-{i}"
        old.mkdir()
        os.utime(old, (i, i))
    try:
        made = compiled_code_folder()
    finally:
        compiled_code_folder.cache_clear()
    assert made is not None
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"another", made.name, "hrm-numba-8", "hrm-numba-7", "hrm-numba-6"}


def test_functions_for_numba_are_written_only_where_their_source_is_hashed() -> None:
    elsewhere = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        if place == "numba_cache.py" or place.startswith(tuple(f"{folder}/" for folder in COMPILED_FOLDERS)):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            elsewhere += [(str(path), name) for name in names if name.split(".")[0] == "numba"]
            if isinstance(node, ast.ImportFrom) and node.module == "hrm_cli.numba_cache":
                elsewhere += [(str(path), one.name) for one in node.names if one.name == "compiled"]
    assert elsewhere == []
