"""A disk that is full, or may not be written to: training continues while it can, and nothing that was good is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import hrm_cli.training.checkpointing as checkpoints
from hrm_cli.checkpoints.model_files import find_model_file, load_model
from hrm_cli.errors import CheckpointError
from hrm_cli.training.loggers import Listener, MetricsFile
from hrm_cli.training.loop import train
from hrm_cli.training.resuming import load_training_state

FAILURES = {
    "full while tensors are written": ("save_tensors", SafetensorError("I/O error: No space left on device")),
    "full while the model is written": ("write_model_file", OSError(errno.ENOSPC, "No space left on device")),
    "full while it is synced": ("sync", OSError(errno.ENOSPC, "No space left on device")),
    "full while latest is moved": ("write_pointer", OSError(errno.ENOSPC, "No space left on device")),
    "read-only": ("write_model_file", OSError(errno.EROFS, "Read-only file system")),
}


class Disk:
    """Fails, while `broken`, wherever a checkpoint calls the function named."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
        self.broken, self.refused = False, 0
        original = getattr(checkpoints, name)

        def call(*given: object, **named: object) -> object:
            if self.broken:
                self.refused += 1
                raise error
            return original(*given, **named)

        monkeypatch.setattr(checkpoints, name, call)


class Watcher(Listener):
    """Breaks and mends a disk at certain steps; keeps the warnings."""

    def __init__(self, actions) -> None:
        self.actions, self.warnings = actions, []

    def stepped(self, step) -> None:
        if step in self.actions:
            self.actions[step]()

    def warned(self, message) -> None:
        self.warnings.append(message)


@pytest.mark.parametrize("name", FAILURES)
def test_training_continues_with_a_warning_and_saves_again_once_it_can(make_run, monkeypatch, name) -> None:
    disk = Disk(monkeypatch, *FAILURES[name])
    kept = {}

    def mend() -> None:
        disk.broken = False
        # What was there when the disk filled up is whole.
        kept["latest"] = load_model(find_model_file(run.folder / "latest"))[1].step
        kept["files"] = sorted(path.name for path in run.folder.rglob(".partial*"))

    watcher = Watcher({5: lambda: setattr(disk, "broken", True), 9: mend})
    run, state = make_run(20, checkpoint_interval=4, listeners=(watcher,))
    result = train(run, state)
    assert disk.refused == 1
    assert kept == {"latest": 4, "files": []}
    assert len(watcher.warnings) == 1
    assert "step-000000008: cannot be written" in watcher.warnings[0]
    assert "Training continues" in watcher.warnings[0]
    assert (result.reason, load_model(run.folder)[1].step) == ("finished", 20)


def test_a_run_whose_disk_was_full_for_a_while_ends_the_same(make_run, monkeypatch) -> None:
    whole, state = make_run(20, folder="whole")
    expected = load_file(train(whole, state).checkpoint / "training.safetensors")
    disk = Disk(monkeypatch, *FAILURES["full while tensors are written"])
    watcher = Watcher({3: lambda: setattr(disk, "broken", True), 17: lambda: setattr(disk, "broken", False)})
    run, state = make_run(20, folder="spell", checkpoint_interval=4, listeners=(watcher,))
    found = load_file(train(run, state).checkpoint / "training.safetensors")
    assert len(watcher.warnings) == 4
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_last_checkpoint_that_cannot_be_written_ends_with_status_2_and_the_one_before_is_whole(
    make_run, monkeypatch
) -> None:
    disk = Disk(monkeypatch, *FAILURES["full while tensors are written"])
    watcher = Watcher({15: lambda: setattr(disk, "broken", True)})
    run, state = make_run(20, checkpoint_interval=4, listeners=(watcher,))
    with pytest.raises(CheckpointError, match=r"step-000000020: cannot be written .*unchanged") as error:
        train(run, state)
    assert error.value.exit_status == 2
    assert load_model(run.folder)[1].step == 12
    disk.broken = False
    run, state = make_run(20)
    run.batches.position = load_training_state(run.folder, state)["position"]
    assert train(run, state).step == 20


