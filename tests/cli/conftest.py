"""A small run to try things on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from .copying import ONE_THREAD, copying_model

MODEL = [
    "arch.hidden_size=16", "arch.num_heads=2", "arch.forward_dtype=float32", "arch.H_layers=1", "arch.L_layers=1",
    "train.global_batch_size=8", "train.lr_warmup_steps=2", "train.log_interval=2", "train.device=cpu",
]  # fmt: skip
DATA = ["data.size=4", "data.clues=6-10", "data.num_train=32", "data.num_test=8", "data.augment=stored"]
LENGTH = [
    "train.max_steps=6", "train.checkpoint_interval=2", "train.keep_checkpoints=9", "train.eval_interval=1",
]  # fmt: skip


Done = Any
"""A command that has ended: `status`, `stdout`, `stderr`."""


@pytest.fixture
def command(run_hrm: Callable[..., Done]) -> Callable[..., Done]:
    """Runs a command in this process; a traceback fails the test."""
    return run_hrm


@pytest.fixture(scope="module")
def whole(run_hrm: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with a dataset of its own; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run_hrm("train", "--output-dir", folder, "--json", *MODEL, *DATA, *LENGTH)
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copying_model(tmp_path_factory.mktemp("checkpoint") / "model.safetensors")


@pytest.fixture
def hrm_solve(run_hrm: Callable[..., Any], checkpoint: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs `hrm solve` on text or bytes written to puzzles.txt, in the folder of that file."""

    def run(content: str | bytes | None, *options: object, **settings: Any) -> Any:
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (tmp_path / "puzzles.txt").write_bytes(data)
        return run_hrm(
            "solve",
            "puzzles.txt",
            "--checkpoint",
            checkpoint,
            *options,
            cwd=tmp_path,
            env=ONE_THREAD,
            **settings,
        )

    return run


@pytest.fixture
def in_process(run_hrm: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """`hrm solve puzzles.txt …` in `tmp_path`: status, stdout, stderr."""
    return lambda *options: astuple(run_hrm("solve", "puzzles.txt", *options, cwd=tmp_path))
