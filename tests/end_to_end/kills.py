"""Stops a training run at random moments, again and again, and compares its end with that of a run left alone.

    python tests/end_to_end/kills.py --kills 100

Every life is a process of its own, started as users start it: new, or with `--resume`. It is stopped by kill -9,
SIGTERM or SIGINT, at any time from its start on: while Python starts, while it trains, while a checkpoint is half
written, between any two operations on files. Ends with status 1 where the runs differ in a bit, or a traceback came.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTINGS = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.forward_dtype=float32", "arch.halt_max_steps=4",
    "train.global_batch_size=8", "train.accumulation_steps=2", "train.lr_warmup_steps=20", "train.ema_decay=0.9",
    "train.grad_clip=1", "train.log_interval=2", "train.checkpoint_interval=3", "train.keep_checkpoints=2",
    "train.eval_interval=6", "train.device=cpu",
]  # fmt: skip
PUZZLES = 64
STEPS_AN_EPOCH = PUZZLES // 8
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SERVER = Path(__file__).with_name("kill_server.py")

Start = Callable[[list[Any], list[Any] | None], "Life"]
"""Starts `hrm` with these arguments, and a fault that the process makes in itself (see kill_server.py) or None."""


class Life:
    """One process that trains, from its start to its end."""

    def __init__(self, process_id: int, wait: Callable[[], int]) -> None:
        self.process_id, self.wait = process_id, wait

    def is_over(self) -> bool:
        """Whether it has ended by itself (Linux)."""
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
            with suppress(ProcessLookupError):
                os.kill(self.process_id, number)
                os.kill(self.process_id, signal.SIGCONT)  # it may wait (kill_server.py)


@dataclass
class Stops:
    """One run that is stopped again and again."""

    folder: Path
    start: Start
    new: list[Any]
    """The arguments of a new run."""
    moments: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    """Stops by kind and by how the process ended."""
    problems: list[str] = field(default_factory=list)
    longest_start: float = 4.0
    """Seconds within which a life may be stopped before it trains."""
    options: tuple[str, ...] = ()
    """Options of every `hrm train --resume`."""
    is_patient: bool = False
    """Whether a life waits, 12 steps after the step at which it is to be stopped, until it is: for short runs."""

    def stop(self, kind: str, what: Any) -> None:
        """Starts or resumes the run, and stops it."""
        status = self._stop(kind, what)
        by_signal = isinstance(what, signal.Signals)
        name = f"{kind} {what.name}" if by_signal else kind
        self.counts[f"{name} → {status}"] += 1
        # Python itself dies of a signal that comes before it has handlers; a kill -9 always looks the same.
        fine = {-what, 128 + what} if by_signal else {-signal.SIGKILL}
        if status not in fine:
            self.problems.append(f"{name}: ended with status {status}")

    def arguments(self) -> list[Any]:
        """What the next life is started with."""
        is_started = (self.folder / "config.yaml").is_file()
        return ["train", "--resume", self.folder, *self.options] if is_started else self.new

    def _stop(self, kind: str, what: Any) -> int:
        run, moments = self.folder, self.moments
        delay = moments.uniform(0, 0.01)
        goal = steps_logged(run) + moments.randint(1, 5)
        now = time.time_ns()
        if kind == "at a file":
            return self.start(self.arguments(), ["files", what]).wait()
        if kind == "half a file":
            return self.start(self.arguments(), ["tear", what]).wait()
        # A test on a busy machine may be late by the whole length of a short run.
        life = self.start(self.arguments(), ["wait", goal + 12] if self.is_patient else None)
        if kind == "while writing":
            # On a busy machine the moment may be missed: after a few checkpoints it is stopped all the same.
            late = goal + 10
            return life.stop(
                signal.SIGKILL, lambda: is_writing(run, now) or steps_logged(run) > late, delay / 10
            )
        if kind == "while starting":
            return life.stop(what, lambda: True, moments.uniform(0, self.longest_start))
        if kind == "while training, twice":
            life.interrupt(what, lambda: steps_logged(run) >= goal, delay)
            return life.stop(what, lambda: True, delay / 10)
        return life.stop(what, lambda: steps_logged(run) >= goal, delay)


def planned(count: int, moments: random.Random) -> list[tuple[str, Any]]:
    """`count` stops of every kind in random order: half of them in the middle of files."""
    plan = [stop for _ in range(-(-count // 8)) for stop in _one_of_each(moments)][:count]
    moments.shuffle(plan)
    return plan


def _one_of_each(moments: random.Random) -> list[tuple[str, Any]]:
    return [
        ("while training", signal.SIGKILL),
        ("while writing", None),
        ("at a file", moments.randint(1, 60)),
        ("while training", moments.choice(SIGNALS[1:])),
        ("half a file", moments.choice(["model.safetensors", "training.safetensors"])),
        ("at a file", moments.randint(1, 60)),
        ("while starting", moments.choice(SIGNALS)),
        ("while training, twice", moments.choice(SIGNALS[1:])),
    ]


def steps_logged(run: Path) -> int:
    """The step of the last whole line in metrics.jsonl."""
    try:
        with (run / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return 0
    return int(json.loads(lines[-1])["step"]) if lines else 0


def is_writing(run: Path, since: int) -> bool:
    """Whether there is a half-written checkpoint, other than those that earlier stops have left."""
    for partial in (run / "checkpoints").glob(".partial-*"):
        with suppress(OSError):
            if partial.stat().st_mtime_ns > since:
                return True
    return False


def differences(run: Path, whole: Path) -> list[str]:
    """What of two finished runs is not equal, of all that no clock has measured; tensors bit for bit."""
    import torch
    from safetensors.torch import load_file

    found, expected = _compared(run), _compared(whole)
    different = [name for name, value in expected.items() if found[name] != value]
    end = (whole / "latest").read_text().strip()
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(run / end / name), load_file(whole / end / name)
        different += [f"{name}: {key}" for key in ours.keys() ^ theirs.keys()]
        different += [
            f"{name}: {key}"
            for key in theirs
            if key in ours and not torch.equal(ours[key].view(-1), theirs[key].view(-1))
        ]
    return different


def _compared(run: Path) -> dict[str, Any]:
    latest = run / (run / "latest").read_text().strip()
    facts = json.loads((latest / "training.json").read_text())
    for measured in ("seconds", "wall_seconds", "checksum"):
        del facts[measured]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "facts": facts,
        "best": (run / "best").read_text(),
        "latest": (run / "latest").read_text(),
        "metrics": [{k: v for k, v in line.items() if "second" not in k} for line in lines],
        "names": sorted(path.name for path in latest.iterdir()),
        "checkpoints": sorted(path.name for path in (run / "checkpoints").iterdir()),
        "leftovers": sorted(str(path) for path in run.rglob(".*")),
    }


def fresh_processes(run: Path, log: Path) -> Start:
    """Every life is a process of its own."""

    def start(arguments: list[Any], fault: list[Any] | None) -> Life:
        words = [str(part) for part in arguments]
        command = [sys.executable, "-m", "hrm_cli", *words]
        if fault is not None:
            job = json.dumps({"arguments": words, "fault": fault})
            command = [sys.executable, str(SERVER), str(run), str(log), job]
        with log.open("a") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        return Life(process.pid, process.wait)

    return start


class Server:
    """Starts every life as a child of a process that has imported torch: much sooner than from anew."""

    def __init__(self, run: Path, log: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SERVER, run, log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def __call__(self, arguments: list[Any], fault: list[Any] | None = None) -> Life:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        output = self.process.stdout
        job = {"arguments": [str(part) for part in arguments], "fault": fault}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return Life(int(output.readline()), lambda: int(output.readline()))

    def close(self) -> int:
        """Ends it; returns its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=60)


