from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.cli import console
from hrm_cli.reporting import report_compiling


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
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in lines) <= 80


def test_messages_on_a_terminal_break_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    message = (
        "name a preset, a file of pairs or a run to resume. " * 3
        + "For example:\n  hrm train "
        + "some words " * 12
    )
    console.print_error(message)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert set(stream.getvalue().split()) == {"Error:", *message.split()}
    assert "  hrm train some" in stream.getvalue(), "an indented line starts a line of its own"


def test_messages_in_a_pipe_are_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error("words " * 30)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_table_in_a_pipe_is_never_cut_because_grep_wants_whole_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.print_table(("name", "size", "purpose"), ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name                     size  purpose"
    assert lines[1] == "tiny                      128  " + ("words " * 30).rstrip()
    assert lines[2] == "a-rather-long-name  1,234,567  [not markup]"


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "1")])
def test_requests_for_plain_output_hold_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    screen = terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    console.print_table(("name",), [("tiny",)])
    with console.progress("training", 2) as bar:
        bar.update(2)
    assert screen.getvalue() == "name\ntiny\ntraining: 2/2 (100%), 0:00:00 taken\n"


def test_no_color_takes_colors_and_leaves_tables_and_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.text import Text

    screen = terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    console.print_table(("name",), [("tiny",)])
    console.console(screen).print(Text("solved", style="green on #0074d9"))
    with console.progress("training", 4) as bar:
        bar.update(4)
    shown = screen.getvalue()
    assert "━" in shown
    assert "──" in shown
    assert "solved" in shown
    assert not re.search(r"\x1b\[[\d;]*\b(3[0-7]|4[0-7]|38|48|9\d)\b", shown)


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


def test_a_silent_job_in_a_pipe_says_that_it_runs_and_what_it_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "HEARTBEAT_SECONDS", 0.2)
    with console.heartbeat("hrm train"):
        wait_for_line(capsys, r"hrm train: still running, 0:00:\d\d since the start")
        with console.progress("writing copies", 10):
            wait_for_line(capsys, r"writing copies: still running, 0:00:\d\d since the start")


def wait_for_line(capsys: pytest.CaptureFixture[str], pattern: str) -> None:
    shown, end = "", time.monotonic() + 20
    while not re.search(pattern, shown) and time.monotonic() < end:
        time.sleep(0.05)
        shown += capsys.readouterr().err
    assert re.search(pattern, shown), shown


def test_a_job_that_prints_needs_no_heartbeat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "HEARTBEAT_SECONDS", 2)
    with console.heartbeat("hrm train"):
        for _ in range(8):
            console.print_message("news")
            time.sleep(0.1)
    assert set(capsys.readouterr().err.splitlines()) == {"news"}


def test_no_heartbeat_of_a_quiet_job_or_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "HEARTBEAT_SECONDS", 0.1)
    with console.heartbeat("hrm train"):
        console.ConsoleReporter(quiet=True)
        time.sleep(0.3)
    assert capsys.readouterr().err == ""
    screen = terminal(monkeypatch)
    with console.heartbeat("hrm train"):
        time.sleep(0.3)
    assert screen.getvalue() == ""


def test_compilation_is_reported_on_stderr_unless_the_command_is_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.heartbeat("hrm solve"):
        report_compiling()
        report_compiling()
    assert capsys.readouterr().err.count("Compiling CPU kernels for their first use here") == 1
    with console.heartbeat("hrm solve"):
        console.ConsoleReporter(quiet=True)
        report_compiling()
    assert capsys.readouterr().err == ""
