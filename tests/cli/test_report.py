"""`hrm report`: one page that loads nothing, with the regime of its scores."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.cli.studying import report as studying
from hrm_cli.reporting import Reporter

SETTINGS = (
    "train.max_steps=12", "train.log_interval=4", "data.num_train=300", "data.num_test=60",
    "arch.hidden_size=32", "train.eval_interval=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_hrm: Any) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "four"
    done = run_hrm("train", "--preset", "demo", "-o", str(folder), "-q", "--report", *SETTINGS)
    assert done.status == 0, done.stderr
    assert f"Report: {folder / 'report.html'}" in done.stdout
    return folder


@pytest.fixture(scope="module")
def written(run: Path, run_hrm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The page of a report with effort, and its JSON document."""
    page = tmp_path_factory.mktemp("page") / "page.html"
    done = run_hrm("report", str(run), "-o", str(page), "--sample", "24", "--effort", "low", "--json", "-q")
    assert done.status == 0, done.stderr
    return page.read_text(encoding="utf-8"), json.loads(done.stdout)


class Loads(HTMLParser):
    """Collects what a page would load, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.loaded += [f"{tag} {name}" for name in ("src", "srcset", "data", "poster") if name in found]
        if tag in ("link", "iframe", "object", "embed", "base", "form"):
            self.loaded.append(tag)
        if "id" in found:
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found.get("href")))
        if tag not in ("meta", "br", "hr", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Such an element is closed."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1] == tag, f"</{tag}> inside <{self.open[-1]}>"
        self.open.pop()


def test_the_page_loads_nothing_and_is_well_formed(written: tuple[str, dict[str, Any]]) -> None:
    page, _ = written
    parser = Loads()
    parser.feed(page)
    assert parser.loaded == []
    assert parser.open == []
    assert "default-src 'none'" in page
    assert not re.search(r"(https?:)?//\w+\.\w+", page.replace("http://www.w3.org/2000/svg", ""))
    assert len(parser.ids) == len(set(parser.ids))
    assert parser.links
    assert all(link.removeprefix("#") in parser.ids for link in parser.links)


def test_every_part_is_on_the_page(written: tuple[str, dict[str, Any]]) -> None:
    page, _ = written
    titles = [
        "Loss", "Accuracy over steps", "Accuracy over effort", "Steps until a puzzle finishes",
        "Accuracy by number of givens", "Calibration of confidence", "Parameters", "Throughput", "Configuration",
        "Environment of this report",
    ]  # fmt: skip
    assert [title for title in titles if title not in page] == []
    assert "no knowledge of the rules" not in page  # as a table, not as a sentence
    assert "30 generated puzzles" in page or "300 generated puzzles (4-10 clues)" in page


def test_the_document_has_the_scores_and_their_regime(written: tuple[str, dict[str, Any]], run: Path) -> None:
    _, found = written
    scores = found["scores"]
    assert scores["puzzles"] == 24
    assert scores["sample"] == {"puzzles": 24, "of": 60, "seed": 0}
    assert scores["regime"]["rules"] == "verify answers"
    assert "300 generated puzzles" in scores["regime"]["training_data"]
    assert [one["max_steps"] for one in scores["by_depth"]] == list(range(1, 9))
    halted = scores["halting"]["steps"]
    assert sum(one["right"] + one["wrong"] for one in halted) == 24
    assert sum(group["puzzles"] for group in scores["difficulty"][0]["groups"]) == 24
    for name in ("answers", "product", "cells"):
        part = scores["calibration"][name]
        assert sum(one["count"] for one in part["bins"]) == part["count"] > 0
        assert 0 <= part["error"] <= 1
    assert scores["calibration"]["answers"]["count"] == 24
    assert found["run"]["curves"]["train"]["loss"]
    assert found["parameters"]["exact"]["trainable"] > 0
    assert found["environment"]["hrm"] == found["hrm"]


def test_failures_are_listed_with_every_step_and_the_hardest_first(
    written: tuple[str, dict[str, Any]],
) -> None:
    failures = written[1]["scores"]["failures"]
    assert failures, "a model after 12 steps fails"
    for one in failures:
        assert [frame["step"] for frame in one["frames"]] == list(range(1, one["steps"] + 1))
        assert one["frames"][-1]["wrong_cells"] == one["wrong_cells"] > 0
    assert len(failures) <= 8


def test_every_failure_has_a_board_with_its_steps(written: tuple[str, dict[str, Any]]) -> None:
    page, found = written
    data = re.search(r'<script type="application/json" id="boards">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    boards = json.loads(data[1])
    failures = found["scores"]["failures"]
    assert [len(board["steps"]) for board in boards] == [one["steps"] for one in failures]
    assert [len(board["steps"][-1]["wrong"]) for board in boards] == [one["wrong_cells"] for one in failures]
    assert "hrmBoard.player" in page
    assert page.count('aria-pressed="false"') == len(failures)


def test_the_page_names_no_private_folder(written: tuple[str, dict[str, Any]], run: Path) -> None:
    page, _ = written
    assert "configuration" in page.lower()
    pre = "".join(re.findall(r"<pre>.*?</pre>", page, re.DOTALL))
    assert str(run.parent) not in pre


def test_a_report_overwrites_a_report_but_no_other_file(run: Path, run_hrm: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    refused = run_hrm("report", str(run), "-o", str(page), "--sample", "8", "-q")
    assert refused.status == 2
    assert "--force overwrites it" in refused.stderr
    assert page.read_text() == "mine"
    assert run_hrm("report", str(run), "-o", str(page), "--sample", "8", "-q", "--force").status == 0
    first = page.read_text()
    assert run_hrm("report", str(run), "-o", str(page), "--sample", "9", "-q").status == 0
    assert page.read_text() != first


def test_without_its_dataset_a_report_says_what_to_give(run: Path, run_hrm: Any, tmp_path: Path) -> None:
    copy = tmp_path / "alone.safetensors"
    shutil.copy(next(run.rglob("model.safetensors")), copy)
    page = tmp_path / "alone.html"
    done = run_hrm("report", str(copy), "-o", str(page), "-q")
    assert done.status == 0, done.stderr
    assert "No scores" in done.stdout
    text = page.read_text()
    assert "--data DIR" in text
    assert "Accuracy over steps" not in text
    assert "Parameters" in text
    done = run_hrm(
        "report", str(copy), "--data", str(run / "dataset"), "-o", str(page), "--sample", "8", "-q"
    )
    assert done.status == 0, done.stderr
    assert "Accuracy over steps" in page.read_text()


def test_a_named_dataset_that_does_not_fit_is_an_error(run: Path, run_hrm: Any, tmp_path: Path) -> None:
    assert (
        run_hrm(
            "build-dataset",
            "maze",
            "-o",
            str(tmp_path / "m"),
            "--size",
            "6",
            "--num-train",
            "2",
            "--num-test",
            "2",
            "-q",
        ).status
        == 0
    )
    done = run_hrm("report", str(run), "--data", str(tmp_path / "m"), "-o", str(tmp_path / "r.html"), "-q")
    assert done.status == 2
    assert "seq_len" in done.stderr or "vocab_size" in done.stderr
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing-here"], "no such checkpoint"),
        (["RUN", "-o", "x.txt"], "ends in .html"),
        (["RUN", "-o", "missing/x.html"], "does not exist"),
        (["RUN", "--max-steps", "0"], "not a number of steps"),
        (["RUN", "--sample", "0"], "--sample"),
    ],
)
def test_wrong_requests_get_one_error(run: Path, run_hrm: Any, words: list[str], message: str) -> None:
    done = run_hrm("report", *(str(run) if word == "RUN" else word for word in words))
    assert done.status == 2
    assert message in done.stderr


def test_a_run_without_a_checkpoint_gets_its_curves(run: Path, run_hrm: Any, tmp_path: Path) -> None:
    copy = tmp_path / "stopped"
    copy.mkdir()
    for name in ("config.yaml", "metrics.jsonl"):
        shutil.copy(run / name, copy / name)
    (copy / "status.json").write_text('{"state": "running", "reason": "", "total_steps": 99}')
    done = run_hrm("report", str(copy), "-q")
    assert done.status == 0, done.stderr
    text = (copy / "report.html").read_text()
    assert "interrupted (killed)" in text
    assert "Loss" in text
    assert "contains no checkpoint" in text


def test_a_run_with_a_damaged_checkpoint_gets_its_curves_and_the_reason(
    run: Path, run_hrm: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(run, copy)
    for model in copy.rglob("model.safetensors"):
        content = bytearray(model.read_bytes())
        content[-1] ^= 1
        model.write_bytes(content)
    done = run_hrm("report", str(copy), "-q")
    assert done.status == 0, done.stderr
    assert "its checksum does not match" in done.stdout
    text = (copy / "report.html").read_text()
    assert "its checksum does not match" in text
    assert "Loss" in text
    weights = next(copy.rglob("model.safetensors"))
    alone = tmp_path / "alone.safetensors"
    shutil.copy(weights, alone)
    refused = run_hrm("report", str(alone), "--data", str(run / "dataset"), "-o", str(tmp_path / "a.html"))
    assert refused.status == 2
    assert "its checksum does not match" in refused.stderr


def test_an_interrupted_run_gets_its_curves_without_an_evaluation(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "interrupted"
    shutil.copytree(run, copy)
    reporter = Reporter()
    path = studying.report_run(copy, reporter, interrupted=True)
    assert path == copy / "report.html"
    text = path.read_text()
    assert "the run was interrupted; hrm report" in text
    assert "Accuracy over steps" not in text
    assert "Loss" in text
    assert studying.report_run(copy, reporter) == path
    assert "Accuracy over steps" in path.read_text()


def test_effort_is_refused_where_no_rules_find_wrong_answers(run_hrm: Any, tmp_path: Path) -> None:
    pairs = tmp_path / "own.jsonl"
    lines = [json.dumps({"input": [[a, b]], "output": [[b, a]]}) for a in "abcdefg" for b in "abcdefg"]
    pairs.write_text("\n".join(lines))
    folder = tmp_path / "own"
    done = run_hrm(
        "train", str(pairs), "-o", str(folder), "-q", "--report", "train.max_steps=2", "arch.hidden_size=32"
    )
    assert done.status == 0, done.stderr
    assert "Calibration of confidence" in (folder / "report.html").read_text()
    refused = run_hrm("report", str(folder), "--effort", "low", "-q")
    assert refused.status == 2
    assert "no rules that could verify" in refused.stderr


def test_training_without_a_report_writes_none(run_hrm: Any, tmp_path: Path) -> None:
    folder = tmp_path / "quiet"
    done = run_hrm("train", "--preset", "demo", "-o", str(folder), "-q", "--no-report", "--json", *SETTINGS)
    assert done.status == 0, done.stderr
    assert json.loads(done.stdout)["report"] is None
    assert not (folder / "report.html").exists()


def test_a_report_that_fails_never_fails_the_run(
    run: Path, run_hrm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("something unexpected")

    monkeypatch.setattr(studying, "_write", fail)
    folder = tmp_path / "fine"
    done = run_hrm("train", "--preset", "demo", "-o", str(folder), "-q", "--report", "--json", *SETTINGS)
    assert done.status == 0
    assert "Warning: no report: something unexpected" in done.stderr
    assert json.loads(done.stdout)["report"] is None


def test_training_does_not_overwrite_a_page_of_the_user(run_hrm: Any, run: Path) -> None:
    own = run / "report.html"
    kept = own.read_text()
    own.write_text("mine")
    done = run_hrm("train", "--resume", str(run), "-q", "--report", "train.max_steps=13")
    assert done.status == 0, done.stderr
    assert "is not a page of hrm report" in done.stderr
    assert own.read_text() == "mine"
    own.write_text(kept)


def test_a_bundled_model_is_reported_with_data(
    run: Path, run_hrm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_hrm("report", "bundled:sudoku-4x4", "--data", str(run / "dataset"), "--sample", "16", "-q")
    assert done.status == 0, done.stderr
    text = (tmp_path / "sudoku-4x4-report.html").read_text()
    assert "the probability of the least confident cell" in text
    assert "30,000 generated puzzles" in text
