"""The command in this process, which has torch already, and a small run to try things on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import hrm_cli.cli.running  # noqa: F401 - imported once, for every command
from hrm_cli.cli.app import main

MODEL = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.forward_dtype=float32", "arch.H_layers=1", "arch.L_layers=1",
    "train.global_batch_size=8", "train.lr_warmup_steps=2", "train.log_interval=2", "train.device=cpu",
]  # fmt: skip
DATA = ["data.size=4", "data.clues=6-10", "data.num_train=32", "data.num_test=8", "data.augment=stored"]
LENGTH = [
    "train.max_steps=6", "train.checkpoint_interval=2", "train.keep_checkpoints=9", "train.eval_interval=1",
]  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command in this process; a traceback fails the test."""

    def run(*arguments: object, cwd: Path | None = None) -> Done:
        before = signal.getsignal(signal.SIGTERM)
        if cwd is not None:
            monkeypatch.chdir(cwd)
        try:
            with pytest.raises(SystemExit) as end:
                main([str(argument) for argument in arguments])
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Done(int(end.value.code or 0), out, err)

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with a dataset of its own; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.raises(SystemExit) as end:
        main(["train", "--output-dir", str(folder), "--json", *MODEL, *DATA, *LENGTH])
    assert end.value.code == 0
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))
