"""`hrm solve` on several files, texts of puzzles and standard input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .copying import BLANKS, COMPLETE, ONE_THREAD, copying_model, records

Solve = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copying_model(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture
def solve(run_hrm: Callable[..., Any], model: Path, tmp_path: Path) -> Solve:
    """Runs `hrm solve` in a folder with two files of puzzles."""
    (tmp_path / "a.txt").write_text(f"Monday\n{COMPLETE}\n{BLANKS}\n")
    (tmp_path / "b.txt").write_text(f"{COMPLETE}\n")

    def run(*options: object, **settings: Any) -> Any:
        return run_hrm("solve", *options, "--checkpoint", model, cwd=tmp_path, env=ONE_THREAD, **settings)

    return run


def test_several_files_are_numbered_through_and_each_puzzle_names_its_file(
    solve: Solve, tmp_path: Path
) -> None:
    done = solve("a.txt", "b.txt", "--json", "-o", "out.txt")
    *found, skipped = records(done.stdout)
    assert done.status == 1
    assert [(one["index"], one["where"], one["status"]) for one in found] == [
        (1, "a.txt:2", "solved"), (2, "a.txt:3", "unsolved"), (3, "b.txt:1", "solved"),
    ]  # fmt: skip
    assert (skipped["count"], skipped["where"]) == (1, ["a.txt:1"])
    assert (tmp_path / "out.txt").read_text() == f"{COMPLETE}\n\n{COMPLETE}\n"


def test_files_texts_and_standard_input_may_be_mixed(solve: Solve) -> None:
    done = solve("b.txt", COMPLETE, "-", "--json", input=f"{COMPLETE}\n")
    assert done.status == 0
    assert [one["where"] for one in records(done.stdout)] == [
        "b.txt:1",
        "the given text:1",
        "standard input:1",
    ]


def test_standard_input_is_read_when_nothing_is_named(solve: Solve) -> None:
    done = solve("--json", input=f"{COMPLETE}\n")
    assert (done.status, records(done.stdout)[0]["where"]) == (0, "standard input:1")


def test_a_typed_puzzle_may_have_slashes_between_its_rows(solve: Solve) -> None:
    rows = "/".join(COMPLETE[start : start + 9] for start in range(0, 81, 9))
    done = solve(rows, "b.txt", "--json")
    assert (done.status, [one["answer"] for one in records(done.stdout)]) == (0, [COMPLETE, COMPLETE])
    assert "data/1.3./..12: no such file" in solve("data/1.3./..12").stderr


def test_a_file_without_puzzles_is_named_and_the_others_are_solved(solve: Solve, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    done = solve("empty.txt", "b.txt", "--json")
    assert done.status == 2
    assert [one["status"] for one in records(done.stdout)] == ["invalid", "solved"]
    assert "Error: empty.txt: " in done.stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["b.txt", "nowhere.txt"], "nowhere.txt: no such file"),
        (["b.txt", "."], ".: is a folder"),
        (["-", "-"], "standard input can be read only once"),
        (["b.txt", "a.txt", "--output", "a.txt"], "same file as PUZZLE_FILE"),
        (["b.txt", "task.json"], "task.json holds ARC tasks and b.txt puzzles of one grid"),
        (["b.txt", "53..7."], "neither a file nor a puzzle"),
    ],
)
def test_wrong_file_names_are_reported_before_anything_is_solved(
    solve: Solve, tmp_path: Path, names: list[str], message: str
) -> None:
    (tmp_path / "task.json").write_text(json.dumps({"train": [], "test": []}))
    done = solve(*names)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
