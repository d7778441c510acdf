"""`hrm eval --select`: all attempts at every puzzle are made, and a selector chooses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.errors import ConfigError
from hrm_cli.evaluation.request import EvalRequest, check_selection


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


@pytest.mark.parametrize(
    "request_",
    [
        EvalRequest("m", select="verify"),
        EvalRequest("m", select="verify", attempts=1),
        EvalRequest("m", select="verify", restarts=2, attempts=2),
        EvalRequest("m", select="verify", restarts=2, search=9),
        EvalRequest("m", select="verify", restarts=2, effort="low"),
    ],
)
def test_a_selector_needs_one_kind_of_attempts(request_: EvalRequest) -> None:
    with pytest.raises(ConfigError, match="--select"):
        check_selection(request_)
