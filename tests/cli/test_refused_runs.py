"""`hrm train` refuses what it cannot do, with the reason, and leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hrm_cli.cli.running  # noqa: F401 - imported once, before commands are timed
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
def hrm(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs a command in this process; a traceback fails the test."""
    import signal

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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "DATA", "data.num_train=5"], "data.num_train: a dataset that is built already"),
        (["data.subsample_size=5"], "data.subsample_size: only for puzzles from a file"),
        (["data.min_path=5"], "data.min_path: has no meaning for the domain sudoku"),
        (["--data", "DATA", "batch_size=32"], "write eval.batch_size or train.global_batch_size"),
    ],
)
def test_a_setting_without_effect_is_refused_and_leaves_no_folder(
    hrm: Callable[..., Done], whole: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    words = [str(whole / "dataset") if word == "DATA" else word for word in arguments]
    done = hrm("train", "--output-dir", tmp_path / "out", *words, *MODEL)
    assert done.status == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "tiny"], "--resume and --preset: a resumed run keeps its own configuration"),
        (["--output-dir", "x"], "--resume and --output-dir: a resumed run keeps its own folder"),
        (["--checkpoint", "x"], "--resume and --checkpoint: a resumed run keeps its own weights"),
        (["--seed", "1"], "--resume and --seed: a resumed run keeps its own seeds"),
        (["train.seed=1"], "train.seed: a resumed run has begun already"),
        (["train.init_from=x"], "train.init_from: a resumed run has begun already"),
    ],
)
def test_an_option_of_new_runs_is_refused_for_a_resumed_one(
    hrm: Callable[..., Done], run: Path, arguments: list[str], message: str
) -> None:
    before = (run / "config.yaml").read_bytes()
    done = hrm("train", "--resume", run, *arguments)
    assert done.status == 2
    assert message in done.stderr
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named_wherever_they_are_used(
    hrm: Callable[..., Done], run: Path, tmp_path: Path, value: float
) -> None:
    file = run / "checkpoints" / "step-000000006" / "model.safetensors"
    (tmp_path / "puzzle.txt").write_text("1.3..4.12.4.4..2\n")
    broken = tmp_path / "broken.safetensors"
    _rewrite(file, broken, "inner.lm_head.weight", value)
    for command in (
        ("eval", broken, "--data", run / "dataset"),
        ("solve", tmp_path / "puzzle.txt", "--checkpoint", broken),
        ("train", "--checkpoint", broken, "--data", run / "dataset", "--output-dir", tmp_path / "new"),
    ):
        done = hrm(*command)
        assert done.status == 2, command
        assert f"{broken}: its weights are not finite: inner.lm_head.weight" in done.stderr
    # Converting keeps every bit, and says so.
    done = hrm("convert", broken, tmp_path / "reference" / "step_6")
    assert done.status == 0
    assert "weights: inner.lm_head.weight hold NaN or infinity" in done.stdout + done.stderr


def _rewrite(source: Path, target: Path, name: str, value: float) -> None:
    """A model file as another program would write it, with one number of a tensor replaced."""
    from safetensors import safe_open

    tensors = load_file(source)
    tensors[name].view(-1)[3] = value
    assert isinstance(tensors[name], torch.Tensor)
    with safe_open(source, framework="pt") as file:
        metadata = dict(file.metadata())
    save_file(tensors, target, {key: text for key, text in metadata.items() if key != "checksum"})
