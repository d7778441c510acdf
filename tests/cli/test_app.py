from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.__main__ import run
from hrm_cli.cli.app import COMMANDS

RunHrm = Callable[..., Any]

# Stands in for a command: fails in the way that its argument names.
FAILING = """
import sys, time, typer
from hrm_cli.cli import app
from hrm_cli.errors import PuzzleError, TrainingDiverged

def fail(how: str) -> None:
    if how == "puzzle":
        raise PuzzleError("easy.txt:3: 80 characters; a 9×9 Sudoku has 81")
    if how == "diverged":
        raise TrainingDiverged("the loss is not finite since step 12")
    if how == "disk":
        raise OSError(28, "No space left on device", "runs/x/metrics.jsonl")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "abort":
        raise typer.Abort
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

sys.modules["failing"] = sys.modules["__main__"]
app.COMMANDS["fail"] = ("failing:fail", "Fails.")
app.main()
"""


def failing(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", FAILING, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_help_lists_every_command_and_where_to_start(run_hrm: RunHrm) -> None:
    done = run_hrm("--help")
    assert done.status == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert "hrm demo" in done.stdout
    assert "--debug" in done.stdout


HELP_PAGES = """
import contextlib, io, json, sys
from hrm_cli.cli.app import main
for name in json.loads(sys.argv[1]):
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        try:
            main([*([name] if name else []), "--help"])
        except SystemExit as end:
            status = end.code or 0
    print(json.dumps([status, page.getvalue(), sorted({"torch", "numba"} & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def help_pages() -> dict[str, tuple[int, str, list[str]]]:
    """Of every command: status, text, and which of torch and numba have been imported until then."""
    names = ["", *COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", HELP_PAGES, json.dumps(names)], capture_output=True, text=True, check=True
    )
    return dict(zip(names, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_shows_an_example_and_does_not_wait_for_torch_or_numba(name: str, help_pages: Any) -> None:
    status, text, imported = help_pages[name]
    assert status == 0
    assert f"  hrm {name or 'demo'}" in text, "no example"
    assert imported == []


def test_help_lines_fit_eighty_columns(run_hrm: RunHrm) -> None:
    for name in ("", "presets"):
        lines = run_hrm(*filter(None, [name]), "--help", env={"COLUMNS": "80"}).stdout.splitlines()
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_holds_no_control_characters(run_hrm: RunHrm, arguments: list[str]) -> None:
    done = run_hrm(*arguments)
    text = done.stdout + done.stderr
    assert "Every command has its own help" in text
    assert "\b" not in text
    assert "\\u" not in text


def test_version_is_the_package_s(run_hrm: RunHrm) -> None:
    done = run_hrm("--version")
    assert (done.status, done.stdout) == (0, "hrm 0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["presest"], "No such command 'presest'. Did you mean 'presets'?"),
        (["presets", "shwo"], "No such command 'shwo'. Did you mean 'show'?"),
        (["presets", "--jsn"], "No such option: --jsn"),
        (["presets", "show"], "Missing argument"),
    ],
)
def test_usage_errors_end_with_status_2_and_a_message_on_stderr(
    run_hrm: RunHrm, arguments: list[str], message: str
) -> None:
    done = run_hrm(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert f"Error: {message}" in done.stderr


@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("puzzle", 2, "Error: easy.txt:3: 80 characters; a 9×9 Sudoku has 81\n"),
        ("diverged", 1, "Error: the loss is not finite since step 12\n"),
        ("disk", 2, "Error: runs/x/metrics.jsonl: No space left on device\n"),
        ("interrupt", 130, "Interrupted.\n"),
        ("abort", 130, "Interrupted.\n"),
    ],
)
def test_what_goes_wrong_becomes_one_message_and_an_exit_status(how: str, status: int, message: str) -> None:
    done = failing("fail", how)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", message)


@pytest.mark.parametrize(
    "arguments", [["--debug", "fail", "puzzle"], ["fail", "--debug", "puzzle"], ["fail", "puzzle", "--debug"]]
)
def test_debug_anywhere_on_the_line_shows_the_traceback_and_keeps_the_status(arguments: list[str]) -> None:
    done = failing(*arguments)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("Error: easy.txt:3: 80 characters; a 9×9 Sudoku has 81\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signals_let_the_command_clean_up_before_it_ends(number: signal.Signals, status: int) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("this signal is ignored, as under nohup")
    with subprocess.Popen(
        [sys.executable, "-c", FAILING, "fail", "wait"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "cleaned up\n"
        assert process.wait(timeout=30) == status


THREADED = """
import sys, time
from hrm_cli.__main__ import run
from hrm_cli.cli import app
from hrm_cli.puzzles.sharing import SharedAttempts, Threads

def wait(how: str) -> None:
    if how == "attempts":
        with SharedAttempts(2, list) as shared:
            print("ready", flush=True)
            shared.run(4, lambda rows, buffers: time.sleep(60))
    with Threads(2) as threads:
        print("ready", flush=True)
        list(threads.map(time.sleep, [60] * 9))

sys.modules["waiting"] = sys.modules["__main__"]
app.COMMANDS["wait"] = ("waiting:wait", "Waits.")
run()
"""


@pytest.mark.parametrize(
    ("number", "status", "pool"), [(signal.SIGTERM, 143, "attempts"), (signal.SIGINT, 130, "threads")]
)
def test_an_interrupted_command_does_not_wait_for_its_threads(
    number: signal.Signals, status: int, pool: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", THREADED, "wait", pool], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)  # its threads are at work
        process.send_signal(number)
        assert process.wait(timeout=40) == status  # they would work for 60 s


def test_a_closed_terminal_does_not_end_a_command_under_nohup() -> None:
    with subprocess.Popen(
        ["nohup", sys.executable, "-c", FAILING, "fail", "wait"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143


def test_closed_pipe_ends_quietly_because_head_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "hrm_cli", "presets", "show", "tiny"],
            stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_terminal_that_knows_only_ascii_does_not_end_a_command(hrm_process: RunHrm) -> None:
    done = hrm_process("presets", env={"PYTHONIOENCODING": "ascii"})
    assert done.status == 0
    assert "4?4 Sudoku" in done.stdout


def test_module_runs_as_the_command_does(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("hrm")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("hrm ")


def test_a_process_ends_with_its_status_and_without_a_search_for_cycles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main() -> None:
        raise SystemExit(3)

    monkeypatch.setattr("hrm_cli.cli.app.main", main)
    try:
        with pytest.raises(SystemExit) as ended:
            run()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert ended.value.code == 3
