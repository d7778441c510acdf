"""Runs `hrm` again and again in forked children, so that a test can kill it many times and import torch once.

Reads a JSON line for each life: `{"arguments": […], "fault": […] or null}`; prints the child's process id when it
is born, and its exit status when it has ended (negative: killed by that signal). A fault makes the child kill
itself with SIGKILL in the middle of its files, or wait:

    ["files", N]       at the Nth time that it opens, makes, renames or removes something in the run folder
    ["tear", NAME]     when half of the tensors file NAME of a checkpoint is on the disk
    ["wait", STEP]     paused by SIGSTOP, once, after that training step: a test that is late still has a run to stop

With such a line as its third argument it lives that one life itself, in no child.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from kills import steps_logged

import hrm_cli.runs.execution
from hrm_cli.checkpoints import checksums
from hrm_cli.cli.app import main

FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def burn_after(count: int, folder: str) -> None:
    left = count

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in FILE_EVENTS and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                die()

    sys.addaudithook(watch)


def wait_at(step: int, folder: str) -> None:
    is_looking = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal is_looking, step
        if is_looking or event not in FILE_EVENTS or not str(arguments[0]).startswith(folder):
            return
        is_looking = True  # reading the steps opens a file, too
        if steps_logged(Path(folder)) >= step:
            step = sys.maxsize
            os.kill(os.getpid(), signal.SIGSTOP)
        is_looking = False

    sys.addaudithook(watch)


def tear(name: str) -> None:
    def save_file(tensors: Any, path: Path, **given: Any) -> None:
        save_whole(tensors, path, **given)
        if path.name == name:
            os.truncate(path, path.stat().st_size // 2)
            die()

    save_whole, checksums.save_file = checksums.save_file, save_file


def live(arguments: list[str], fault: list[Any] | None, folder: str) -> None:
    if fault is not None and fault[0] == "files":
        burn_after(fault[1], folder)
    elif fault is not None and fault[0] == "wait":
        wait_at(fault[1], folder)
    elif fault is not None:
        tear(fault[1])
    status: Any = 1
    try:
        main(arguments)
    except SystemExit as error:
        status = error.code
    finally:
        sys.stderr.flush()
        os._exit(status or 0)


def serve(folder: str, log: str) -> None:
    torch.set_num_threads(1)
    assert hrm_cli.runs.execution  # imported here, once, for every child
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            live(job["arguments"], job["fault"], folder)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def live_once(folder: str, job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    live(job["arguments"], job["fault"], folder)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        live_once(sys.argv[1], json.loads(sys.argv[3]))
    else:
        serve(*sys.argv[1:])
