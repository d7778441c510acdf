"""`hrm train` on several processes, as users start it: one machine, two hosts, lost processes, signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hrm_cli.cli.app import _load
from hrm_cli.cli.launching import Processes
from hrm_cli.errors import ConfigError

SETTINGS = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.forward_dtype=float32", "train.global_batch_size=16",
    "train.lr=1e-3", "train.lr_warmup_steps=2", "train.log_interval=5", "train.checkpoint_interval=5",
    "train.ema_decay=0.9", "epochs=50", "eval_interval=10", "train.device=cpu", "train.keep_checkpoints=50",
    "--no-report",
]  # fmt: skip
DATA = ["data.size=4", "data.clues=6-10", "data.num_train=64", "data.num_test=17", "data.augment=stored"]
REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 200
"""Enough that a signal comes before the end, and so few that roundings do not grow."""


@pytest.fixture(scope="module")
def alone(run_hrm, tmp_path_factory) -> Path:
    """The run of one process, from beginning to end."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = run_hrm("train", "--preset", "tiny", "--output-dir", folder, *SETTINGS, *DATA)
    assert done.status == 0, done.stderr
    return folder


class Started:
    """A command that runs in the background."""

    def __init__(self, *arguments: object, prefix: tuple[str, ...] = (), **settings: str) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "hrm_cli", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **settings},
        )  # fmt: skip

    def workers(self) -> list[int]:
        """Its workers, in the order of their start."""
        found = subprocess.run(
            ["ps", "--no-headers", "-o", "pid,args", "--ppid", str(self.process.pid)],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        return [int(line.split()[0]) for line in found.splitlines() if "hrm_cli.cli.worker" in line]

    def finished(self) -> tuple[int, str, str]:
        try:
            out, error = self.process.communicate(timeout=120)
        finally:
            self.process.kill()
        return self.process.returncode, out, error


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def assert_same_training(ours: Path, theirs: Path) -> None:
    """Compares the newest checkpoint of `ours` that `theirs` has as well."""
    step = max(
        {f.name for f in (ours / "checkpoints").iterdir()}
        & {f.name for f in (theirs / "checkpoints").iterdir()}
    )
    found, expected = (
        load_file(run / "checkpoints" / step / "training.safetensors") for run in (ours, theirs)
    )
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        worst = (found[name].double() - tensor.double()).abs().max().item()
        # Rounding differs with the number of ranks and adds up over steps; tests/training holds 20 steps to 1e-5.
        assert worst <= 1e-4, f"{step}, {name}: {worst}"


def steps_logged(run: Path, kind: str) -> list[int]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["kind"] == kind]


