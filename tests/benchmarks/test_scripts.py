"""Benchmarks are run by hand and seldom: what they import, also inside functions, must exist."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.rglob("*.py"))


def imports(script: Path) -> Iterator[tuple[str, str]]:
    """Modules of hrm_cli and of the benchmarks, each with a name that is taken from it (or none)."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def missing(module: str, name: str) -> str:
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        return str(error)
    if not name or hasattr(found, name):
        return ""
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return f"{module} has no {name}"
    return ""


@pytest.mark.parametrize("script", [pytest.param(s, id=str(s.relative_to(BENCHMARKS))) for s in SCRIPTS])
def test_what_a_benchmark_imports_exists(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    own = {path.stem for path in BENCHMARKS.iterdir()}
    wanted = [(m, n) for m, n in imports(script) if m.partition(".")[0] in {"hrm_cli", *own}]
    assert [fault for module, name in wanted if (fault := missing(module, name))] == []


def test_an_import_of_a_module_or_name_that_no_longer_exists_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import hrm_cli.gone\nfrom hrm_cli.files import nothing, write_text\nfrom hrm_cli import files\n"
    )
    assert [bool(missing(*wanted)) for wanted in imports(script)] == [True, True, False, False]
