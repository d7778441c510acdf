from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.cli import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stdout and stderr one 80-column terminal. Called inside a test: pytest sets both anew before each."""
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    return stream


ROWS = [("tiny", 128, "words " * 30), ("a-rather-long-name", 1234567, "[not markup]")]


def test_table_on_a_terminal_fits_its_width_and_keeps_names_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    console.print_table(("name", "size", "purpose"), ROWS)
    lines = screen.getvalue().splitlines()
    assert "a-rather-long-name" in screen.getvalue()
    assert "1,234,567" in screen.getvalue()
    assert "[not markup]" in screen.getvalue()
    assert max(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) for line in lines) <= 80


def test_table_in_a_pipe_is_never_cut_because_grep_wants_whole_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.print_table(("name", "size", "purpose"), ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name                     size  purpose"
    assert lines[1] == "tiny                      128  " + ("words " * 30).rstrip()
    assert lines[2] == "a-rather-long-name  1,234,567  [not markup]"


@pytest.mark.parametrize("name", ["NO_COLOR", "CI"])
def test_wishes_for_plain_output_hold_on_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setenv(name, "1")
    console.print_table(("name",), [("tiny",)])
    with console.progress("training", 2) as bar:
        bar.update(2)
    assert screen.getvalue() == "name\ntiny\ntraining: 2/2 (100%), 0:00:00 taken\n"


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with console.progress("training", 4) as bar:
        bar.update(4, "loss 0.5")
    assert "━" in screen.getvalue()
    assert "4/4" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()


def test_progress_in_a_pipe_is_a_last_line_on_stderr_and_nothing_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.progress("training", 200) as bar:
        for step in range(1, 201):
            bar.update(step, f"loss {step}")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "training: 200/200 (100%), loss 200, 0:00:00 taken\n"


def test_progress_in_a_pipe_says_the_time_left_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.progress("training", 20) as bar:
        for step in range(1, 7):
            bar.update(step)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training: 3/20 (15%), 0:01:08 left",
        "training: 6/20 (30%), 0:00:56 left",
    ]


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("training", quiet=True) as bar:
        bar.update(1, "note")
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "")


def test_json_is_strict_because_other_languages_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": np.float32(0.5), "b": float("nan"), "c": Path("x"), "d": "4×4"})
    text = capsys.readouterr().out
    assert json.loads(text) == {"a": 0.5, "b": None, "c": "x", "d": "4×4"}
    assert "4×4" in text


def test_json_lines_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"a": [1, 2], "b": "x\ny"}, indent=None)
    assert len(capsys.readouterr().out.splitlines()) == 1