@pytest.mark.slow(seconds=10)
def test_a_killed_worker_is_started_again_until_no_restart_is_left_and_the_run_can_be_finished(
    run_hrm, alone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    job = Started(
        "train", "--preset", "tiny", "--data", alone / "dataset", "--output-dir", run, *SETTINGS,
        "--nproc-per-node", 2, "--max-restarts", 1,
    )  # fmt: skip
    wait_for((run / "latest").is_file)
    first = job.workers()
    os.kill(first[1], signal.SIGKILL)
    wait_for(lambda: len(workers := job.workers()) == 2 and not set(workers) & set(first))
    saved = (run / "latest").read_text()
    wait_for(lambda: (run / "latest").read_text() != saved)
    os.kill(job.workers()[1], signal.SIGKILL)
    status, out, error = job.finished()
    assert (status, out) == (1, "")
    assert error.count("A process failed. Restarted from the latest checkpoint (1 of 1).") == 1
    assert [line for line in error.splitlines() if "rror" in line or "process 1" in line] == [
        "Error: process 1 of 2 was killed by SIGKILL; the system does this when memory runs out"
    ]
    assert_same_training(run, alone)

    done = run_hrm("train", "--resume", run, "--json", "--quiet")
    assert done.status == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert (document["steps"], document["reason"]) == (200, "finished")
    assert_same_training(run, alone)
    for kind in ("train", "eval"):
        assert steps_logged(run, kind) == steps_logged(alone, kind)


@pytest.mark.slow(seconds=10)
def test_a_deterministic_error_ends_the_job_with_its_message_and_status_without_a_restart(
    hrm_process, alone: Path, tmp_path: Path
) -> None:
    done = hrm_process(
        "train", "--preset", "tiny", "--data", alone / "dataset", "--output-dir", tmp_path / "run", *SETTINGS,
        "--nproc-per-node", 2, "--max-restarts", 3, "train.lr=1e30",
    )  # fmt: skip
    assert done.status == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "training diverged at step" in errors[0]
    assert "Restarted from" not in done.stderr


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces joined by a cable: `10.213.7.1` and `10.213.7.2`."""
    names = [f"hrm-{os.getpid()}-{i}" for i in (1, 2)]
    steps = [
        *(f"netns add {name}" for name in names),
        f"link add cable1 netns {names[0]} type veth peer name cable2 netns {names[1]}",
        *(f"-n {name} addr add 10.213.7.{i}/24 dev cable{i}" for i, name in enumerate(names, start=1)),
        *(f"-n {name} link set cable{i} up" for i, name in enumerate(names, start=1)),
        *(f"-n {name} link set lo up" for name in names),
    ]
    try:
        for step in steps:
            try:
                done = subprocess.run(["ip", *step.split()], capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip("network namespaces cannot be made here: ip (iproute2) is not installed")
            if done.returncode:
                pytest.skip(f"network namespaces cannot be made here: ip {step}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow(seconds=10)
def test_two_hosts_train_one_model_and_stop_together_on_a_signal_to_one(
    alone: Path, tmp_path: Path, two_hosts
) -> None:
    run = tmp_path / "run"

    def start(*arguments: object) -> list[Started]:
        hosts = ["--nnodes", 2, "--rdzv-endpoint", "10.213.7.1:29517"]
        return [
            Started("train", *arguments, *hosts, "--node-rank", i, prefix=("ip", "netns", "exec", name))
            for i, name in enumerate(two_hosts)
        ]

    new = ("--preset", "tiny", "--data", alone / "dataset", "--output-dir", run, *SETTINGS)
    first, second = start(*new)
    wait_for((run / "latest").is_file)
    os.kill(second.process.pid, signal.SIGTERM)
    for host, words in ((first, 1), (second, 0)):
        status, out, error = host.finished()
        assert status == 143, error
        assert out.count("Interrupted and saved") == words
        assert "Error" not in error
    assert_same_training(run, alone)


def test_the_slurm_script_of_the_documentation_starts_one_launcher_on_each_machine(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "distributed.md").read_text(encoding="utf-8")
    script = page.split("```bash\n")[1].split("```")[0]
    stubs = {
        "scontrol": "printf 'host-a\\nhost-b\\n'",
        # Slurm runs the command on every machine.
        "srun": 'for id in 0 1; do SLURM_NODEID=$id "$@"; done',
        "hrm": 'printf "%s|" "$@"; echo',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "host-[a-b]",
        "SLURM_NNODES": "2",
    }
    commands = []
    for _ in range(2):
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        commands.append([line.strip("|").split("|") for line in done.stdout.splitlines()])
        (tmp_path / "runs" / "extreme").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "extreme" / "config.yaml").touch()
    first_time, again = commands
    assert first_time[0][1:5] == ["--preset", "sudoku-extreme", "--output-dir", "runs/extreme"]
    assert again[0][1:3] == ["--resume", "runs/extreme"]
    for command in (first_time, again):
        for machine, words in enumerate(command):
            assert words[0] == "train"
            with _load("train").make_context("hrm", words[1:]) as context:
                options = context.params
            assert (options["nnodes"], options["node_rank"]) == (2, machine)
            assert options["rdzv_endpoint"] == "host-a:29500"
            assert options["overrides"] == ["checkpoint_interval=1000"]
        assert len(command) == 2


@pytest.mark.parametrize(
    ("processes", "message"),
    [
        (Processes(hosts=2), "--rdzv-endpoint HOST:PORT"),
        (Processes(hosts=2, host=2, endpoint="a:1"), "numbered from 0 to 1"),
        (Processes(hosts=2, endpoint="a"), "expected HOST:PORT"),
        (Processes(hosts=2, endpoint="a:99999"), "expected HOST:PORT"),
        (Processes(backend="gloo"), "only for several processes"),
    ],
)
def test_options_that_do_not_go_together_are_refused(processes: Processes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processes.check()


def test_what_the_processes_cannot_do_is_refused_before_any_is_started(
    run_hrm, alone: Path, tmp_path: Path
) -> None:
    done = run_hrm(
        "train", "--preset", "tiny", "--data", alone / "dataset", "--output-dir", tmp_path / "run", *SETTINGS,
        "--nproc-per-node", 3,
    )  # fmt: skip
    assert done.status == 2
    assert done.stderr.startswith("Error: global_batch_size 16 cannot be divided among 3 processes")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow(seconds=10)
def test_an_evaluation_on_two_processes_prints_the_figures_of_one(hrm_process, alone: Path) -> None:
    done = hrm_process(
        "eval", alone / "latest", "--nproc-per-node", 2, "--batch-size", 3, "--device", "cpu", "--json"
    )
    assert done.status == 0, done.stderr
    document = json.loads(done.stdout)
    lines = [json.loads(line) for line in (alone / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "eval"][-1]
    assert document["puzzles"] == 17
    for figure in ("exact_accuracy", "cell_accuracy", "mean_steps", "q_halt_accuracy"):
        assert document[figure] == pytest.approx(last[figure])
