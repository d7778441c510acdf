"""The launcher: signals reach the workers, and of all that goes wrong one message remains."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hrm_cli.distributed.launcher import Job, JobFailed, launch, threads_for_each
from hrm_cli.distributed.process_group import RankInfo
from hrm_cli.training.stopping import Interruption

HEAD = """
import json, os, signal, sys, time
from pathlib import Path
from hrm_cli.distributed.reports import Report, exit_status_of_ended_job
task = json.loads(Path(sys.argv[1]).read_text())
folder, rank = Path(task["reports"]), int(os.environ["LOCAL_RANK"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
(folder / f"process-{rank}").write_text(str(os.getpid()))
def report(kind, status, message):
    Report(kind, status, message, rank, attempt).write(folder)
started = Path(task["started"])
def ready():
    with started.with_name("ready").open("a") as file:
        file.write("ready\\n")
with started.open("a") as file:
    file.write(f"{attempt}-{rank} {os.environ['OMP_NUM_THREADS']}\\n")
if exit_status_of_ended_job(folder) is not None:
    sys.exit(0)
"""


@pytest.fixture
def launched(tmp_path: Path, monkeypatch) -> Callable[..., int]:
    """`launched(body)` runs two workers without torch, whose module is `body`."""

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # restored at the end: the launcher hands it to its workers

    def run(body: str, *, max_restarts: int = 0, processes: int = 2) -> int:
        (tmp_path / "worker_of_test.py").write_text(HEAD + body, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
        task = {"started": str(tmp_path / "started")}
        return launch(Job("worker_of_test", task, RankInfo(processes), max_restarts=max_restarts))

    return run


def starts(tmp_path: Path) -> list[str]:
    return sorted(line.split()[0] for line in (tmp_path / "started").read_text().splitlines())


def when_ready(tmp_path: Path, count: int, then: Callable[[], None]) -> None:
    """Calls `then` once `count` workers have called `ready()`."""

    def wait() -> None:
        file = tmp_path / "ready"
        while not file.is_file() or file.read_text().count("\n") < count:
            time.sleep(0.02)
        then()

    threading.Thread(target=wait, daemon=True).start()


def test_a_job_that_ends_well_has_status_0_and_ran_every_process_once(launched, tmp_path: Path) -> None:
    assert launched("", processes=3) == 0
    assert starts(tmp_path) == ["0-0", "0-1", "0-2"]


def test_cores_are_divided_among_processes_unless_the_user_sets_the_threads(
    launched, tmp_path, monkeypatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launched("")
    threads = {line.split()[1] for line in (tmp_path / "started").read_text().splitlines()}
    assert threads == {str(threads_for_each(2))}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    launched("")
    assert (tmp_path / "started").read_text().splitlines()[-1].endswith(" 7")
    assert threads_for_each(10**6) == 1
    assert threads_for_each(1) == len(os.sched_getaffinity(0))


def test_the_first_error_is_reported_without_the_errors_it_causes(launched, tmp_path: Path) -> None:
    body = """
if rank == 0:
    time.sleep(0.3)
    report("refused", 2, "data/x: is damaged")
    sys.exit(2)
report("lost", 1, "process 1 lost the others")
sys.exit(1)
"""
    with pytest.raises(JobFailed, match=r"^process 1 lost the others$"):
        launched(body)  # nothing better is known at that moment
    body = body.replace("time.sleep(0.3)", "").replace('report("lost"', 'time.sleep(0.3); report("lost"')
    with pytest.raises(JobFailed, match=r"^data/x: is damaged$") as failed:
        launched(body)
    assert failed.value.exit_status == 2


def test_a_deterministic_error_is_not_retried(launched, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="is damaged"):
        launched('report("refused", 2, "data/x: is damaged"); sys.exit(2)', max_restarts=3)
    assert {start[0] for start in starts(tmp_path)} == {"0", "1"}  # the second time none goes to work


def test_other_failures_are_retried_up_to_the_limit(launched, tmp_path: Path) -> None:
    body = """
if rank == 1 and attempt < 2:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.3)
"""
    assert launched(body, max_restarts=2) == 0
    assert {start[0] for start in starts(tmp_path)} == {"0", "1", "2"}


def test_a_worker_that_crashes_without_a_report_is_named_with_its_last_words(launched) -> None:
    body = """
if rank == 1:
    print("terminate called", file=sys.stderr, flush=True)
    os.abort()
time.sleep(30)
"""
    with pytest.raises(JobFailed, match=r"^process 1 of 2 was killed by SIGABRT\n  terminate called$"):
        launched(body)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_workers_save_and_gives_the_job_its_status(
    launched, tmp_path: Path, number
) -> None:
    body = """
got = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: got.append(number))
ready()
while not got:
    time.sleep(0.02)
time.sleep(0.5)
report("interrupted", 128 + got[0], "")
"""
    before = signal.getsignal(number)
    when_ready(tmp_path, 2, lambda: os.kill(os.getpid(), number))
    assert launched(body, max_restarts=3) == 128 + number
    assert starts(tmp_path) == ["0-0", "0-1"]
    assert signal.getsignal(number) is before


def test_a_second_signal_kills_workers_that_do_not_exit_and_restarts_none(launched, tmp_path: Path) -> None:
    body = """
signal.signal(signal.SIGINT, lambda *_: signal.signal(signal.SIGINT, signal.SIG_DFL))
ready()
time.sleep(60)
"""

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    when_ready(tmp_path, 2, twice)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launched(body, max_restarts=3)
    assert time.monotonic() - began < 30


def test_a_signal_received_twice_counts_once_and_a_later_one_exits() -> None:
    with Interruption(echo_seconds=0.2) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal_number == signal.SIGINT
        time.sleep(0.3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
