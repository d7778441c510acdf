"""One input after the other in a process of its own, under a watchdog that ends it over time or memory."""

from __future__ import annotations

import collections
import json
import mmap
import os
import random
import re
import shutil
import signal
import struct
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kinds import KINDS, SHOWN, Read
from values import CANARY

from hrm_cli.errors import HRMError

LONGEST_MESSAGE = 4000
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Limits:
    """What one input may take."""

    seconds: float = 20.0
    """Of CPU time, which a busy machine does not change; ten times as many by the clock."""
    bytes: int = 1 << 30


@dataclass
class Findings:
    """What one kind of input led to."""

    inputs: int
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    found: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Finding → the numbers of its inputs, each with details."""
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Findings in all."""
        return sum(map(len, self.found.values()))


def make_input(name: str, seed: int, number: int, folder: Path) -> Read:
    """Input `number` of a kind: it follows from these three alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return KINDS[name].make(random.Random(f"{seed}/{name}/{number}"), folder)


def read_input(
    name: str, seed: int, number: int, folder: Path, limits: Limits
) -> tuple[str, list[list[str]]]:
    """How reading it ended, and the findings: each what, and details."""
    SHOWN.clear()
    read = make_input(name, seed, number, folder)
    Path("/proc/self/clear_refs").write_text("5")
    outcome, findings, started = "read", [], time.process_time()
    try:
        read()
    except HRMError as error:
        outcome = "refused"
        if len(str(error)) > LONGEST_MESSAGE:
            findings.append(["a message of more than 4,000 characters", str(error)[:200]])
        SHOWN.append(str(error))
    except OSError as error:
        outcome = "refused by the system"
        SHOWN.append(str(error.strerror))
    except BaseException as error:
        outcome = "fault"
        if type(error).__module__.startswith(("typer", "click")):
            outcome = "refused"
        else:
            findings.append([_where(error), _first(error)])
    seconds, peak = time.process_time() - started, _peak()
    if seconds > limits.seconds:
        findings.append([f"more than {limits.seconds:g} s", f"{seconds:.1f} s"])
    if peak > limits.bytes:
        findings.append([f"more than {limits.bytes >> 20} MiB", f"{peak >> 20} MiB"])
    for text in SHOWN:
        if match := CONTROL.search(text):
            findings.append(
                ["control characters in what is shown", ascii(text[max(0, match.start() - 80) :][:200])]
            )
            break
    if CANARY.exists():
        CANARY.unlink()
        findings.append(["code of the input was run", ""])
    return outcome, findings


def watch(name: str, count: int, seed: int, scratch: Path, limits: Limits) -> Findings:
    """Reads `count` inputs of a kind. A process that is ended over one of them is followed by another one."""
    result = Findings(count)
    log = scratch / f"{name}.log"
    shared = mmap.mmap(-1, 24)
    started, at = time.monotonic(), 0
    log.write_text("")
    while at < count:
        shared[:24] = struct.pack("<qdd", at, time.monotonic(), 0)
        process = os.fork()
        if not process:
            _work(name, seed, at, count, scratch / "input", limits, log, shared)
        ended = _wait(process, shared, limits)
        at = count
        if ended:
            number = struct.unpack("<qd", shared[:16])[0]
            _append(log, number, "ended", [[ended, ""]])
            at = number + 1
    for line in log.read_text().splitlines():
        number, outcome, findings = json.loads(line)
        result.outcomes[outcome] += 1
        for what, details in findings:
            result.found.setdefault(what, []).append((number, details))
    result.seconds = time.monotonic() - started
    return result


def _work(
    name: str, seed: int, first: int, count: int, folder: Path, limits: Limits, log: Path, shared: mmap.mmap
) -> None:
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for number in range(first, count):
            shared[:24] = struct.pack("<qdd", number, time.monotonic(), time.process_time())
            try:
                outcome, findings = read_input(name, seed, number, folder, limits)
            except Exception as error:  # of the fuzzer itself
                outcome, findings = "not made", [[f"FUZZER {_where(error)}", _first(error)]]
            _append(log, number, outcome, findings)
        status = 0
    finally:
        os._exit(status)


def _append(log: Path, number: int, outcome: str, findings: list[list[str]]) -> None:
    with log.open("a") as file:
        file.write(json.dumps([number, outcome, findings]) + "\n")


def _wait(process: int, shared: mmap.mmap, limits: Limits) -> str:
    """Why the process ended before its last input; nothing where it did not."""
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return f"the process died ({status})" if status else ""
        began, used = struct.unpack("<dd", shared[8:24])
        reason = ""
        late = time.monotonic() - began > 10 * limits.seconds
        if late or _processor_time(process) - used > 1.25 * limits.seconds:
            reason = f"more than {limits.seconds:g} s"
        elif _resident(process) > limits.bytes * 1.5:
            reason = f"more than {limits.bytes >> 20} MiB"
        if reason:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return reason
        time.sleep(0.01)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/hrm_cli/" in frame.filename] or frames
    frame, last = ours[-1], frames[-1]
    end = "" if last is frame else f" <- {Path(last.filename).name}:{last.lineno}"
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno} ({frame.name}){end}"


def _first(error: BaseException) -> str:
    try:
        return ascii(str(error)[:200])
    except Exception as another:
        return repr(another)


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _processor_time(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak() -> int:
    line: Any = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) << 10
