"""Closed and full streams, faults of the program itself, and text from files on its way to a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hrm_cli.cli import console
from hrm_cli.cli.app import _run

PROGRAM = "import sys; from hrm_cli.cli.app import main; main(sys.argv[1:])"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]0;title\x07\x1b[31m[red]x[/red][/] \x9b31m\u202e"

FAULTY = """
import sys
from hrm_cli.cli import app

def fail(how: str) -> None:
    if how == "memory":
        raise MemoryError("Unable to allocate 7 TiB")
    raise TypeError("unsupported \\x1b[31m operand\\nsecond line")

sys.modules["failing"] = sys.modules["__main__"]
app.COMMANDS["fail"] = ("failing:fail", "Fails.")
app.main()
"""


def shell(redirections: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=cwd, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("redirections", "arguments", "status", "on_stdout", "on_stderr"),
    [
        (">&-", ["presets"], 0, False, False),
        (">&- 2>&-", ["presets"], 0, False, False),
        ("<&- >&- 2>&-", ["presets", "--json"], 0, False, False),
        ("<&-", ["presets"], 0, True, False),
        ("2>&-", ["presets", "show", "nowhere"], 2, False, False),
        ("2>&-", ["presets"], 0, True, False),
        ("2>/dev/full", ["presets", "show", "nowhere"], 2, False, False),
        ("2>/dev/full", ["--no-such-option"], 2, False, False),
        ("2>/dev/full", ["presets"], 0, True, False),
        (">/dev/full", ["presets"], 2, False, True),
        (">/dev/full", ["--help"], 2, False, True),
        (">/dev/full 2>/dev/full", ["presets"], 2, False, False),
        ("<&-", ["solve", "-"], 2, False, True),
    ],
)
def test_closed_and_full_streams_neither_change_the_status_nor_the_stream(
    tmp_path: Path, redirections: str, arguments: list[str], status: int, on_stdout: bool, on_stderr: bool
) -> None:
    if "/dev/full" in redirections and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    done = shell(redirections, *arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert bool(done.stdout) == on_stdout, done.stdout
    assert bool(done.stderr) == on_stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_stdout_is_reported_with_what_was_lost(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    done = shell(">/dev/full", "presets", "--json", cwd=tmp_path)
    assert done.stderr == "Error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "has_traceback"), [(["fail", "x"], False), (["--debug", "fail", "x"], True)]
)
def test_a_bug_in_the_program_ends_with_status_70_and_one_line(
    arguments: list[str], has_traceback: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 70
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "Error: an internal error of hrm (TypeError: unsupported \\u001b[31m operand). Please report it"
    )
    assert "hrm info" in last
    assert ("Traceback" in done.stderr) == has_traceback
    assert has_traceback or len(done.stderr.splitlines()) == 1
    assert not CONTROL.search(done.stderr)


def test_running_out_of_memory_is_not_reported_as_a_bug() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, "fail", "memory"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (2, "Error: not enough memory: Unable to allocate 7 TiB\n")


def test_every_way_to_print_escapes_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_line(EVIL)
    console.print_message(EVIL)
    console.print_error(EVIL)
    console.print_table((EVIL, "b"), [(EVIL, 1)], title=EVIL)
    console.print_json({EVIL: EVIL})
    with console.progress(EVIL, 1) as bar:
        bar.update(1, EVIL)
    output = capsys.readouterr()
    assert not CONTROL.search(output.out + output.err)
    assert (output.out + output.err).count("[red]x[/red][/]") == 10


def test_json_stays_json_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({EVIL: ["é", EVIL]})
    assert json.loads(capsys.readouterr().out) == {EVIL: ["é", EVIL]}


@pytest.mark.parametrize(
    ("encoding", "raw"), [("utf-8", "🔴"), ("UTF8", "🔴"), ("ascii", "\\ud83d"), ("cp1252", "\\ud83d")]
)
def test_json_loses_no_character_where_stdout_cannot_encode_it(
    monkeypatch: pytest.MonkeyPatch, encoding: str, raw: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="replace"))
    console.print_json({"answer": "🔴 é"}, indent=None)
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    assert raw in text
    assert json.loads(text) == {"answer": "🔴 é"}


def test_on_a_terminal_text_is_neither_markup_nor_control_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", screen)
    console.print_table((EVIL, "b"), [(EVIL, "c")], title=EVIL)
    console.console(screen).print(EVIL)
    with console.progress(EVIL, 1) as bar:
        bar.update(1, EVIL)
    shown = screen.getvalue()
    assert "\x1b]" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown
    assert "\x1b[31m[" not in shown
    assert shown.count("[red]x[/red][/]") >= 4


def test_a_preset_named_like_markup_is_compared_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "d[").mkdir()
    (tmp_path / "d[" / "x]y.yaml").write_text("extends: tiny\nsee: 1\n")
    (tmp_path / "d[" / "x]y.yaml").write_text("extends: tiny\narch: {L_cycles: 3}\n")
    parent, child = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "presets", "diff", "tiny", "d[/x]y.yaml"],
        stdin=subprocess.DEVNULL, stdout=child, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k not in ("CI", "NO_COLOR")} | {"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.returncode == 0, done.stderr
    assert "d[/x]y.yaml" in shown


def test_a_run_cannot_set_the_title_of_the_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "r\x1b[31m"
    run.mkdir()
    (run / "config.yaml").write_text("purpose: x\n")
    (run / "status.json").write_text(json.dumps({"state": "failed", "reason": EVIL, "total_steps": 4}))
    for arguments in (["runs", str(tmp_path)], ["runs", "show", str(run)], ["runs", str(tmp_path), "--json"]):
        assert _run(arguments) == 0
    output = capsys.readouterr()
    assert "title" in output.out
    assert not CONTROL.search(output.out + output.err)


BAD_FILES = {
    "config.yaml": ["- a list", "a: &a [*a]", "[" * 5000, "\0", "purpose: !!bool maybe"],
    "status.json": ["[" * 100_000, "[]", '{"state": "\\u001b[31m"}', '{"state": 1e999}', "\xff"],
    "metrics.jsonl": [
        "[" * 100_000,
        '{"kind": "train", "step": 1e999}',
        '{"kind": 1, "step": 1}',
        "x" * 3_000_000,
    ],
}


@pytest.mark.parametrize(("file", "content"), [(f, c) for f, contents in BAD_FILES.items() for c in contents])
def test_one_damaged_run_is_named_and_hides_none_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, content: str
) -> None:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("purpose: x\n")
        (tmp_path / name / "status.json").write_text('{"state":"finished","reason":"","total_steps":4}')
        (tmp_path / name / "metrics.jsonl").write_text('{"kind":"train","step":4,"loss":1.5,"seconds":1}\n')
    (tmp_path / "bad" / file).write_text(content, encoding="latin-1")
    assert _run(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert re.search(r"good +finished +4 +4 +1\.500", output.out)
    assert f"bad: {file}: " in output.err
    assert _run(["runs", str(tmp_path), "--json"]) == 0
    problems = {Path(run["run"]).name: run["problems"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert problems["good"] == []
    assert problems["bad"][0].startswith(file)


def test_a_device_file_in_place_of_a_run_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("purpose: x\n")
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/zero")
    assert _run(["runs", str(tmp_path)]) == 0
    assert "metrics.jsonl: is a device" in capsys.readouterr().err