def test_a_best_checkpoint_that_could_not_be_saved_does_not_block_the_next(make_run, monkeypatch) -> None:
    scores = iter([0.2, 0.9, 0.5, 0.4])
    disk = Disk(monkeypatch, *FAILURES["full while tensors are written"])
    watcher = Watcher({15: lambda: setattr(disk, "broken", True), 25: lambda: setattr(disk, "broken", False)})
    run, state = make_run(
        40, listeners=(watcher,), evaluate=lambda model: {"exact_accuracy": next(scores), "mean_steps": 1.0}
    )
    result = train(run, state)
    assert result.best is not None
    assert (result.best.step, find_model_file(run.folder).parent.name) == (30, "step-000000030")


def test_lines_that_a_full_disk_refuses_are_written_later_in_order_and_whole(
    make_run, tmp_path, monkeypatch
) -> None:
    warnings: list[str] = []
    metrics = MetricsFile(tmp_path / "metrics.jsonl", warnings.append)
    run, _ = make_run(20)
    metrics.begin(run.plan, 0)
    room = {"bytes": 10**6}

    def write(descriptor: int, data: bytes) -> int:
        if room["bytes"] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        data = data[: room["bytes"]]
        room["bytes"] -= len(data)
        return real(descriptor, data)

    real = os.write
    monkeypatch.setattr(os, "write", write)
    metrics.logged({"kind": "train", "step": 1})
    room["bytes"] = 7
    metrics.logged({"kind": "train", "step": 2})
    metrics.logged({"kind": "train", "step": 3})
    room["bytes"] = 10**6
    metrics.logged({"kind": "train", "step": 4})
    metrics.end()
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]
    assert len(warnings) == 1
    assert "No space left" in warnings[0]


def test_metrics_that_never_get_written_are_counted_at_the_end(make_run) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    warnings: list[str] = []
    metrics = MetricsFile(Path("/dev/full"), warnings.append)
    metrics._descriptor = os.open("/dev/full", os.O_WRONLY)
    metrics.logged({"kind": "train", "step": 1})
    metrics.logged({"kind": "train", "step": 2})
    metrics.end()
    assert "2 lines could not be written" in warnings[-1]


def can_mount() -> bool:
    if not shutil.which("unshare"):
        return False
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


SCRIPT = """
set -u
mount -t tmpfs -o size=1400k tmpfs {mount}
{hrm} train --preset tiny --data {data} --force --output-dir {mount}/run {settings} > {out} 2> {out}.err
echo $? > {out}.status
cp -r {mount}/run {out}.run
"""


def test_the_real_command_on_a_disk_that_is_really_full(run_hrm, tmp_path) -> None:
    if not can_mount():
        pytest.skip("no small disk can be mounted here (unshare -rm and tmpfs are needed)")
    data, mount, out = tmp_path / "data", tmp_path / "disk", tmp_path / "out"
    mount.mkdir()
    made = run_hrm(
        "build-dataset", "sudoku", "--size", 4, "--num-train", 32, "--num-test", 8, "--output-dir", data
    )
    assert made.status == 0, made.stderr
    settings = (
        "arch.hidden_size=32 arch.num_heads=2 arch.forward_dtype=float32 global_batch_size=8 train.max_steps=8 "
        "checkpoint_interval=2 keep_checkpoints=2 eval_interval=1000 log_interval=1"
    )
    script = SCRIPT.format(
        hrm=f"{sys.executable} -m hrm_cli", mount=mount, data=data, out=out, settings=settings
    )
    subprocess.run(["unshare", "-rm", "sh", "-c", script], check=True, timeout=120)
    errors = Path(f"{out}.err").read_text()
    assert Path(f"{out}.status").read_text().strip() == "2", errors
    assert "Traceback" not in errors
    assert "Warning: " in errors
    assert "Training continues" in errors
    assert "No space left on device" in errors.splitlines()[-1]
    run = Path(f"{out}.run")
    assert load_model(run)[1].step == int((run / "latest").read_text().strip()[-9:]) < 8
    assert not list(run.rglob(".partial*"))
