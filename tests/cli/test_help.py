"""`--help`: it fits 80 columns, groups options, names types as usual, and bare `hrm train` explains itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.cli.app import COMMANDS, _load
from hrm_cli.cli.options import SEARCH

RunHrm = Callable[..., Any]


def commands() -> Iterator[tuple[str, ...]]:
    yield ()
    for name in COMMANDS:
        yield (name,)
        yield from ((name, inner) for inner in getattr(_load(name), "commands", {}))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_fits_80_columns_and_shows_no_types_of_python(run_hrm: RunHrm, command: tuple[str, ...]) -> None:
    done = run_hrm(*command, "--help", env={"COLUMNS": "80"})
    assert done.status == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for word in ("<int", "<float", "<str", "<path", "<list", "RANGE", "(as "):
        assert word not in done.stdout


def test_the_summaries_of_commands_are_not_cut(run_hrm: RunHrm) -> None:
    shown = run_hrm("--help", env={"COLUMNS": "80"}).stdout
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in shown
        assert summary in shown


def test_the_summaries_of_subcommands_wrap_instead_of_being_cut(run_hrm: RunHrm) -> None:
    for name in ("build-dataset", "models", "presets", "runs"):
        shown = run_hrm(name, "--help", env={"COLUMNS": "60"}).stdout.partition("Commands:\n")[2]
        assert "  " in shown
        assert "…" not in shown
        assert "..." not in shown
    assert "pairs of an input grid and an output grid." in " ".join(
        run_hrm("build-dataset", "--help", env={"COLUMNS": "60"}).stdout.split()
    )


def test_each_subcommand_of_runs_has_its_own_page(run_hrm: RunHrm) -> None:
    listing, show, compare = (
        run_hrm("runs", *words, "--help").stdout for words in ((), ("show",), ("compare",))
    )
    assert "hrm runs [OPTIONS] [DIR]" in listing
    assert "--sort" in listing
    assert "show     Plot the curves" in listing
    assert "hrm runs show" in show.splitlines()[0]
    assert "--png" in show
    assert "--sort" not in show
    assert "hrm runs compare" in compare.splitlines()[0]
    assert "--png" not in compare


@pytest.mark.parametrize(
    ("command", "groups"),
    [
        ("solve", ["Arguments", "Options", "See the reasoning", SEARCH, "ARC tasks", "Pause and resume"]),
        ("train", ["Arguments", "Options", "Start and resume", "Several processes"]),
        ("eval", ["Arguments", "Options", SEARCH, "ARC tasks", "Several processes"]),
    ],
)  # fmt: skip
def test_options_are_shown_in_groups(run_hrm: RunHrm, command: str, groups: list[str]) -> None:
    lines = run_hrm(command, "--help").stdout.splitlines()
    assert {line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")} == set(
        groups
    )


def test_numbers_are_called_integer_and_float(run_hrm: RunHrm) -> None:
    shown = " ".join(run_hrm("solve", "--help").stdout.split())
    assert "--max-steps INTEGER" in shown
    assert "--noise FLOAT" in shown
    assert "[default: as trained" in shown


@pytest.mark.parametrize("words", [(), ("--json",), ("-o", "run"), ("--seed", "1")])
def test_train_alone_says_what_to_train_and_starts_nothing(
    run_hrm: RunHrm, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = run_hrm("train", *words, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    for text in ("name a preset", "ten minutes", "hrm train --preset tiny", "hrm train --preset demo"):
        assert text in done.stderr
    assert list(tmp_path.iterdir()) == []
