"""`hrm runs compare`, sorted and filtered lists of runs, and settings without Python's own notation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.config.presets import load_preset
from hrm_cli.config.resolved import resolved_yaml
from hrm_cli.runs.records import Curve
from hrm_cli.views.charts import overlay

RunHrm = Callable[..., Any]


def a_run(
    folder: Path, preset: str, state: str, accuracies: list[float], seconds: float, *changes: str
) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(resolved_yaml(load_preset(preset, changes)))
    (folder / "status.json").write_text(json.dumps({"state": state, "reason": state, "total_steps": 400}))
    lines: list[dict[str, Any]] = []
    for number, accuracy in enumerate(accuracies, 1):
        step = 100 * number
        lines.append({"kind": "train", "step": step, "loss": 2.0 - accuracy, "seconds": seconds * number})
        lines.append({"kind": "eval", "step": step, "exact_accuracy": accuracy, "cell_accuracy": accuracy})
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    a_run(tmp_path / "runs/low", "tiny", "finished", [0.1, 0.2, 0.3, 0.4], 10)
    a_run(tmp_path / "runs/high", "tiny", "interrupted", [0.5, 0.9], 100, "lr=5e-4", "train.patience=3")
    a_run(tmp_path / "runs/demo", "demo", "finished", [0.2, 0.7, 0.8], 20)
    return tmp_path


def listed(run_hrm: RunHrm, runs: Path, *options: str) -> list[str]:
    done = run_hrm("runs", *options, "--json", cwd=runs)
    assert done.status == 0, done.stderr
    return [Path(one["run"]).name for one in json.loads(done.stdout)["runs"]]


def test_runs_are_sorted(run_hrm: RunHrm, runs: Path) -> None:
    assert listed(run_hrm, runs, "--sort", "best") == ["high", "demo", "low"]
    assert listed(run_hrm, runs, "--sort", "time") == ["high", "demo", "low"]
    assert listed(run_hrm, runs, "--sort", "step") == ["low", "demo", "high"]
    assert listed(run_hrm, runs, "--sort", "name") == ["demo", "high", "low"]


def test_runs_are_filtered_by_state_preset_and_name(run_hrm: RunHrm, runs: Path) -> None:
    assert set(listed(run_hrm, runs, "--filter", "state=finished")) == {"low", "demo"}
    assert set(listed(run_hrm, runs, "--filter", "preset=tiny")) == {"low", "high"}
    assert listed(run_hrm, runs, "--filter", "preset=tiny", "--filter", "state=finished") == ["low"]
    assert set(listed(run_hrm, runs, "--filter", "*o*")) == {"low", "demo"}
    assert listed(run_hrm, runs, "--filter", "runs/high") == ["high"]
    nothing = run_hrm("runs", "--filter", "zzz*", cwd=runs)
    assert (nothing.status, nothing.stdout) == (0, "")
    assert "none of its 3 runs matches --filter" in nothing.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--filter", "state=finishd"], "did you mean finished"),
        (["--filter", "preset=tinny"], "no preset of that name"),
        (["--filter", "lr=1"], "expected state=STATE, preset=NAME, or a pattern"),
        (["--sort", "loss"], "--sort"),
        (["show", "runs/low", "--sort", "best"], "No such option"),
        (["compare", "runs/low"], "name 2 to 26 runs; 1 given"),
        (["compare", "runs/low", "runs/../runs/low"], "named twice"),
        (["compare", "runs/low", "nowhere"], "not a run folder"),
        (["compare", "runs/low", "runs/high", "--png", "x.png"], "--png"),
    ],
)
def test_wrong_requests_say_what_is_accepted(
    run_hrm: RunHrm, runs: Path, words: list[str], message: str
) -> None:
    done = run_hrm("runs", *words, cwd=runs)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_comparison_shows_best_figures_differences_and_one_chart_per_figure(
    run_hrm: RunHrm, runs: Path
) -> None:
    done = run_hrm("runs", "compare", "runs/low", "runs/high", cwd=runs)
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].split()[:5] == ["A", "runs/low", "finished", "400", "40.00%"]
    assert lines[2].split()[:5] == ["B", "runs/high", "interrupted", "200", "90.00%"]
    assert ["setting", "A", "B"] in [line.split() for line in lines]
    assert ["train.lr", "0.001", "0.0005"] in [line.split() for line in lines]
    assert ["train.patience", "null", "3"] in [line.split() for line in lines]
    assert not any(line.startswith(("arch.", "purpose")) for line in lines)
    for title in ("loss (training)", "exact accuracy (evaluations)"):
        assert lines.count(title) == 1
    chart = lines[lines.index("exact accuracy (evaluations)") + 1 :][:9]
    assert [row.split("┤")[0].strip() for row in chart[::4]] == ["100%", "50%", "0%"]
    assert "".join(chart).count("A") >= 3
    assert "B" in "".join(chart)


def test_a_comparison_as_json_has_runs_settings_and_curves(run_hrm: RunHrm, runs: Path) -> None:
    document = json.loads(run_hrm("runs", "compare", "runs/low", "runs/high", "--json", cwd=runs).stdout)
    assert [run["best"]["exact_accuracy"] for run in document["runs"]] == [0.4, 0.9]
    assert {"key": "train.lr", "values": [0.001, 0.0005]} in document["settings"]
    accuracy = next(one for one in document["curves"] if one["figure"] == "exact accuracy")
    assert accuracy["data"] == "eval"
    assert accuracy["runs"][1] == {"run": "runs/high", "steps": [100, 200], "values": [0.5, 0.9]}


def test_runs_with_the_same_settings_say_so(run_hrm: RunHrm, runs: Path) -> None:
    a_run(runs / "runs/again", "tiny", "finished", [0.1], 10)
    done = run_hrm("runs", "compare", "runs/low", "runs/again", cwd=runs)
    assert "The runs have the same settings." in done.stdout


def test_curves_that_meet_share_a_sign_and_the_scale_is_common() -> None:
    rising, flat = Curve([0, 10], [0.0, 1.0]), Curve([0, 10], [0.0, 0.5])
    lines = overlay("figure", [rising, flat], width=11)
    assert lines[1].endswith("┤          A")
    assert lines[9].endswith("┤*")
    assert lines[-1].split() == ["0", "10"]
    assert overlay("figure", [Curve([], [])], width=11) == ["figure: nothing logged"]


@pytest.mark.parametrize("as_json", [False, True])
def test_differences_of_presets_are_without_python_objects(
    run_hrm: RunHrm, tmp_path: Path, as_json: bool
) -> None:
    (tmp_path / "a.yaml").write_text("extends: tiny\n")
    (tmp_path / "b.yaml").write_text(
        "extends: tiny\ndata: {also: [{clues: minimal, num_train: 10}]}\n"
        "train: {patience: 3, loggers: [tensorboard]}\n"
    )
    done = run_hrm("presets", "diff", "a.yaml", "b.yaml", *(["--json"] if as_json else []), cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert not any(word in done.stdout for word in ("None", "(", "SourceConfig", "='"))
    if as_json:
        found = {one["key"]: one for one in json.loads(done.stdout)["differences"]}
        assert (found["train.patience"]["a"], found["train.loggers"]["b"]) == (None, ["tensorboard"])
        assert found["data.also"]["b"][0]["num_train"] == 10
    else:
        assert ["train.patience", "null", "3"] in [line.split() for line in done.stdout.splitlines()]
