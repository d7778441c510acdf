"""Errors that know what was meant."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.cli.app import _load

RunHrm = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "--preset", "tiny", "--lr", "1e-3"],
            "No such option: --lr. Settings have no dashes: lr=1e-3",
        ),
        (["train", "--preset", "tiny", "--global-batch-size=64"], "dashes: global_batch_size=64"),
        (["params", "--arch.hidden_size", "64"], "dashes: arch.hidden_size=64"),
        (["train", "--epochs"], "dashes: epochs=VALUE"),
        (["train", "--preset", "demo", "--device", "gpu"], "dashes: device=cuda"),
        (["train", "--epochs", "--dry-run"], "dashes: epochs=VALUE"),
        (["train", "--preset", "tiny", "--frobnicate"], "No such option: --frobnicate"),
        (["solve", "--lr", "1e-3"], "No such option: --lr"),
        (["train", "tiny"], "'tiny': to name a preset, use --preset tiny"),
        (["train", "mine.yaml", "lr=1"], "--preset mine.yaml"),
        (["params", "small"], "--preset small"),
        (["train", "run"], "'run': to continue a run, use --resume run"),
        (["solve", "1.3..4.12.4.4..2", "--device", "gpu"], "device 'gpu': did you mean cuda?"),
        (["train", "--preset", "tiny", "train.device=gpu:1"], "did you mean cuda:1?"),
        (["eval", "bundled:sudoku-4x4", "--split", "valid"], "--split valid: did you mean validation?"),
        (["eval", "bundled:sudoku-4x4", "--split", "TEST"], "--split TEST: did you mean test?"),
        (["eval", "x", "--effort", "lots"], "'--effort': 'lots' is not one of 'low', 'medium', 'high'"),
        (["eval", "runn"], "runn: no such checkpoint; did you mean run?"),
        (["eval", "sudoku-4x4"], "no such checkpoint; did you mean bundled:sudoku-4x4?"),
        (["train", "--preset", "sudoku-9"], "'sudoku-9'; did you mean sudoku-9x9?"),
        (
            ["train", "--preset", "maze"],
            "'maze'; did you mean maze-10x10, maze-30x30, maze-hard or maze-small?",
        ),
        (["train", "--preset", "mine"], "'mine'; did you mean the file mine.yaml?"),
        (["solve", "--attempts", "0"], "1 is a single pass, without augmented copies"),
    ],
)
def test_the_message_suggests_what_was_meant(
    run_hrm: RunHrm, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    (tmp_path / "mine.yaml").write_text("extends: tiny\n")
    done = run_hrm(*words, cwd=tmp_path)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_name_of_a_run_is_found_in_the_folder_of_runs(run_hrm: RunHrm, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.yaml").write_text("")
    done = run_hrm("eval", "first", cwd=tmp_path)
    assert done.status == 2
    assert "first: no such checkpoint; did you mean runs/first?" in done.stderr


UNREACHABLE = "http://127.0.0.1:9"
"""Nobody listens there."""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({}, "the hub cannot be reached"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")],
)
def test_an_unreachable_hub_is_reported_quickly_in_one_line(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    pytest.importorskip("huggingface_hub")
    program = (
        "import time; from hrm_cli.data.hub import *; from hrm_cli.errors import DatasetError\n"
        "import huggingface_hub.constants\n"
        "begun = time.monotonic()\n"
        "try: fetch('hf:someone/puzzles', 'train.csv')\n"
        "except DatasetError as error: print(f'{time.monotonic() - begun:.3f}', error)"
    )
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env=plain | {"HF_ENDPOINT": UNREACHABLE, "HF_HOME": str(tmp_path)} | settings,
    )  # fmt: skip
    seconds, _, message = done.stdout.partition(" ")
    assert reason in message
    assert settings or message.rstrip().endswith("data.source=FOLDER)")
    assert done.stderr == ""
    assert float(seconds) < 10


def test_a_host_that_does_not_answer_is_given_up_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hrm_cli.data import hub

    monkeypatch.setattr(hub, "REACHABLE_SECONDS", 0.2)
    release = threading.Event()
    started: list[threading.Thread] = []

    def connect(*_: object) -> None:
        started.append(threading.current_thread())
        release.wait(60)
        raise OSError("no answer")

    monkeypatch.setattr(hub.socket, "create_connection", connect)
    begun = time.monotonic()
    assert not hub._accepts_connections("silent.invalid", 443)
    assert time.monotonic() - begun < 3
    (thread,) = started
    assert thread.daemon, "the end of the process does not wait for it"
    release.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_typed_puzzle_may_begin_with_a_dash(run_hrm: RunHrm) -> None:
    puzzle = "-12-34-------------------------------------------------------------------------99"
    done = run_hrm("solve", puzzle, "--json", "-q")
    assert done.status == 1
    assert "row 9 contains 9 more than once" in done.stdout
    assert run_hrm("solve", "--no-such-option-of-solve").status == 2


def test_a_long_typed_text_is_cut_visibly(run_hrm: RunHrm) -> None:
    done = run_hrm("solve", "53..7" * 18)
    assert done.status == 2
    assert f"{('53..7' * 18)[:79]}…: neither a file nor a puzzle" in done.stderr


def test_help_is_a_command_too(run_hrm: RunHrm) -> None:
    for words in ((), ("solve",), ("build-dataset", "arc")):
        done = run_hrm("help", *words)
        assert done.status == 0
        assert done.stdout == run_hrm(*words, "--help").stdout
    assert "No such command 'slove'" in run_hrm("help", "slove").stderr


RAW = ("Input should", "Value error", "unable to parse", "valid integer", "valid number")


@pytest.mark.parametrize(
    "command",
    [("build-dataset", "sudoku"), ("build-dataset", "maze"), ("train",), ("eval",), ("solve",), ("bench",)],
)
def test_no_option_answers_in_the_words_of_the_validator(
    run_hrm: RunHrm, tmp_path: Path, command: tuple[str, ...]
) -> None:
    found: Any = _load(command[0])
    for word in command[1:]:
        found = found.commands[word]
    numbers = [
        max(one.opts, key=len)
        for one in found.params
        if one.param_type_name == "option"
        and not one.multiple
        and "--size" not in one.opts
        and one.type_descriptor.annotation in (int, float)
    ]
    assert numbers
    for option in numbers:
        for value in ("abc", "9x9", ""):
            done = run_hrm(*command, option, value, cwd=tmp_path)
            assert done.status == 2, (option, value)
            assert option in done.stderr
            assert f"found {value!r}" in done.stderr
            assert not [raw for raw in RAW if raw in done.stderr]
