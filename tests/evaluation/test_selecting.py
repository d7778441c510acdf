"""`hrm eval --select`: all attempts at every puzzle are made, and a selector chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory, run_hrm: Any) -> Path:
    folder = tmp_path_factory.mktemp("select") / "four"
    built = run_hrm(
        "build-dataset", "sudoku", "--size", 4, "--num-train", 4, "--num-test", 12, "--output-dir", folder
    )
    assert built.status == 0, built.stderr
    return folder


@pytest.mark.parametrize("kind", [("--restarts", 3), ("--attempts", 4)])
def test_every_selector_is_compared_and_the_requested_one_is_named(
    run_hrm: Any, four: Path, kind: tuple[str, int]
) -> None:
    options = ("eval", "bundled:sudoku-4x4", "--data", four, "--select", "agreement", *kind)
    first = json.loads(run_hrm(*options, "--json").stdout)["select"]
    assert (first["selector"], first["attempts"]) == ("agreement", 4)
    assert set(first["by_selector"]) == {"verify", "confidence", "q_halt", "residual", "agreement"}
    assert first["exact_accuracy"] == first["by_selector"]["agreement"]
    assert all(0 < share <= first["among_candidates"] <= 1 for share in first["by_selector"].values())
    again = json.loads(run_hrm(*options, "--json", "--batch-size", 5).stdout)["select"]
    assert again["by_selector"] == first["by_selector"]
    shown = run_hrm(*options).stdout
    assert "by agreement" in shown
    assert "chosen among 4 answers to every puzzle" in shown


@pytest.mark.slow(seconds=5)
def test_selectors_are_compared_on_mazes_too(tmp_path: Path, run_hrm: Any) -> None:
    built = run_hrm(
        "build-dataset",
        "maze",
        "--size",
        10,
        "--min-path",
        8,
        "--num-train",
        1,
        "--num-test",
        6,
        "-o",
        tmp_path / "m",
    )
    assert built.status == 0, built.stderr
    done = run_hrm(
        "eval",
        "bundled:maze-any-size",
        "--data",
        tmp_path / "m",
        "--restarts",
        2,
        "--select",
        "residual",
        "--json",
    )
    found = json.loads(done.stdout)["select"]
    assert (found["selector"], found["attempts"]) == ("residual", 3)
    assert (
        found["by_selector"]["verify"] == found["among_candidates"] >= max(found["by_selector"].values()) > 0
    )
    assert found["exact_accuracy"] == found["by_selector"]["residual"]
