"""A run that is stopped again and again ends exactly as one that never was.

The command trains on a CPU in float32 and is stopped at random moments: by SIGINT and SIGTERM, which save first, and
by kill -9, also in the middle of writing a checkpoint. After every stop it continues with `--resume`. This is the short
form, whose lives are forked from one process that has imported torch; `kills.py` is the long one.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from .kills import (
    PUZZLES,
    SETTINGS,
    STEPS_AN_EPOCH,
    Server,
    Stops,
    differences,
    fresh_processes,
    planned,
    steps_logged,
)

KILLS = 8
"""One of each kind."""
EPOCHS = 25
"""200 steps: a stop takes at most 17."""


@pytest.fixture
def fork(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "stopped", tmp_path / "log")
    yield server
    assert server.close() == 0


@pytest.mark.slow(seconds=15)
def test_a_run_stopped_at_random_moments_ends_bit_identically_to_one_never_stopped(
    run_hrm, fork: Server, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    moments = random.Random(seed)
    data, whole, run, log = (tmp_path / name for name in ("data", "whole", "stopped", "log"))
    made = run_hrm(
        "build-dataset", "sudoku", "--size", 4, "--num-train", PUZZLES, "--num-test", 8, "--output-dir", data,
        "--augment", "online",
    )  # fmt: skip
    assert made.status == 0, made.stderr
    new = [
        "train",
        "--no-report",
        "--preset",
        "tiny",
        "--data",
        data,
        *SETTINGS,
        f"train.epochs={EPOCHS}",
        "--output-dir",
    ]
    assert fork([*new, whole]).wait() == 0, log.read_text()
    assert steps_logged(whole) == EPOCHS * STEPS_AN_EPOCH

    stops = Stops(
        run, fork, [*new, run], moments, longest_start=0.5, options=("--no-report",), is_patient=True
    )
    for kind, what in planned(KILLS, moments):
        stops.stop(kind, what)
    # In a new process, once.
    stops.start = fresh_processes(run, log)
    stops.stop("while training", signal.SIGKILL)
    assert fork(stops.arguments()).wait() == 0, log.read_text()

    print(f"seed {seed}: {stops.counts.total()} stops: {dict(sorted(stops.counts.items()))}")
    assert not stops.problems, f"seed {seed}\n{log.read_text()}"
    assert stops.counts.total() == KILLS + 1
    assert "Traceback" not in log.read_text(), f"seed {seed}\n{log.read_text()}"
    assert differences(run, whole) == [], seed
    end = whole / (whole / "latest").read_text().strip()
    kinds = {name.partition("/")[0] for name in load_file(end / "training.safetensors")}
    assert kinds == {"model", "optimizer", "average", "carry", "random"}, kinds


def test_a_difference_of_one_bit_is_found(tmp_path: Path, make_finished_run) -> None:
    whole, other = make_finished_run("whole"), make_finished_run("other")
    assert differences(other, whole) == []
    facts = other / "checkpoints" / "step-000000004" / "training.json"
    facts.write_text(facts.read_text().replace('"optimizer_steps": 4', '"optimizer_steps": 5'))
    assert differences(other, whole) == ["facts"]
    tensors = other / "checkpoints" / "step-000000004" / "model.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-3] ^= 1
    tensors.write_bytes(data)
    assert len(differences(other, whole)) == 2


@pytest.fixture
def make_finished_run(run_hrm, tmp_path: Path):
    """Runs of four steps, all alike."""
    data = tmp_path / "data"
    options = ("--size", 4, "--num-train", PUZZLES, "--num-test", 8, "--output-dir", data)
    assert run_hrm("build-dataset", "sudoku", *options).status == 0

    def make(name: str) -> Path:
        words = (
            "--preset",
            "tiny",
            "--data",
            data,
            *SETTINGS,
            "train.max_steps=4",
            "--output-dir",
            tmp_path / name,
        )
        assert run_hrm("train", *words).status == 0
        return tmp_path / name

    return make
