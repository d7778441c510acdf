"""Runs that are watched: state, curves, TensorBoard, Weights & Biases, the plan, time estimates."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import Preset
from hrm_cli.config.train import TrainConfig
from hrm_cli.errors import ConfigError, TrainingDiverged
from hrm_cli.runs import listeners
from hrm_cli.runs.folder import LOCK_FILE, RunStatus, read_status
from hrm_cli.runs.listeners import FailSafe, TensorBoard, check_trackers, make_trackers
from hrm_cli.runs.plan import plan_run, seconds_left
from hrm_cli.runs.records import read_run
from hrm_cli.training.loop import train
from hrm_cli.training.state import Plan

FACTS = DatasetFacts(6, 16, 1, {"name": "sudoku", "size": 4})
ARCH = ArchConfig(hidden_size=16, num_heads=2, H_layers=1, L_layers=1, H_cycles=1, L_cycles=1)


def points(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard would show: the newest value of every step that no later file has purged."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir(), key=lambda path: int(path.suffix[1:])):
        data, place = file.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            if event.HasField("session_log"):
                for of_tag in found.values():
                    for step in [step for step in of_tag if step >= event.step]:
                        del of_tag[step]
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def evaluate(model: Any) -> dict[str, float]:
    return {
        "exact_accuracy": 0.25,
        "cell_accuracy": 0.5,
        "mean_steps": 2.0,
        "q_halt_accuracy": 0.75,
        "puzzles": 4,
    }


def test_tensorboard_gets_the_very_figures_of_metrics_jsonl(make_run: Any, tmp_path: Path) -> None:
    from hrm_cli.training.loggers import MetricsFile

    (tmp_path / "run").mkdir()
    listeners = (MetricsFile(tmp_path / "run" / "metrics.jsonl"), TensorBoard(tmp_path / "run"))
    run, state = make_run(20, evaluate=evaluate, listeners=listeners)
    train(run, state)
    shown = points(tmp_path / "run" / "tensorboard")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = {record["step"]: record["loss"] for record in records if record["kind"] == "train"}
    assert shown["train/loss"] == pytest.approx(losses)
    assert set(shown["eval/exact_accuracy"]) == {10, 20}


def test_a_resumed_or_rewound_run_leaves_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    plan = Plan(30, 1.0, 10)

    def log(board: TensorBoard, step: int, loss: float) -> None:
        board.logged({"kind": "train", "step": step, "loss": loss, "best": True, "words": "no figure"})

    first = TensorBoard(tmp_path)
    first.begin(plan, 0)
    for step in (5, 10, 15):
        log(first, step, float(step))
    first.rewound(10)
    log(first, 15, 0.5)
    first.end()
    again = TensorBoard(tmp_path)
    again.begin(plan, 10)
    log(again, 15, 0.25)
    again.end()
    assert points(tmp_path / "tensorboard") == {"train/loss": {5: 5.0, 10: 10.0, 15: 0.25}}


@pytest.mark.slow
def test_weights_and_biases_stays_offline_unless_asked_and_keeps_the_figures_in_the_run_folder(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[object] = []
        server.settimeout(0.2)
        stop = threading.Event()

        def listen() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                calls.append(connection)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        network = {
            "WANDB_BASE_URL": address,
            "HTTP_PROXY": address,
            "HTTPS_PROXY": address,
            "WANDB_API_KEY": "0" * 40,
        }
        program = (
            "import sys; from pathlib import Path\n"
            "from hrm_cli.config.schema import Preset, TrainConfig\n"
            "from hrm_cli.runs.listeners import make_trackers\n"
            "from hrm_cli.training.state import Plan\n"
            "preset = Preset(train=TrainConfig(loggers=['wandb']))\n"
            "(board,) = make_trackers(Path(sys.argv[1]), preset, print)\n"
            "board.begin(Plan(10, 1.0, 5), 0)\n"
            "board.logged({'kind': 'train', 'step': 4, 'loss': 0.123456789})\n"
            "board.end()\n"
        )
        known = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
        try:
            done = subprocess.run(
                [sys.executable, "-c", program, str(tmp_path)],
                env=known | network, capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
        finally:
            stop.set()
            thread.join()
    assert done.stdout == "", "stdout belongs to the command, and no warning was printed"
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"0.123456789" in file.read_bytes()
    assert calls == []


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_reported_with_the_extra_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        listeners.importlib.util, "find_spec", lambda wanted: None if wanted == package else find(wanted)
    )
    with pytest.raises(ConfigError, match=rf"{package} is not installed: pip install 'hrm-cli\[{name}\]'"):
        check_trackers([name])


def test_loggers_are_named_in_a_list_or_by_commas_and_unknown_ones_are_refused() -> None:
    assert TrainConfig(loggers="tensorboard, wandb").loggers == ("tensorboard", "wandb")
    assert make_trackers(Path("run"), Preset(), print) == []
    with pytest.raises(ValueError, match="tensorboard"):
        TrainConfig(loggers=["mlflow"])


def test_a_tracker_that_fails_is_switched_off_with_one_warning_and_the_run_continues(make_run: Any) -> None:
    class Broken(TensorBoard):
        def logged(self, record: dict[str, Any]) -> None:
            raise OSError("the disk is full")

    warnings: list[str] = []
    run, state = make_run(20)
    run.listeners = (FailSafe("tensorboard", Broken(run.folder), warnings.append),)
    assert train(run, state).step == 20
    assert warnings == ["tensorboard is disabled: OSError: the disk is full"]


def test_state_of_a_run_is_what_it_was_last_doing(tmp_path: Path) -> None:
    assert read_status(tmp_path)[0] == "unknown"
    with RunStatus(tmp_path, 9) as status:
        assert read_status(tmp_path) == ("running", "", 9)
        status.ended("patience")
    assert read_status(tmp_path) == ("finished", "patience", 9)
    assert not (tmp_path / LOCK_FILE).exists()
    with RunStatus(tmp_path, 9) as status:
        status.ended("interrupted")
    assert read_status(tmp_path)[0] == "interrupted"
    for error, state in ((TrainingDiverged("the loss is nan"), "diverged"), (ValueError("x"), "failed")):
        with pytest.raises(type(error)), RunStatus(tmp_path, 9):
            raise error
        assert read_status(tmp_path)[0] == state


@pytest.mark.skipif(sys.platform == "win32", reason="file locks of another kind")
def test_a_run_that_was_killed_counts_as_interrupted_and_not_as_running(tmp_path: Path) -> None:
    program = (
        "import sys, os; from pathlib import Path; from hrm_cli.runs.folder import RunStatus\n"
        "with RunStatus(Path(sys.argv[1]), 5):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert read_status(tmp_path) == ("interrupted", "killed", 5)


def a_run(folder: Path, lines: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("purpose: a test\n")
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def test_curves_skip_invalid_lines_and_use_the_last_of_repeated_steps(tmp_path: Path) -> None:
    lines = [
        '{"kind": "train", "step": 10, "loss": 2.0, "exact_accuracy": NaN}',
        '{"kind": "train", "step": 20, "loss": 1.0, "seconds": 5.5}',
        '{"kind": "eval", "step": 20, "exact_accuracy": 0.5, "cell_accuracy": 0.8}',
        "not json", "[1, 2]", '{"kind": "train"}', "",
        '{"kind": "train", "step": 20, "loss": 0.75}',
        '{"kind": "eval", "step": 30, "exact_accuracy": 0.5, "cell_accuracy": 0.9}',
        '{"kind": "rollback", "step": 30}',
        '{"kind": "train", "step": 40, "lo',
    ]  # fmt: skip
    run = read_run(a_run(tmp_path / "run", lines))
    assert run.curve("train", "loss").steps == [10, 20]
    assert run.curve("train", "loss").values == [2.0, 0.75]
    assert run.curve("train", "exact_accuracy").values == []
    assert run.best is not None
    assert (run.best["step"], run.step) == (30, 30)
    assert run.junk == 5


def test_plan_counts_examples_tokens_flops_and_the_checkpoints_that_exist_at_once(
    tmp_path: Path,
) -> None:
    preset = Preset(arch=ARCH, train=TrainConfig(global_batch_size=8, keep_checkpoints=3, ema_decay=0.9))
    plan = Plan(100, steps_per_epoch=4.0, eval_every=10)
    found = plan_run(preset, FACTS, plan, "float32", tmp_path)
    assert (found.steps, found.epochs, found.examples, found.tokens) == (100, 25, 800, 800 * 16)
    assert found.disk == 5 * found.checkpoint
    assert found.fits_on_disk
    longer = plan_run(preset, FACTS, Plan(200, 4.0, 10), "float32", tmp_path)
    assert longer.flops == 2 * found.flops
    halves = preset.model_copy(update={"train": preset.train.model_copy(update={"accumulation_steps": 2})})
    assert plan_run(halves, FACTS, plan, "float32", tmp_path).memory < found.memory


def test_a_checkpoint_on_disk_is_as_large_as_the_plan_says(make_run: Any) -> None:
    run, state = make_run(6, ema_decay=0.9)
    folder = train(run, state).checkpoint
    size = sum(file.stat().st_size for file in folder.iterdir())
    planned = plan_run(run.preset, run.facts, run.plan, "float32", run.folder).checkpoint
    # Headers and random states come on top; in a model this small they count.
    assert planned <= size <= planned + 30_000


def test_the_remaining_time_accounts_for_deeper_steps_later() -> None:
    plain = Preset(arch=ARCH)
    deeper = Preset(arch=ARCH, train=TrainConfig(depth_schedule="1x1@0 8x1@0.5"))
    plan = Plan(1000, 1.0, 10)
    assert seconds_left(0.5, 0, plan, plain, FACTS) == pytest.approx(500)
    assert seconds_left(0.5, 900, plan, plain, FACTS) == pytest.approx(50)
    assert seconds_left(0.5, 0, plan, deeper, FACTS) > 600
    assert seconds_left(0.5, 600, plan, deeper, FACTS) == pytest.approx(200)
