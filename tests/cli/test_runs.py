"""`hrm runs` and `hrm train --dry-run` as people and scripts run them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.runs.records import Curve
from hrm_cli.views.charts import POINT, chart

SMALL = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.H_layers=1", "arch.L_layers=1", "data.size=4",
    "data.clues=minimal", "data.num_train=64", "data.num_test=16", "data.augment=stored", "train.global_batch_size=16",
    "train.lr_warmup_steps=2", "train.log_interval=5", "train.max_steps=30",
]  # fmt: skip


Done = Any


@pytest.fixture
def hrm(run_hrm: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The command in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    return run_hrm


@pytest.fixture
def trained(hrm: Callable[..., Done], tmp_path: Path) -> Done:
    done = hrm("train", "--preset", "tiny", "--output-dir", "runs/first", *SMALL, "train.loggers=tensorboard")
    assert done.status == 0, done.stderr
    return done


def test_a_run_prints_its_plan_and_time_and_is_listed_and_plotted(
    hrm: Callable[..., Done], trained: Done, tmp_path: Path
) -> None:
    assert "Plan: 30 steps, 7.5 epochs, 480 examples, 7,680 tokens;" in trained.stderr
    assert "Memory while training: about" in trained.stderr
    assert "s per step" in trained.stderr
    assert "measured over 20 steps" in trained.stderr
    assert list((tmp_path / "runs/first/tensorboard").iterdir())

    listed = hrm("runs")
    assert listed.status == 0
    row = listed.stdout.splitlines()[1].split()
    assert row[:4] == ["runs/first", "finished", "30", "30"]
    document = json.loads(hrm("runs", "--json").stdout)["runs"][0]
    assert (document["state"], document["step"], document["total_steps"]) == ("finished", 30, 30)
    assert set(document["best"]) == {"step", "exact_accuracy", "cell_accuracy", "mean_steps"}

    drawn = hrm("runs", "show", "runs/first", "--png", "first.png")
    assert drawn.status == 0, drawn.stderr
    assert drawn.stdout.startswith("runs/first: finished, step 30 of 30")
    for title in ("loss", "exact accuracy", "ACT steps until a puzzle halts", "halting: "):
        assert f"\n{title}" in drawn.stdout
    assert "\x1b" not in drawn.stdout
    assert max(map(len, drawn.stdout.splitlines())) <= 80
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")

    curves = json.loads(hrm("runs", "show", "runs/first", "--json").stdout)["curves"]
    assert curves["train"]["loss"]["steps"] == [5, 10, 15, 20, 25, 30]
    assert len(curves["eval"]["exact_accuracy"]["values"]) == 10


def test_a_dry_run_extrapolates_a_step_that_takes_too_long(
    hrm: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrm_cli.runs.execution.MAX_SECONDS", 1e-9)
    settings = [*SMALL, "train.global_batch_size=64"]
    done = hrm("train", "--preset", "tiny", "--dry-run", *settings)
    assert done.status == 0, done.stderr
    assert "extrapolated from a step of 16 puzzles" in " ".join(done.stdout.split())
    document = json.loads(hrm("train", "--preset", "tiny", "--dry-run", "--json", *settings).stdout)["plan"]
    assert (document["measured_rows"], document["measured_steps"]) == (16, 1)


def test_a_dry_run_measures_and_keeps_nothing(hrm: Callable[..., Done], tmp_path: Path) -> None:
    done = hrm("train", "--preset", "tiny", "--dry-run", *SMALL)
    assert done.status == 0, done.stderr
    assert "Plan: 30 steps" in done.stdout
    assert "measured over 20 steps" in done.stdout
    document = json.loads(hrm("train", "--preset", "tiny", "--dry-run", "--json", *SMALL).stdout)["plan"]
    assert document["steps"] == 30
    assert document["training_seconds"] == pytest.approx(30 * document["step_seconds"])
    assert os.listdir(tmp_path) == []
    refused = hrm("train", "--resume", "latest", "--dry-run")
    assert refused.status == 2
    assert "--dry-run" in refused.stderr


def test_an_empty_run_is_listed_and_shown_as_such(hrm: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "runs/empty").mkdir(parents=True)
    (tmp_path / "runs/empty/config.yaml").write_text("")
    assert "runs/empty  unknown" in hrm("runs").stdout
    shown = hrm("runs", "show", "runs/empty")
    assert (shown.status, shown.stdout.splitlines()[-1]) == (0, "nothing logged yet")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("runs",), "`hrm train` creates it"),
        (("runs", "nowhere"), "nowhere: no such folder"),
        (("runs", "show"), "Missing argument"),
        (("runs", "show", "nowhere"), "not a run folder"),
        (("runs", ".", "--png", "a.png"), "No such option"),
        (("runs", "a", "b"), "one folder"),
    ],
)
def test_wrong_requests_name_what_is_expected(
    hrm: Callable[..., Done], words: tuple[str, ...], message: str
) -> None:
    done = hrm(*words)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_picture_without_matplotlib_names_the_extra(
    hrm: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "config.yaml").write_text("")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    done = hrm("runs", "show", ".", "--png", "a.png")
    assert done.status == 2
    assert "pip install 'hrm-cli[plots]'" in done.stderr
    assert "a.svg" in hrm("runs", "show", ".", "--png", "a.svg").stderr


def test_a_chart_puts_the_highest_value_on_top_and_the_last_step_at_the_right() -> None:
    rising = Curve([0, 50, 100], [0.0, 1.0, 2.0])
    lines = chart("t", rising, Curve([100], [2.0]), 100, width=20, height=4)
    assert lines[0] == "t"
    assert lines[1].startswith("2 ┤")
    assert lines[1].endswith(POINT)
    assert lines[4].startswith("0 ┤")
    assert lines[4][3] != " "
    assert lines[-1].endswith("100")


@pytest.mark.parametrize("values", [[], [1.0], [3.0, 3.0]])
def test_charts_of_nothing_of_one_value_and_of_a_flat_line_are_drawn(values: list[float]) -> None:
    curve = Curve(list(range(len(values))), values)
    lines = chart("t", curve, Curve([], []), max(len(values) - 1, 0))
    assert len(lines) == (1 if not values else 11)
