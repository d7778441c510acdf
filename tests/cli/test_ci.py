"""What a CI job relies on: quiet runs, JSON beside notes, a status by accuracy, short options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.cli.app import COMMANDS, _load

from .conftest import DATA, LENGTH, MODEL

RunHrm = Callable[..., Any]
SMALL = ("build-dataset", "sudoku", "--size", 4, "--num-train", 20, "--num-test", 5)


@pytest.mark.parametrize("options", [("--quiet",), ("-q", "--json")])
def test_a_quiet_training_writes_nothing_to_stderr(
    run_hrm: RunHrm, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = run_hrm("train", "-o", tmp_path / "r", *MODEL, *DATA, *LENGTH, *options, "--preset", "tiny")
    assert (done.status, done.stderr) == (0, "")
    assert "step" in done.stdout


def test_json_leaves_notes_and_progress_on_stderr(run_hrm: RunHrm, tmp_path: Path) -> None:
    run, data = tmp_path / "r", tmp_path / "d"
    trained = run_hrm("train", "-o", run, *MODEL, *DATA, *LENGTH, "--json", "--preset", "tiny")
    assert json.loads(trained.stdout)["steps"] == 6
    assert "trainable parameters" in trained.stderr
    assert "exact accuracy" in trained.stderr
    built = run_hrm(*SMALL, "-o", data, "--json")
    json.loads(built.stdout)
    assert "writing: 25/25" in built.stderr
    puzzles = tmp_path / "p.txt"
    puzzles.write_text("1234341221434321\n")
    solved = run_hrm("solve", puzzles, "--checkpoint", run, "--json")
    json.loads(solved.stdout)
    assert "of 1 puzzle" in solved.stderr


def test_quiet_holds_for_evaluation_and_solving(run_hrm: RunHrm, whole: Path, tmp_path: Path) -> None:
    done = run_hrm("eval", whole, "-q")
    assert (done.status, done.stderr) == (0, "")
    puzzles = tmp_path / "p.txt"
    puzzles.write_text("1234341221434321\n")
    assert run_hrm("solve", puzzles, "--checkpoint", whole, "-q").stderr == ""
    puzzles.write_text("a title\n1234341221434321\n")
    done = run_hrm("solve", puzzles, "--checkpoint", whole, "-q")
    assert done.stderr == "1 line is not a puzzle: 1.\n"  # a warning


def test_fail_under_ends_with_1_below_and_0_at_or_above_and_prints_the_figures(
    run_hrm: RunHrm, whole: Path
) -> None:
    accuracy = json.loads(run_hrm("eval", whole, "--json").stdout)["exact_accuracy"]
    assert run_hrm("eval", whole, "--fail-under", accuracy).status == 0
    done = run_hrm("eval", whole, "--fail-under", 1)
    assert done.status == 1
    assert "exact accuracy" in done.stdout
    assert f"--fail-under 1: the exact accuracy is {accuracy:.2%}, less than 100.00%." in done.stderr
    document = json.loads(run_hrm("eval", whole, "--fail-under", 1, "--json").stdout)
    assert document["fail_under"] == {
        "accuracy": "exact accuracy", "value": accuracy, "wanted": 1.0, "reached": False
    }  # fmt: skip


def test_fail_under_compares_the_accuracy_with_effort_where_that_is_evaluated(
    run_hrm: RunHrm, whole: Path
) -> None:
    done = run_hrm("eval", whole, "--attempts", 2, "--fail-under", 1)
    assert done.status == 1
    assert "the exact accuracy with 2 copies is" in done.stderr


@pytest.mark.parametrize("share", ["95", "-0.1", "nan"])
def test_fail_under_is_a_share(run_hrm: RunHrm, whole: Path, share: str) -> None:
    done = run_hrm("eval", whole, f"--fail-under={share}")
    assert done.status == 2
    assert "--fail-under" in done.stderr


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS), ("presets", "diff"), ("build-dataset", "arc")]
)
def test_the_short_option_h_is_help_in_every_command(run_hrm: RunHrm, command: tuple[str, ...]) -> None:
    short, long = run_hrm(*command, "-h"), run_hrm(*command, "--help")
    assert short == long
    assert (short.status, short.stderr) == (0, "")


def test_the_short_options_o_and_q_mean_the_same_in_every_command() -> None:
    found: dict[str, set[str]] = {}

    def walk(command: Any) -> None:
        for child in getattr(command, "commands", {}).values():
            walk(child)
        for option in command.params:
            for short in option.opts[1:]:
                if len(short) == 2:
                    found.setdefault(short, set()).add(option.opts[0])

    for name in COMMANDS:
        walk(_load(name))
    assert found == {"-o": {"--output", "--output-dir"}, "-q": {"--quiet"}}


def test_a_percentage_for_fail_under_is_answered_with_the_fraction(run_hrm: RunHrm) -> None:
    done = run_hrm("eval", "bundled:sudoku-4x4", "--fail-under", "95")
    assert done.status == 2
    assert "accepted: at most 1; 95 % is 0.95" in done.stderr


def test_a_bundled_model_without_a_dataset_is_told_to_name_one(run_hrm: RunHrm) -> None:
    done = run_hrm("eval", "bundled:sudoku-4x4")
    assert done.status == 2
    assert done.stderr.startswith("Error: bundled:sudoku-4x4: its training data is not part of the package; ")
    assert "--data DIR" in done.stderr
