"""The floors of the house: a module imports only from its own floor and those below it."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "hrm_cli"
FLOORS = (
    "config",
    "puzzles",
    "data",
    "models",
    "accounting",
    "checkpoints",
    "distributed",
    "training",
    "evaluation",
    "inspection",
    "analysis",
    "runs",
    "solving",
    "views",
    "benchmarking",
    "playing",
    "exporting",
    "cli",
)
ENTRANCE = "hrm_cli.__main__"
FACE = ("hrm_cli", "hrm_cli.api")
"""What Python users import: it lies above the floors, next to the commands."""
WITHOUT_TORCH = ("config", "puzzles")


@cache
def parsed(source: str) -> ast.Module:
    """The syntax tree of a source, which every test reads."""
    return ast.parse(source)


def imported_modules(source: str, module: str) -> list[str]:
    """Full names of everything that `source` imports, at the top or inside functions."""
    names = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], base]).rstrip(".")
            # `from hrm_cli import training` names a floor in what is imported, not in where from.
            names += [f"{base}.{alias.name}" for alias in node.names] if base == "hrm_cli" else [base]
    return names


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def floor(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "hrm_cli" and parts[1] in FLOORS else None


def upward_imports(module: str, source: str) -> list[str]:
    own = floor(module)
    if own is None:
        return []
    return [
        name
        for name in imported_modules(source, module)
        if (other := floor(name)) is not None and FLOORS.index(other) > FLOORS.index(own)
    ]


def test_no_module_imports_from_a_floor_above_its_own() -> None:
    found = {module: upward_imports(module, path.read_text(encoding="utf-8")) for module, path in modules()}
    assert len(found) > len(FLOORS), "the walk found too few modules to mean anything"
    assert {module: names for module, names in found.items() if names} == {}


def test_modules_outside_the_floors_import_no_floor_because_every_floor_may_use_them() -> None:
    ground = [
        (module, path)
        for module, path in modules()
        if floor(module) is None and module not in (ENTRANCE, *FACE)
    ]
    assert "hrm_cli.errors" in [module for module, _ in ground]
    users = {
        module: [name for name in imported_modules(path.read_text(encoding="utf-8"), module) if floor(name)]
        for module, path in ground
    }
    assert {module: names for module, names in users.items() if names} == {}


def test_every_folder_is_a_known_floor_so_that_none_escapes_the_rule() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders | {"benchmarking"} == set(FLOORS)
    assert (PACKAGE / "benchmarking.py").is_file()


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_floor_imports_no_torch_because_it_knows_no_tensors(name: str) -> None:
    users = [
        module
        for module, path in modules()
        if floor(module) == name
        and any(
            used.split(".")[0] == "torch"
            for used in imported_modules(path.read_text(encoding="utf-8"), module)
        )
    ]
    assert users == []


@pytest.mark.parametrize(
    "line",
    [
        "import hrm_cli.training.loop",
        "from hrm_cli.training import loop",
        "from hrm_cli import training",
        "from ..training.loop import train",
        "def later():\n    from hrm_cli.cli.console import progress",
    ],
)
def test_the_rule_catches_every_spelling_of_an_upward_import(line: str) -> None:
    assert upward_imports("hrm_cli.models.hrm", line)


@pytest.mark.parametrize(
    "line", ["from hrm_cli.errors import HRMError", "from hrm_cli.config.schema import Preset"]
)
def test_the_rule_allows_downward_imports_and_errors(line: str) -> None:
    assert upward_imports("hrm_cli.models.hrm", line) == []


READERS_OF_FILES = {
    "json": ("load", "loads", "JSONDecoder"),
    "yaml": ("load", "safe_load", "load_all", "safe_load_all", "unsafe_load", "full_load"),
    "numpy": ("load", "fromfile", "loadtxt", "genfromtxt"),
    "np": ("load", "fromfile", "loadtxt", "genfromtxt"),
    "torch": ("load",),
    "pickle": ("load", "loads", "Unpickler"),
}
OWN_MESSAGES = {
    "hrm_cli.json_text": "the reader of JSON",
    "hrm_cli.yaml_text": "the reader of YAML",
    "hrm_cli.checkpoints.convert.torch_files": "the reader of torch files",
    "hrm_cli.cli.console": "a document that it has just written",
    "hrm_cli.cli.worker": "the launcher's task",
    "hrm_cli.evaluation.arc_voting": "votes of other ranks",
    "hrm_cli.training.resuming": "facts of other ranks",
    "hrm_cli.distributed.world": "messages of other ranks",
    "hrm_cli.distributed.process_group": "messages of other ranks",
    "hrm_cli.distributed.reports": "reports of the job's own workers",
}
"""Modules that may parse by other means, and what: text that this program has written in the same job."""


def readers_of_files(source: str) -> list[str]:
    """Calls such as `json.loads` in a module's source."""
    return [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in READERS_OF_FILES.get(node.value.id.removesuffix("_format"), ())
    ]


