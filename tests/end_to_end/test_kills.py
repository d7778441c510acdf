"""A run that is stopped again and again ends exactly as one that never was.

The command trains on a CPU in float32 and is stopped at random moments: by SIGINT and SIGTERM, which save first, and
by kill -9, also in the middle of writing a checkpoint. After every stop it goes on with `--resume`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SETTINGS = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.forward_dtype=float32", "arch.halt_max_steps=4",
    "train.global_batch_size=8", "train.accumulation_steps=2", "train.lr_warmup_steps=20", "train.ema_decay=0.9",
    "train.grad_clip=1", "train.log_interval=2", "train.checkpoint_interval=3", "train.keep_checkpoints=2",
    "train.eval_interval=6", "train.epochs=31", "train.device=cpu",
]  # fmt: skip
STEPS = 31 * 64 // 8
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Life:
    """One process that trains, from its start to its end."""

    def __init__(self, process_id: int, wait: Callable[[], int]) -> None:
        self.process_id, self.wait = process_id, wait

    def is_over(self) -> bool:
        try:
            with open(f"/proc/{self.process_id}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            return True

    def stop(self, number: int, when: Callable[[], bool], delay: float) -> int:
        """Sends the signal `delay` seconds after `when` has become true, and returns how the process ended."""
        self.interrupt(number, when, delay)
        return self.wait()

    def interrupt(self, number: int, when: Callable[[], bool], delay: float) -> None:
        """Sends the signal and waits for nothing."""
        while not when() and not self.is_over():
            time.sleep(0.002)
        time.sleep(delay)
        if not self.is_over():
            os.kill(self.process_id, number)


class Runs:
    """Starts the command: forked from a server that has imported torch, or as users do."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("kill_server.py"), folder, log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip

    def fork(self, arguments: list[Any], fault: list[Any] | None = None) -> Life:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        output = self.server.stdout
        print(
            json.dumps({"arguments": [str(part) for part in arguments], "fault": fault}),
            file=self.server.stdin, flush=True,
        )  # fmt: skip
        return Life(int(output.readline()), lambda: int(output.readline()))

    def start(self, arguments: list[Any]) -> Life:
        with self.log.open("a") as log:
            words = [sys.executable, "-m", "hrm_cli", *(str(part) for part in arguments)]
            process = subprocess.Popen(words, stdout=log, stderr=log, env=self.environment)
        return Life(process.pid, process.wait)

    def arguments(self) -> list[Any]:
        return ["train", "--resume", self.folder]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path / "stopped", tmp_path / "log")
    yield runs
    assert runs.server.stdin is not None
    runs.server.stdin.close()
    assert runs.server.wait(timeout=60) == 0


def steps_logged(run: Path) -> int:
    """The step of the last whole line in metrics.jsonl."""
    try:
        with (run / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return 0
    return json.loads(lines[-1])["step"] if lines else 0


def is_writing(run: Path, since: int) -> bool:
    """Whether there is a half-written checkpoint, other than those that earlier stops have left."""
    for partial in (run / "checkpoints").glob(".partial-*"):
        with suppress(OSError):
            if partial.stat().st_mtime_ns > since:
                return True
    return False


def planned(moments: random.Random) -> list[tuple[str, Any]]:
    """The stops of one test run, in random order: at least twenty, of every kind."""
    plan: list[tuple[str, Any]] = [("signal", number) for number in SIGNALS for _ in range(5)]
    plan += [("signal twice", number) for number in SIGNALS[1:]]
    plan += [("while writing", None)] * 5
    plan += [("at a file", moments.randint(1, 45)) for _ in range(6)]
    plan += [("half a file", name) for name in ("model.safetensors", "training.safetensors")]
    plan += [("real command", number) for number in SIGNALS]
    moments.shuffle(plan)
    return plan


def stop_once(runs: Runs, kind: str, what: Any, moments: random.Random) -> int:
    """Goes on with the run and stops it; returns how it ended."""
    run, delay = runs.folder, moments.uniform(0, 0.01)
    goal = steps_logged(run) + moments.randint(1, 5)
    reached = lambda: steps_logged(run) >= goal  # noqa: E731
    if kind == "signal":
        return runs.fork(runs.arguments()).stop(what, reached, delay)
    if kind == "while writing":
        now = time.time_ns()
        return runs.fork(runs.arguments()).stop(signal.SIGKILL, lambda: is_writing(run, now), delay / 10)
    if kind == "signal twice":
        life = runs.fork(runs.arguments())
        life.interrupt(what, reached, delay)
        return life.stop(what, lambda: True, delay / 10)
    if kind == "real command":
        return runs.start(runs.arguments()).stop(what, reached, delay)
    return runs.fork(runs.arguments(), ["files" if kind == "at a file" else "tear", what]).wait()


def compared(run: Path) -> dict[str, Any]:
    """All that must be equal at the end: everything but what a clock has measured."""
    latest = run / (run / "latest").read_text().strip()
    facts = json.loads((latest / "training.json").read_text())
    del facts["seconds"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "facts": facts,
        "best": (run / "best").read_text(),
        "metrics": [{k: v for k, v in line.items() if "second" not in k} for line in lines],
        "names": sorted(path.name for path in latest.iterdir()),
        "leftovers": sorted(str(path) for path in run.rglob("*partial*")),
    }


def test_a_run_stopped_at_random_moments_ends_bit_identically_to_one_never_stopped(
    run_hrm, runs: Runs, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    data, whole = tmp_path / "data", tmp_path / "whole"
    made = run_hrm(
        "build-dataset", "sudoku", "--size", 4, "--num-train", 64, "--num-test", 8, "--output-dir", data,
        "--augment", "online",
    )  # fmt: skip
    assert made.status == 0, made.stderr
    new = ["train", "--preset", "tiny", "--data", data, *SETTINGS, "--output-dir"]
    assert runs.fork([*new, whole]).wait() == 0, runs.log.read_text()
    assert steps_logged(whole) == STEPS

    stops: Counter[str] = Counter()
    runs.fork([*new, runs.folder]).stop(signal.SIGKILL, lambda: steps_logged(runs.folder) >= 4, 0)
    for kind, what in planned(moments):
        status = stop_once(runs, kind, what, moments)
        by_signal = isinstance(what, signal.Signals)
        expected = 128 + what if by_signal and what != signal.SIGKILL else -signal.SIGKILL
        assert status == expected, f"seed {seed}, {kind} {what}: {status}\n{runs.log.read_text()}"
        stops[f"{kind} {what.name}" if by_signal else kind] += 1
    assert runs.fork(runs.arguments()).wait() == 0, runs.log.read_text()

    print(f"seed {seed}: {stops.total()} stops: {dict(sorted(stops.items()))}")
    assert stops.total() >= 20, stops
    assert "Traceback" not in runs.log.read_text()
    found, expected_end = compared(runs.folder), compared(whole)
    for part, value in expected_end.items():
        assert found[part] == value, (seed, part)
    end = Path((whole / "latest").read_text().strip())
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(runs.folder / end / name), load_file(whole / end / name)
        assert ours.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert torch.equal(ours[key], tensor), (seed, name, key)
    kinds = {key.partition("/")[0] for key in theirs}
    assert kinds == {"model", "optimizer", "average", "carry", "random"}, kinds
