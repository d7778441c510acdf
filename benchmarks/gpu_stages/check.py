"""The stage `check`: runs the tests marked `cuda`. Each test is a row that is saved when the test ends.

pytest runs in one process, or with pytest-xdist in several that share the device, with this module as a plugin. An
error that leaves a process's CUDA context unusable then fails the tests of that process, not all that follow.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpu_stages.datasets import CARRIED
from gpu_stages.processes import COMPILING_TOGETHER, REPOSITORY, Deadline, Process
from gpu_stages.results import Results, last_lines

STAGE = "check"
_WORKER = "PYTEST_XDIST_WORKER"
"""Set by pytest-xdist in the processes that run tests."""
_FOLDER, _FINISHED, _SELECTED = "HRM_GPU_RESULTS", "HRM_GPU_FINISHED", "HRM_GPU_SELECTED"

# The most fundamental tests come first, so that an interrupted stage has produced the most useful results.
_ORDER = ("test_models", "test_training", "test_host_traffic", "test_golden", "test_commands")
_SECONDS_EACH = 100


def files_with_cuda_tests() -> list[str]:
    """Test files that mark tests `cuda`, in the order in which they run."""
    found = [
        file
        for file in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        if "mark.cuda" in file.read_text(encoding="utf-8")
    ]
    place = {name: number for number, name in enumerate(_ORDER)}
    return [
        str(file.relative_to(REPOSITORY))
        for file in sorted(found, key=lambda file: place.get(file.stem, len(_ORDER)))
    ]


def run(results: Results, device: str, seconds: float, select: str | None, processes: int = 1) -> None:
    """Runs the tests on `device`, in `processes`; `select` is pytest's -k."""
    processes = processes if find_spec("xdist") is not None else 1
    results.say(f"\ncheck: tests marked cuda, on {device}, processes: {processes}")
    log = results.folder / "pytest.txt"
    arguments = [
        "-m", "pytest", "-m", "cuda", "-v", "-rfE", "--tb=short", "--durations=12", "--color=no",
        "-p", "no:cacheprovider", "-p", "gpu_stages.check",
        "-o", f"faulthandler_timeout={_SECONDS_EACH}",
        *(["-k", select] if select else []), *files_with_cuda_tests(),
    ]  # fmt: skip
    if processes > 1:
        # One test at a time, in their order.
        arguments += ["-p", "xdist.plugin", "-n", str(processes), "--maxschedchunk=1"]
    if find_spec("pytest_timeout") is not None:
        arguments += ["-p", "pytest_timeout", f"--timeout={_SECONDS_EACH}"]
    before, finished = len(results.rows()), results.finished(STAGE)
    selected = results.logs / "check-tests.json"
    selected.unlink(missing_ok=True)
    golden = CARRIED / "golden"
    environment = {
        **COMPILING_TOGETHER,
        "HRM_ACCELERATOR": device,
        _FOLDER: str(results.folder),
        _FINISHED: json.dumps(sorted(finished)),
        _SELECTED: str(selected.resolve()),
        _WORKER: "",  # this script may itself run in a worker, when it is tested
        "COLUMNS": "160",
        **({"HRM_GOLDEN": str(golden)} if golden.is_dir() and not os.environ.get("HRM_GOLDEN") else {}),
        # Other pytest plugins take seconds to import.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Separate tests compare the CPU kernels with the portable path, and numba takes half a minute to compile them.
        **({} if device.startswith("cpu") else {"HRM_CPU_KERNELS": "off"}),
    }
    process = Process(arguments, log, environment)
    try:
        with log.open("a", encoding="utf-8") as stream:
            for line in process.lines(Deadline(seconds)):
                stream.write(line)
                stream.flush()
        status = process.end()
        why = f"pytest ended with status {status}"
    except TimeoutError:
        status = process.end()
        why = f"the stage's {seconds:.0f} s were over"
    rows = [row for row in results.rows()[before:] if row["stage"] == STAGE]
    count = {state: sum(row["status"] == state for row in rows) for state in ("ok", "failed", "skipped")}
    results.say(
        f"{count['ok']} passed, {count['failed']} failed, {count['skipped']} skipped; status {status}"
    )
    reasons = Counter(row["error"][-1] for row in rows if row["status"] == "skipped")
    for reason, number in reasons.items():
        results.say(f"  skipped, {number} tests: {reason}")
    for row in rows:
        if row["status"] == "failed":
            results.say(f"  FAILED {row['row']} ({row['seconds']:.1f} s)")
            for line in row["error"]:
                results.say(f"      {line}")
    if selected.is_file():
        have = {row["row"] for row in rows}
        missed = [name for name in json.loads(selected.read_text(encoding="utf-8")) if name not in have]
        if not missed and not rows:
            results.say("nothing to run: all tests that were selected have passed before")
        files = Counter(name.partition("::")[0] for name in missed)
        results.not_reached(STAGE, missed, why, [f"{file}: {number}" for file, number in files.items()])
    else:
        results.add(STAGE, "start of pytest", "failed", error=[why])
        results.say(f"check: no test has run, because pytest had not collected them ({why}); its last lines:")
    if not rows and not finished:
        for line in last_lines(log.read_text(encoding="utf-8"), 12):
            results.say(f"      {line}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips tests that have passed already.

    Tests that compile, and tests of commands, come last because they are slow.
    """
    finished = set(json.loads(os.environ.get(_FINISHED, "[]")))
    done = [item for item in items if item.nodeid in finished]
    if done:
        config.hook.pytest_deselected(items=done)
        items[:] = [item for item in items if item.nodeid not in finished]
    items.sort(key=lambda item: ("test_commands" in item.nodeid, "compiled" in item.nodeid))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Saves the names of the tests that are going to run, so that those that never began can be named."""
    file = os.environ.get(_SELECTED)
    if file and (os.environ.get(_WORKER) or "gw0") == "gw0":
        Path(file).write_text(json.dumps([item.nodeid for item in session.items]), encoding="utf-8")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Saves the outcome of a test: of its call, or of a setup that failed or skipped it."""
    folder = os.environ.get(_FOLDER)
    # pytest-xdist repeats the reports of its workers in the main process.
    if folder is None or os.environ.get(_WORKER) or (report.when != "call" and report.passed):
        return
    status = {"passed": "ok", "skipped": "skipped"}.get(report.outcome, "failed")
    error = {"error": last_lines(report.longreprtext, 10)} if status != "ok" else {}
    if report.skipped and isinstance(report.longrepr, tuple):
        error = {"error": [report.longrepr[2].removeprefix("Skipped: ")]}
    printed = {"printed": last_lines(report.capstdout, 4)} if report.capstdout.strip() else {}
    Results(Path(folder), quiet=True).add(
        STAGE, report.nodeid, status, seconds=round(report.duration, 2), **error, **printed
    )