def test_files_are_read_through_the_readers_with_limits_alone() -> None:
    found = {module: readers_of_files(path.read_text(encoding="utf-8")) for module, path in modules()}
    assert {module: names for module, names in found.items() if names and module not in OWN_MESSAGES} == {}
    assert readers_of_files("import yaml\nyaml.safe_load(text)") == ["yaml.safe_load"]


def test_all_output_passes_one_function_that_escapes_control_characters() -> None:
    found = {}
    for module, path in modules():
        tree = parsed(path.read_text(encoding="utf-8"))
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        printing = [call.id for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        writing = [
            ast.unparse(call)
            for call in calls
            if ast.unparse(call) in ("sys.stdout.write", "sys.stderr.write", "typer.echo", "typer.secho")
        ]
        if printing or writing:
            found[module] = printing + writing
    # `python -m hrm_cli` may be interrupted before anything is imported.
    assert set(found) - {ENTRANCE} == {"hrm_cli.cli.streams"}, found


def test_shortened_values_in_messages_end_in_an_ellipsis() -> None:
    """`{value!r:.40}` cuts without a sign that something is missing; `printable.quoted` and `cut` show one."""
    cut = re.compile(r"\{[^{}]*![rs]:\.\d+\}")
    found = {module: cut.findall(path.read_text(encoding="utf-8")) for module, path in modules()}
    assert {module: places for module, places in found.items() if places} == {}


SOLVED = (
    "import sys; from hrm_cli.cli.app import _run; _run(['solve', sys.argv[1]]); "
    "print(*(name for name in sys.modules if name.startswith('hrm_cli.')), file=sys.stderr)"
)


def test_solving_loads_nothing_of_training_and_of_other_kinds_of_files() -> None:
    """In a process of its own: what this one has imported already does not count."""
    command = [sys.executable, "-c", SOLVED, "1.3..4.12.4.4..2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "solved" in done.stdout
    loaded = [
        name for line in done.stderr.splitlines() for name in line.split() if name.startswith("hrm_cli.")
    ]
    foreign = ("training", "runs", "data.build", "checkpoints.convert", "puzzles.arc", "solving.arc", "views")
    assert [name for name in loaded if name.removeprefix("hrm_cli.").startswith(foreign)] == []
    packages = {module for module, path in modules() if path.name == "__init__.py"}
    assert len(set(loaded) - packages) <= 64


def test_importing_the_solving_package_imports_nothing_of_training() -> None:
    code = (
        "import sys; import hrm_cli.solving.session, hrm_cli.solving.choosing, hrm_cli.solving.solver; "
        "assert not [name for name in sys.modules if name.startswith('hrm_cli.training')]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_module_is_part_of_an_import_cycle() -> None:
    """Imports inside functions count too: they hide a circle, they do not break it."""
    known = {module for module, _ in modules()}
    graph = {
        module: {
            name
            for found in imported_names(path.read_text(encoding="utf-8"))
            for name in (found, found.rpartition(".")[0])
            if name in known and name != module and name.count(".")
        }
        for module, path in modules()
    }
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in finished:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            finished.add(module)

    for module in sorted(graph):
        visit(module, ())


def imported_names(source: str) -> list[str]:
    """Every module or name that `source` imports, as `module.name`, outside `if TYPE_CHECKING`."""
    names = []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_no_file_has_more_than_400_lines() -> None:
    root = PACKAGE.parent
    files = [path for folder in ("hrm_cli", "tests", "benchmarks") for path in (root / folder).rglob("*.py")]
    assert len(files) > 300
    long = {
        str(path.relative_to(root)): lines
        for path in files
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_folder_of_the_package_has_more_than_25_modules() -> None:
    counts = Counter(path.parent for _, path in modules() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in counts.items() if count > 25} == {}


def test_the_drawing_of_the_floors_is_the_one_that_the_imports_give() -> None:
    script = PACKAGE.parent / "docs" / "draw_architecture.py"
    names = runpy.run_path(str(script))
    assert names["PICTURE"].read_text(encoding="utf-8") == names["drawing"](), f"run python {script.name}"


def test_every_path_that_the_page_on_the_architecture_names_is_there() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {
        path for path in re.findall(r"`([a-z_*]+(?:/[a-z_*]+)*\.py)`", page) if not path.startswith("docs/")
    }
    assert len(named) > 30
    assert [path for path in sorted(named) if not list(PACKAGE.glob(path))] == []