def main() -> int:
    """Runs the long form."""
    parser = argparse.ArgumentParser(description="Stop a run at random moments and compare its end.")
    parser.add_argument("--kills", type=int, default=100, help="stops (100)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; drawn unless given")
    parser.add_argument(
        "--forked", action="store_true", help="lives forked from a process that has imported torch"
    )
    options = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in its background so, and every life would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hrm-kills-") as name:
        work = Path(name)
        log = work / "log"
        data, whole, run = work / "data", work / "whole", work / "stopped"
        start: Start = Server(run, log) if options.forked else fresh_processes(run, log)
        # Long enough that every stop has something to stop.
        epochs = max(31, options.kills)
        build = ["build-dataset", "sudoku", "--size", 4, "--num-train", PUZZLES, "--num-test", 8]
        new = ["train", "--preset", "tiny", "--data", data, *SETTINGS, f"train.epochs={epochs}"]
        for words in (
            [*build, "--augment", "online", "--output-dir", data],
            [*new, "--output-dir", whole],
        ):
            if start(words, None).wait():
                print(log.read_text(errors="replace"))
                return 1
        moments = random.Random(seed)
        longest_start = 0.5 if options.forked else 4.0
        stops = Stops(run, start, [*new, "--output-dir", run], moments, longest_start=longest_start)
        for number, (kind, what) in enumerate(planned(options.kills, moments), 1):
            stops.stop(kind, what)
            if stops.problems:
                break
            if number % 10 == 0:
                print(f"{number} stops, step {steps_logged(run)}", flush=True)
        if start(stops.arguments(), None).wait():
            stops.problems.append("the last life, left alone, did not end well")
        else:
            stops.problems += [f"differs: {what}" for what in differences(run, whole)]
        if isinstance(start, Server):
            start.close()
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            stops.problems.append(f"a traceback was printed:\n{text[text.index('Traceback') :][:3000]}")
    for name, count in sorted(stops.counts.items()):
        print(f"{count:5}  {name}")
    lives = "lives forked from one process" if options.forked else "each life a process of its own"
    print(
        f"{stops.counts.total()} stops ({lives}) of a run of {epochs * STEPS_AN_EPOCH} steps, seed {seed}, "
        f"{time.monotonic() - started:.0f} s: {'; '.join(stops.problems) or 'ended bit-identical'}"
    )
    return 1 if stops.problems else 0


if __name__ == "__main__":
    sys.exit(main())
