"""Plugins: the example package is installed into a folder, and commands use what it adds."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hrm_cli import plugins
from hrm_cli.cli import info
from hrm_cli.config.presets import load_preset
from hrm_cli.config.values import generates
from hrm_cli.data.grids.sources import pair_files
from hrm_cli.errors import ConfigError
from hrm_cli.models.registry import build_model
from hrm_cli.playing.models import Models, offers_of
from hrm_cli.playing.session import PlaySession
from hrm_cli.playing.worker import Stop
from hrm_cli.puzzles.domain import make_domain

RunHrm = Callable[..., Any]
EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "plugin-example"
LATIN_ARCH = (
    "arch.hidden_size=32", "arch.num_heads=2", "arch.H_layers=1", "arch.L_layers=1", "arch.H_cycles=1",
    "arch.L_cycles=1", "arch.halt_max_steps=2",
)  # fmt: skip


def install(folder: Path, name: str, groups: Mapping[str, Mapping[str, str]], version: str = "1.0") -> None:
    """Writes what an installer writes about a package: its metadata and entry points."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages on the path. What is imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    yield folder
    plugins._load.cache_clear()
    for name in set(sys.modules) - known:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def example(site: Path) -> Path:
    """The example package of the documentation, installed."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "hrm_latin", site / "hrm_latin")
    install(site, project["name"], project["entry-points"], project["version"])
    return site


def test_the_example_package_has_fewer_than_100_lines_of_code() -> None:
    files = [*EXAMPLE.rglob("*.py"), EXAMPLE / "pyproject.toml"]
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len([line for line in lines if line.strip()]) < 100


def played(run: Path, text: str) -> Mapping[str, Any]:
    """What the page of `hrm play` gets for a pasted puzzle."""
    session = PlaySession(Models(offers_of([str(run)]), torch.device("cpu")))
    (puzzle,) = session.read({"text": text, "kind": "latin"}, Stop(60))["puzzles"]
    assert puzzle["board"]["puzzle"]["rows"] == 4
    return session.solve({"puzzle": puzzle, "model": str(run)}, Stop(60))


def test_a_domain_of_a_package_is_built_trained_evaluated_solved_and_counted(
    example: Path, run_hrm: RunHrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package, errors about the same files name what is missing."""
    data, run = tmp_path / "data", tmp_path / "run"
    built = run_hrm("build-dataset", "latin", "-o", data, "--num-train", 40, "--num-test", 8, "--json")
    assert built.status == 0, built.stderr
    assert json.loads(built.stdout)["domain"] == {"name": "latin", "size": 4}
    trained = run_hrm(
        "train", "--preset", "tiny", "--data", data, "--output-dir", run, "arch.mixer=lines", *LATIN_ARCH,
        "arch.pos_encodings=none", "train.max_steps=2", "train.global_batch_size=8", "eval.max_steps=2", "-q",
    )  # fmt: skip
    assert trained.status == 0, trained.stderr
    evaluated = run_hrm("eval", run, "--json", "-q")
    assert '"puzzles": 8' in evaluated.stdout, evaluated.stdout
    puzzle = tmp_path / "latin.txt"
    puzzle.write_text("# one puzzle, and one that is too short\n1234 .... 3412 4321\n12\n")
    solved = run_hrm("solve", puzzle, "--checkpoint", run, "--json")
    first, second = map(json.loads, solved.stdout.splitlines())
    assert (first["domain"], first["status"] in ("solved", "unsolved")) == ("latin", True)
    assert second["status"] == "invalid"
    assert "2 characters; 4×4 latin puzzles have 16" in second["reason"]
    assert played(run, "1234 .... 3412 4321")["status"] == first["status"]
    counted = json.loads(run_hrm("params", "--checkpoint", run, "--json").stdout)
    model = build_model(load_preset(str(run / "config.yaml")).arch, 6, 16, 1)
    trainable = sum(weight.numel() for weight in model.parameters())
    assert counted["exact"]["trainable"] == trainable

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(example)])
    for command in (
        ("solve", "1234............", "--checkpoint", run),
        ("eval", run),
        ("train", "--preset", "tiny", "--data", data, "--dry-run"),
        ("train", "data.domain=latin"),
    ):
        done = run_hrm(*command)
        assert done.status == 2, command
        missing = "mixer 'lines'" if command[0] == "eval" else "domain 'latin'"
        assert f"unknown {missing}" in done.stderr
        assert "No installed package adds a" in done.stderr


def test_settings_of_other_domains_are_refused_and_the_size_is_accepted(
    example: Path, run_hrm: RunHrm, tmp_path: Path
) -> None:
    refused = run_hrm("train", "data.domain=latin", "data.clues=5")
    assert "data.clues: has no effect for the domain latin" in refused.stderr
    refused = run_hrm("build-dataset", "latin", "-o", tmp_path / "x", "--size", 70)
    assert (
        "domain latin: cannot be created with {'size': 70} (ValueError: size: expected 2 to 9)"
        in refused.stderr
    )
    file = tmp_path / "mine.csv"
    file.write_text("puzzle,answer\n12.2.13..,123231312\n.23...3.2,123231321\n")
    built = run_hrm(
        "build-dataset",
        "latin",
        "-o",
        tmp_path / "d",
        "--source",
        file,
        "--size",
        3,
        "--num-test",
        1,
        "--json",
    )
    assert built.status == 2
    assert (
        "mine.csv:3: the given answer is wrong (the answer changes the given in row 3, column 3)"
        in built.stderr
    )


def test_the_help_of_build_dataset_lists_the_domain(example: Path, run_hrm: RunHrm) -> None:
    assert "latin" in run_hrm("build-dataset", "--help").stdout
    assert "(package hrm-latin 1.0)" in run_hrm("build-dataset", "latin", "--help").stdout
    assert run_hrm("build-dataset", "latte", "-o", "x").status == 2


