"""Processes with a time limit: a hanging kernel cannot be interrupted, but its process can be killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
REPOSITORY = BENCHMARKS.parent
_GRACE = 15.0

COMPILING_TOGETHER = {"TORCHINDUCTOR_COMPILE_THREADS": "4"}
"""Environment for processes that compile at the same time: each would otherwise start one helper per core."""


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Has the kernel end this process when gpu.py is killed. It would otherwise occupy the device in the next call."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Deadline:
    """A moment some seconds from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never below 0."""
        return max(0.0, self._end - time.monotonic())


class Process:
    """A Python process in its own process group, with standard output read line by line."""

    def __init__(
        self, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        paths = [str(REPOSITORY), str(BENCHMARKS), os.environ.get("PYTHONPATH", "")]
        variables = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            **(environment or {}),
        }
        self._log = log.open("a", encoding="utf-8")
        self._log_file, self._log_start = log, log.stat().st_size
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log, text=True, errors="replace",
            env=variables, cwd=REPOSITORY, process_group=0, preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call without locks
        )  # fmt: skip
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self, seconds: float) -> str | None:
        """The next line of its output, None once there is no more. Raises TimeoutError."""
        try:
            return self._lines.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            raise TimeoutError from None

    def lines(self, deadline: Deadline) -> Iterator[str]:
        """All lines of its output. Raises TimeoutError at the deadline."""
        while (line := self.line(deadline.left)) is not None:
            yield line

    def logged(self) -> str:
        """What it has written to stderr, without what earlier processes wrote to the same file."""
        with self._log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode("utf-8", "replace")

    def interrupt(self) -> None:
        """Sends SIGINT, like Ctrl-C."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Its exit status. Raises TimeoutError."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def end(self) -> int:
        """Kills what is still running of its process group. Returns the exit status."""
        for stop in (signal.SIGTERM, signal.SIGKILL):
            if not self.is_running:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, stop)
            with contextlib.suppress(TimeoutError):
                self.wait(_GRACE if stop == signal.SIGTERM else 60)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._log.close()
        return self._process.wait()
