"""`hrm train --resume`: from what is whole, on other settings, and by one process at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hrm_cli.runs.folder import LOCK_FILE

from .conftest import DATA, LENGTH, MODEL, Done

Command = Callable[..., Done]
LAST = "checkpoints/step-000000006"


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def assert_ends_alike(run: Path, whole: Path) -> None:
    """Whether two runs have the same last checkpoint, bit for bit, and the same lines in metrics.jsonl."""
    for name in ("model.safetensors", "training.safetensors"):
        ours, theirs = load_file(run / LAST / name), load_file(whole / LAST / name)
        assert ours.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert torch.equal(ours[key], tensor), key
    for pointer in ("latest", "best"):
        assert (run / pointer).read_text() == (whole / pointer).read_text()
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if "second" not in key}
            for line in (folder / "metrics.jsonl").read_text().splitlines()
        ]
        for folder in (run, whole)
    ]
    assert lines[0] == lines[1]


@contextmanager
def another_trainer(run: Path) -> Iterator[int]:
    """Another process that holds the run's lock; yields its number."""
    program = (
        "import sys; from pathlib import Path; from hrm_cli.files import FileLock\n"
        "with FileLock(Path(sys.argv[1])):\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", program, str(run / LOCK_FILE)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process.pid
        process.communicate("")


def test_a_second_trainer_of_a_run_is_refused_with_the_process_and_host_of_the_first(
    command: Command, run: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for folder, words in (
        (run, ("--resume", run, "train.max_steps=8")),
        (new, ("--output-dir", new, "--data", run / "dataset", *MODEL)),
    ):
        with another_trainer(folder) as pid:
            before = content(folder)
            done = command("train", *words)
            assert done.status == 2
            assert f"is already being trained by process {pid} on {socket.gethostname()}" in done.stderr
            assert content(folder) == before
    # A trainer that was killed holds nothing.
    done = command("train", "--resume", run, "train.max_steps=8")
    assert done.status == 0, done.stderr
    assert not (run / LOCK_FILE).exists()


def test_of_two_processes_that_start_a_run_at_once_one_trains(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        sys.executable,
        "-m",
        "hrm_cli",
        "train",
        "--output-dir",
        run,
        "--data",
        whole / "dataset",
        *MODEL,
    ]
    both = [
        subprocess.Popen(
            [str(word) for word in [*words, "--no-report", "train.epochs=5"]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    errors = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], errors
    refused = errors[[process.returncode for process in both].index(2)]
    assert "is already being trained by process" in refused or "already exists" in refused
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.max_steps=3"], "is already at step 6, past the end set by train.max_steps=3"),
        (["train.epochs=1"], "is already at step 6, past the end set by train.epochs=1 (step 4)"),
        (["--data", "OTHER"], "num_groups is 16, but the resumed run was trained on 32"),
        (["--data", "nowhere"], "nowhere: the run's dataset was not found"),
        (["train.distill_from=OTHER"], "OTHER: contains no checkpoint"),
        (["arch.hidden_size=32"], "keeps its model and data"),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(
    command: Command, run: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    other = tmp_path / "other"
    if "--data" in settings:
        options = ("--size", 4, "--num-train", 16, "--num-test", 4)
        assert command("build-dataset", "sudoku", *options, "--output-dir", other).status == 0
    else:
        other.mkdir()
    before = content(run)
    words = [word.replace("OTHER", str(other)) for word in settings]
    done = command("train", "--resume", run, *words, cwd=tmp_path)
    assert done.status == 2
    assert message.replace("OTHER", str(other)) in done.stderr
    assert content(run) == before


def test_a_finished_run_says_that_nothing_is_left(command: Command, run: Path) -> None:
    done = command("train", "--resume", run)
    assert done.status == 0
    assert "step 6 of 6; nothing is left to train; raise train.max_steps or train.epochs" in done.stderr


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (16, "was 8 and is 16 from now on: 8 rows continue, 8 start with new puzzles"),
        (4, "was 8 and is 4 from now on: the first 4 rows continue, the others are dropped"),
    ],
)
def test_a_run_resumes_with_another_global_batch_size(
    command: Command, run: Path, size: int, message: str
) -> None:
    done = command("train", "--resume", run, f"train.global_batch_size={size}", "train.max_steps=10")
    assert done.status == 0, done.stderr
    assert message in done.stderr
    carry = load_file(run / "checkpoints" / "step-000000010" / "training.safetensors")["carry/halted"]
    assert len(carry) == size
    # It holds for the next time as well, with no message then.
    done = command("train", "--resume", run, "train.max_steps=12")
    assert done.status == 0
    assert "global_batch_size" not in done.stderr


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def change_a_number(file: Path) -> None:
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({**facts, "optimizer_steps": facts["optimizer_steps"] + 1}))


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a flipped bit": ("training.safetensors", flip_a_bit),
    "half a file": ("training.safetensors", cut),
    "no tensors": ("training.safetensors", Path.unlink),
    "half the facts": ("training.json", cut),
    "another number": ("training.json", change_a_number),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_with_the_same_end(
    command: Command, run: Path, whole: Path, kind: str
) -> None:
    name, damage = DAMAGE[kind]
    damage(run / LAST / name)
    done = command("train", "--resume", run)
    assert done.status == 0, done.stderr
    assert "Resumed from step-000000004, the newest intact checkpoint" in done.stderr
    assert LAST in done.stderr
    assert_ends_alike(run, whole)


def test_a_damaged_or_dangling_checkpoint_pointer_does_not_end_a_run(
    command: Command, run: Path, whole: Path
) -> None:
    for text in ("checkpoints/step-000000099\n", "\0\0\0"):
        (run / "latest").write_text(text)
        done = command("train", "--resume", run)
        assert done.status == 0, done.stderr
        assert "Resumed from step-000000006, the newest intact checkpoint" in done.stderr
        assert_ends_alike(run, whole)


def test_where_every_checkpoint_is_damaged_each_is_named(command: Command, run: Path) -> None:
    folders = sorted((run / "checkpoints").iterdir())
    for folder in folders:
        flip_a_bit(folder / "training.safetensors")
    before = content(run)
    done = command("train", "--resume", run)
    assert done.status == 2
    for folder in folders:
        assert f"{folder.name}/training.safetensors: damaged" in done.stderr
    assert content(run) == before


@pytest.mark.parametrize("step", [2, 4])
def test_a_run_resumes_from_a_named_checkpoint_and_ends_the_same(
    command: Command, run: Path, whole: Path, step: int
) -> None:
    done = command("train", "--resume", run / "checkpoints" / f"step-{step:09d}")
    assert done.status == 0, done.stderr
    assert_ends_alike(run, whole)


def test_a_named_checkpoint_that_is_damaged_or_missing_is_refused_with_the_others(
    command: Command, run: Path
) -> None:
    flip_a_bit(run / "checkpoints" / "step-000000004" / "training.safetensors")
    done = command("train", "--resume", run / "checkpoints" / "step-000000004")
    assert done.status == 2
    assert "damaged" in done.stderr
    assert "the run also has step-000000002, step-000000006" in done.stderr
    done = command("train", "--resume", run / "checkpoints" / "step-000000003")
    assert done.status == 2
    assert "no such checkpoint; the run has step-000000002, step-000000004, step-000000006" in done.stderr


def test_a_checkpoint_of_an_earlier_version_without_checksums_is_accepted(
    command: Command, run: Path
) -> None:
    from safetensors.torch import save_file

    for name in ("training.safetensors", "model.safetensors"):
        file = run / LAST / name
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            kept = {key: value for key, value in (opened.metadata() or {}).items() if key != "checksum"}
        save_file(load_file(file), file, kept or None)
    facts = json.loads((run / LAST / "training.json").read_text())
    for name in ("checksum", "global_batch_size"):
        del facts[name]
    (run / LAST / "training.json").write_text(json.dumps(facts))
    done = command("train", "--resume", run, "train.max_steps=8")
    assert done.status == 0
    assert "Warning" not in done.stderr
    assert command("eval", run / LAST, "--data", run / "dataset").status == 0


def test_a_flipped_bit_in_a_model_file_is_found_when_it_is_used(
    command: Command, run: Path, tmp_path: Path
) -> None:
    model = run / LAST / "model.safetensors"
    flip_a_bit(model)
    (tmp_path / "puzzle.txt").write_text("1.3..4.12.4.4..2\n")
    for words in (
        ("eval", model, "--data", run / "dataset"),
        ("solve", tmp_path / "puzzle.txt", "--checkpoint", model),
        ("convert", model, tmp_path / "reference" / "step_6"),
    ):
        done = command(*words)
        assert done.status == 2, words
        assert f"{model}: damaged: its checksum does not match its content" in done.stderr


def test_baselines_take_no_options_of_a_model(command: Command, run: Path) -> None:
    words = ("eval", "--baselines-only", "--data", run / "dataset")
    assert command(*words).status == 0
    for options in ((run,), ("--max-steps", 3), ("--halt", "full"), ("--attempts", 2)):
        done = command(*words, *options)
        assert done.status == 2
        assert "baselines need no model" in done.stderr


def test_a_run_is_resumed_from_any_folder_and_after_it_has_moved(
    command: Command, whole: Path, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    shutil.copytree(whole / "dataset", home / "data")
    teacher = shutil.copy(whole / LAST / "model.safetensors", home / "teacher.safetensors")
    words = (
        "--output-dir",
        "run",
        "--data",
        "data",
        *MODEL,
        *LENGTH,
        "train.distill_from=teacher.safetensors",
    )
    assert command("train", *words, cwd=home).status == 0
    config = yaml.safe_load((home / "run" / "config.yaml").read_text())
    assert config["data"]["path"] == str(home / "data")
    assert config["train"]["distill_from"] == str(teacher)
    assert command("train", "--resume", home / "run", "train.max_steps=8", cwd=elsewhere).status == 0
    (home / "run").rename(elsewhere / "moved")
    assert command("train", "--resume", "moved", "train.max_steps=10", cwd=elsewhere).status == 0
    # Where the dataset has moved as well, its new place is requested once.
    (home / "data").rename(elsewhere / "data")
    done = command("train", "--resume", "moved", "train.max_steps=12", cwd=elsewhere)
    assert done.status == 2
    assert f"{home / 'data'}: the run's dataset was not found; give its folder with --data" in done.stderr
    assert command("train", "--resume", "moved", "--data", "data", cwd=elsewhere).status == 0
    assert command("train", "--resume", "moved", "train.max_steps=12", cwd=tmp_path / "home").status == 2
    assert command("train", "--resume", elsewhere / "moved", "train.max_steps=12").status == 0


def test_a_run_that_was_killed_while_its_dataset_was_built_is_resumed(
    command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    program = (
        "import os, signal, hrm_cli.data.build as build\n"
        "build._write = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from hrm_cli.cli.app import main; import sys; main(sys.argv[1:])\n"
    )
    words = [sys.executable, "-c", program, "train", "--output-dir", run, *MODEL, *DATA, *LENGTH]
    killed = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (run / "dataset").exists()
    done = command("train", "--resume", run)
    assert done.status == 0, done.stderr
    assert json.loads((run / LAST / "training.json").read_text())["step"] == 6
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
