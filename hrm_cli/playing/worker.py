"""One thread for everything that computes: one job at a time, which can be stopped between two reasoning steps.

torch and numba keep threads for every thread that calls them, and numba's do not allow two callers at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Job = Callable[["Stop"], Any]
_POLL = 0.1
"""Seconds between two checks whether the client is still there."""


class Stopped(Exception):  # noqa: N818 - the name describes the event
    """The job was stopped: the client is gone, the server is closing, or the time limit is reached."""


class Busy(Exception):  # noqa: N818
    """Another job runs."""


class Stop:
    """Tells a job whether it has to end. Jobs call `check` as often as they can."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._event = threading.Event()

    def request(self) -> None:
        """Asks the job to end."""
        self._event.set()

    def check(self) -> None:
        """Raises Stopped if the job has to end."""
        if self._event.is_set():
            raise Stopped("stopped")
        if time.monotonic() > self._deadline:
            raise Stopped(f"stopped after {self._seconds:g} s, the time limit; --solve-seconds sets another")


class _Task:
    def __init__(self, job: Job, seconds: float) -> None:
        self.job = job
        self.stop = Stop(seconds)
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class Worker:
    """Runs one job at a time in a thread of its own. A job gets at most `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._free = threading.Lock()
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._current: _Task | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="hrm play", daemon=True)
        self._thread.start()

    def run(self, job: Job, is_gone: Callable[[], bool] = lambda: False, *, patience: float = 0.0) -> Any:
        """The job's result, or its exception. Raises Busy if another job still runs after `patience` seconds.

        `is_gone` says whether the client has gone away; then the job is stopped.
        """
        if not self._free.acquire(timeout=patience):
            raise Busy("another puzzle is being solved; wait for it, or stop it")
        try:
            if self._is_closed:
                raise Stopped("the server is closing")
            task = self._current = _Task(job, self.seconds)
            self._tasks.put(task)
            while not task.done.wait(_POLL):
                if self._is_closed or is_gone():
                    task.stop.request()
        finally:
            self._current = None
            self._free.release()
        if task.error is not None:
            raise task.error
        return task.result

    def close(self, timeout: float = 5.0) -> None:
        """Stops the running job, and waits up to `timeout` seconds for its end."""
        self._is_closed = True
        current = self._current
        if current is not None:
            current.stop.request()
        self._tasks.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                with suppress(SystemExit):
                    task.result = task.job(task.stop)
            except BaseException as error:  # the thread that waits raises it
                task.error = error
            task.done.set()
