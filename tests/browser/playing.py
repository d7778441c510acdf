"""`hrm play` in a process of its own, for tests in a browser."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Playing:
    """A running `hrm play`."""

    process: subprocess.Popen[str]
    url: str
    errors: list[str] = field(default_factory=list)
    """Lines on stderr."""

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.url)[0])

    @property
    def token(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]

    def interrupt(self) -> int:
        """Ctrl-C: the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def playing(*arguments: object) -> Iterator[Playing]:
    """Runs `hrm play` and ends it afterwards."""
    command = [sys.executable, "-m", "hrm_cli", "play", "--no-open", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
    if found is None:
        process.kill()
        raise AssertionError(f"no address: {line!r} {process.stderr.read()}")
    running = Playing(process, found[0])
    reader = threading.Thread(target=running.errors.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        reader.join(5)


def ask(running: Playing, action: str, document: Any, token: str | None = None) -> tuple[int, Any]:
    """Status and document of an answer, without a browser."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=300)
    path = f"/{token or running.token}/api/{action}"
    connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def warm_up(running: Playing) -> None:
    """Has the CPU kernels compiled, which takes longer on a busy machine than a test waits for a page."""
    for kind, side in (("sudoku", 9), ("maze", 10)):
        _, found = ask(running, "example", {"kind": kind, "rows": side, "columns": side, "level": "easy"})
        ask(running, "solve", {"puzzle": found["puzzle"], "model": "auto"})


def solve(page: Any) -> None:
    """Clicks Solve and waits for the steps."""
    page.click("#solve")
    page.wait_for_selector(".hb-player .hb-status", timeout=120_000)
    page.wait_for_selector("body[aria-busy=false]")


def ready(page: Any) -> None:
    """Waits until the first example is on the page."""
    page.wait_for_selector("#editor .cell")
    page.wait_for_selector("body[aria-busy=false]", timeout=120_000)


def cells(page: Any) -> str:
    """The puzzle on the page, a period for a blank cell."""
    return "".join(text or "." for text in page.locator("#editor .cell").all_inner_texts())
