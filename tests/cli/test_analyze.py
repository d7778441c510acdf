"""`hrm analyze`: tables, JSON and a page, for models with and without attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_hrm: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs") / "four"
    settings = ("train.max_steps=8", "data.num_train=300", "data.num_test=40", "arch.hidden_size=32")
    done = run_hrm("train", "--preset", "demo", "-o", str(folder), "-q", *settings)
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def written(run: Path, run_hrm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    page = tmp_path_factory.mktemp("page") / "page.html"
    done = run_hrm("analyze", str(run), "--sample", "12", "-o", str(page), "--json", "-q")
    assert done.status == 0, done.stderr
    return page.read_text(encoding="utf-8"), json.loads(done.stdout)


def test_the_document_has_every_measurement(written: tuple[str, dict[str, Any]]) -> None:
    _, found = written
    assert found["puzzles"] == 12
    assert (found["trained_steps"], found["steps"]) == (4, 8)
    assert [row["step"] for row in found["accuracy"]] == list(range(1, 9))
    assert len(found["residuals"]["H"]["all"]) == 8
    assert [one["module"] for one in found["updates"]] == ["L", "H"] * 4
    part = found["participation"]
    assert 1 <= part["H"] <= part["width"] == 32
    assert part["H_over_L"] == pytest.approx(part["H"] / part["L"])
    assert part["by_puzzles"][-1]["puzzles"] == 12
    assert found["effective_depth"]["blocks_per_step"] == 2
    assert found["one_empty_cell"]["puzzles"] == 12
    assert set(found["attention"]["modules"]) == {"H", "L"}
    assert "300 generated puzzles" in found["regime"]["training_data"]
    assert found["does_not_apply"] == {}
    right, wrong = (found["effective_depth"][name] for name in ("right", "wrong"))
    assert sum(one["puzzles"] for one in (right, wrong) if one) == 12


def test_the_page_loads_nothing_and_shows_every_part(written: tuple[str, dict[str, Any]]) -> None:
    page, _ = written
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert " src=" not in page
    titles = [
        "Regime", "Accuracy over steps and beyond the trained depth", "Change per single update", "Effective depth",
        "Dimensions of the states", "Trajectories of z_H", "A single empty cell", "Where attention goes",
        "uniform attention",
    ]  # fmt: skip
    assert [title for title in titles if title not in page] == []


def test_the_terminal_gets_tables_and_the_regime(run: Path, run_hrm: Any) -> None:
    done = run_hrm("analyze", str(run), "--sample", "4", "--max-steps", "5", "-q")
    assert done.status == 0, done.stderr
    for text in (
        "participation ratio of z_H",
        "4 (trained)",
        "intersection",
        "empty cells",
        "Regime: trained on",
    ):
        assert text in done.stdout


def test_what_does_not_apply_is_said(run: Path, run_hrm: Any) -> None:
    done = run_hrm(
        "analyze", "bundled:sudoku-4x4", "--data", str(run / "dataset"), "--sample", "4", "--json", "-q"
    )
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["attention"] is None
    assert "has no attention" in found["does_not_apply"]["attention"]
    assert "two roles of the same weights" in found["does_not_apply"]["hierarchy"]
    assert found["one_empty_cell"]["at_end"] == 1
    assert found["accuracy"][7]["exact_accuracy"] == 1
    assert found["stability"]["scales"][0]["right_at_end"] == 1


def test_the_same_seed_gives_the_same_figures(run: Path, run_hrm: Any) -> None:
    words = ("analyze", str(run), "--sample", "6", "--json", "-q", "--seed")
    first, again, other = (json.loads(run_hrm(*words, seed).stdout) for seed in ("1", "1", "2"))
    assert first == again
    assert first["participation"] != other["participation"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing-here"], "no such checkpoint"),
        (["bundled:sudoku-4x4"], "--data DIR"),
        (["RUN", "-o", "x.txt"], "ends in .html"),
        (["RUN", "--force"], "without --output"),
        (["RUN", "--sample", "1"], "--sample"),
        (["RUN", "--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_requests_get_one_error(run: Path, run_hrm: Any, words: list[str], message: str) -> None:
    done = run_hrm("analyze", *(str(run) if word == "RUN" else word for word in words))
    assert done.status == 2
    assert message in done.stderr


def test_a_report_is_not_overwritten_by_an_analysis(run: Path, run_hrm: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<meta name="generator" content="hrm report">')
    done = run_hrm("analyze", str(run), "--sample", "4", "-o", str(page), "-q")
    assert done.status == 2
    assert "is not a page of hrm analyze" in done.stderr