def test_symmetric_puzzles_of_the_base_class_have_one_canonical_form(example: Path) -> None:
    domain: Any = make_domain("latin", size=4)
    rng = np.random.default_rng(0)
    puzzle, answer = next(iter(domain.generate(1, rng)))
    tokens, wanted = domain.encode(puzzle), domain.encode(answer)
    symmetries = domain.sample_symmetries(rng, 20)
    copies, answers = symmetries.apply(tokens), symmetries.apply(wanted)
    assert set(domain.canonical(copies)) == set(domain.canonical(tokens[None]))
    assert domain.verify_all(copies, answers).all()
    assert (domain.solve_all(copies).counts == 1).all()
    wrong = answers.copy()
    wrong[:, 0] = wrong[:, 1]
    assert not domain.verify_all(copies, wrong).any()


def test_a_source_of_a_package_makes_pairs(example: Path, tmp_path: Path) -> None:
    assert generates("latin-pairs:3")
    assert not generates("latin-pears:3")
    (found,) = pair_files("latin-pairs:3", tmp_path, count=5, seed=1, report=lambda *_: None)
    pairs = [json.loads(line) for line in found.path.read_text().splitlines()]
    assert len(pairs) == 5
    given, wanted = pairs[0]
    assert wanted == [given[0][n:] + given[0][:n] for n in range(3)]


def test_a_core_of_a_package_is_selected_counted_and_measured(site: Path, run_hrm: RunHrm) -> None:
    (site / "hrm_mine.py").write_text("from hrm_cli.models.trm import TRM\nclass Mine(TRM):\n    pass\n")
    install(site, "hrm-mine", {"hrm_cli.cores": {"mine": "hrm_mine:Mine"}})
    own = json.loads(run_hrm("params", "--preset", "tiny", "arch.core=mine", "--json").stdout)
    base = json.loads(run_hrm("params", "--preset", "tiny", "arch.core=trm", "--json").stdout)
    assert own["exact"]["trainable"] == base["exact"]["trainable"]
    refused = run_hrm("params", "--preset", "tiny", "arch.core=mein")
    assert "unknown core 'mein'; did you mean mine?" in refused.stderr


def test_broken_plugins_are_named_with_the_reason_and_skipped(site: Path, run_hrm: RunHrm) -> None:
    (site / "hrm_bad.py").write_text("class Half:\n    pass\ndef thing():\n    pass\nNOTHING = 3\n")
    (site / "hrm_crash.py").write_text("raise SystemExit('no license')\n")
    entries = {
        "hrm_cli.domains": {
            "half": "hrm_bad:Half", "gone": "hrm_gone:X", "crash": "hrm_crash:X", "sudoku": "hrm_bad:Half",
            "Upper Case": "hrm_bad:Half",
        },
        "hrm_cli.sources": {"nothing": "hrm_bad:NOTHING", "gym": "hrm_bad:thing"},
        "hrm_cli.mixers": {"attention": "hrm_bad:Half"},
    }  # fmt: skip
    install(site, "hrm-bad", entries)
    install(site, "hrm-worse", {"hrm_cli.domains": {"half": "hrm_bad:Half"}}, "2.0")
    found = info._plugins()
    wanted = {
        "domain half": "lacks facts, describe",
        "domain gone": "hrm_gone:X cannot be imported (ModuleNotFoundError",
        "domain crash": "(SystemExit: no license)",
        "domain sudoku": "the domain sudoku is built in, and a plugin cannot replace it",
        "domain Upper Case": "a name has 2 to 40 lowercase letters",
        "source nothing": "is not a source: it lacks __call__",
        "source gym": "built in",
        "mixer attention": "built in",
    }
    for name, reason in wanted.items():
        assert found[name].startswith("hrm-bad 1.0, cannot be used: ")
        assert reason in found[name]
    assert "package hrm-bad also provides the domain half" in found["domain half"]
    assert run_hrm("solve", "1.3..4.12.4.4..2").status == 0
    refused = run_hrm("train", "data.domain=half")
    assert refused.status == 2
    assert "domain half of package hrm-bad 1.0 cannot be used" in refused.stderr


def test_nothing_is_looked_up_for_built_in_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("the metadata of packages were read")

    monkeypatch.setattr("importlib.metadata.entry_points", fails)
    make_domain("sudoku", size=4)
    build_model(load_preset("tiny").arch, 6, 16, 1, device="meta")
    assert not generates("mine.csv")
    with pytest.raises(AssertionError):
        make_domain("latin")


def test_a_domain_with_another_name_than_its_entry_point_is_refused(example: Path) -> None:
    install(example, "hrm-other", {"hrm_cli.domains": {"roman": "hrm_latin:Latin"}})
    with pytest.raises(ConfigError, match="domain roman: its name is 'latin'"):
        make_domain("roman")


def test_a_domain_that_leaves_out_a_part_is_named_with_what_is_missing(site: Path, run_hrm: RunHrm) -> None:
    (site / "partial.py").write_text(
        "from hrm_cli.puzzles.symbol_grid import SymbolGrid\n"
        "class Partial(SymbolGrid):\n"
        "    name = 'partial'\n"
        "    def __init__(self, size=4):\n"
        "        super().__init__(size, size, '.12')\n"
        "    def facts(self):\n"
        "        return {'size': self.rows}\n"
    )
    install(site, "partial-puzzles", {"hrm_cli.domains": {"partial": "partial:Partial"}})
    missing = "it does not implement broken_rule, solutions"
    with pytest.raises(ConfigError, match=missing):
        make_domain("partial", size=4)
    shown = run_hrm("info")
    assert shown.status == 0
    assert missing in " ".join(shown.stdout.split())
