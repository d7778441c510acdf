"""`hrm play` as a process: its address, its end, and what it refuses before it serves. These need no browser."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hrm_cli.cli import play

from .playing import ask, playing


@pytest.mark.slow(seconds=15)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_puzzle_is_solved_and_a_signal_closes_the_server(number: signal.Signals, status: int) -> None:
    with playing("bundled:sudoku-4x4") as running:
        grid = [[1, 0, 3, 0], [0, 4, 0, 1], [2, 0, 4, 0], [4, 0, 0, 2]]
        document = {"puzzle": {"kind": "sudoku", "grid": grid}, "model": "bundled:sudoku-4x4"}
        answered, found = ask(running, "solve", document)
        assert (answered, found["status"]) == (200, "solved")
        assert ask(running, "solve", document, token="x" * 32)[0] == 403
        running.process.send_signal(number)
        assert running.process.wait(30) == status
    assert "Traceback" not in "".join(running.errors)
    with pytest.raises(ConnectionRefusedError):
        ask(running, "solve", document)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere"),
        (("bundled:sudoku-5x5",), "no such bundled model"),
        (("--port", "70000"), "--port"),
        (("--solve-seconds", "0"), "--solve-seconds"),
    ],
)
def test_wrong_requests_end_before_anything_is_served(
    run_hrm: Callable[..., Any], arguments: tuple[str, ...], said: str
) -> None:
    done = run_hrm("play", "--no-open", *arguments)
    assert done.status == 2
    assert said in done.stderr
    assert "http://" not in done.stdout


@pytest.mark.parametrize(
    ("is_terminal", "variables", "opens"),
    [
        (True, {"DISPLAY": ":0"}, True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        (True, {}, False),
        (False, {"DISPLAY": ":0"}, False),
        (True, {"DISPLAY": ":0", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, False),
        (True, {"DISPLAY": ":0", "CI": "true"}, False),
    ],
)
def test_the_page_is_opened_where_somebody_sits_in_front_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, variables: dict[str, str], opens: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    assert play.has_display() is opens
