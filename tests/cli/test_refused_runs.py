"""`hrm train` refuses what it cannot do, with the reason, and leaves no files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import write_model_file
from hrm_cli.config.presets import load_preset
from hrm_cli.models.registry import build_model

from .conftest import DATA, MODEL, Done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "DATA", "data.num_train=5"], "data.num_train: has no effect on an existing dataset"),
        (["data.subsample_size=5"], "data.subsample_size: only for puzzles from a file"),
        (["data.min_path=5"], "data.min_path: has no effect for the domain sudoku"),
        (["--data", "DATA", "batch_size=32"], "write eval.batch_size or train.global_batch_size"),
    ],
)
def test_a_setting_without_effect_is_refused_and_leaves_no_folder(
    command: Callable[..., Done], whole: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    words = [str(whole / "dataset") if word == "DATA" else word for word in arguments]
    done = command("train", "--output-dir", tmp_path / "out", *words, *MODEL)
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
        (["train.seed=1"], "train.seed: a resumed run keeps"),
        (["train.init_from=x"], "train.init_from: a resumed run keeps"),
    ],
)
def test_an_option_of_new_runs_is_refused_for_a_resumed_one(
    command: Callable[..., Done], run: Path, arguments: list[str], message: str
) -> None:
    before = (run / "config.yaml").read_bytes()
    done = command("train", "--resume", run, *arguments)
    assert done.status == 2
    assert message in done.stderr
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_weights_are_named_wherever_they_are_used(
    command: Callable[..., Done], run: Path, tmp_path: Path, value: float
) -> None:
    file = run / "checkpoints" / "step-000000006" / "model.safetensors"
    (tmp_path / "puzzle.txt").write_text("1.3..4.12.4.4..2\n")
    broken = tmp_path / "broken.safetensors"
    _rewrite(file, broken, "inner.lm_head.weight", value)
    for words in (
        ("eval", broken, "--data", run / "dataset"),
        ("solve", tmp_path / "puzzle.txt", "--checkpoint", broken),
        ("train", "--checkpoint", broken, "--data", run / "dataset", "--output-dir", tmp_path / "new"),
    ):
        done = command(*words)
        assert done.status == 2, words
        assert f"{broken}: its weights are not finite: inner.lm_head.weight" in done.stderr
    # Converting keeps every bit, and says so.
    done = command("convert", broken, tmp_path / "reference" / "step_6")
    assert done.status == 0
    assert "weights: inner.lm_head.weight contain NaN or infinity" in done.stdout + done.stderr


def _rewrite(source: Path, target: Path, name: str, value: float) -> None:
    """A model file as another program would write it, with one number of a tensor replaced."""
    from safetensors import safe_open

    tensors = load_file(source)
    tensors[name].view(-1)[3] = value
    assert isinstance(tensors[name], torch.Tensor)
    with safe_open(source, framework="pt") as file:
        metadata = dict(file.metadata())
    save_file(tensors, target, {key: text for key, text in metadata.items() if key != "checksum"})


@pytest.mark.parametrize("has_data", [True, False])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["--preset", "tiny", "--checkpoint", "MODEL", "arch.hidden_size=32"],
            "do not match its architecture",
        ),
        (
            ["train.distill_from=OTHER"],
            "cannot be the teacher for this dataset: its vocab_size is 11, the dataset's is 6",
        ),
        (["train.distill_from=nowhere.safetensors"], "no such checkpoint"),
        (["train.init_from=OTHER"], "do not match its architecture"),
        (["train.freeze=network"], "name a checkpoint to start from in train.init_from"),
        (["train.init_from=MODEL", "train.freeze=network", "puzzle_emb_ndim=0"], "use train.freeze=none"),
    ],
)
def test_a_refused_run_leaves_nothing_so_that_it_can_be_tried_again(
    command: Callable[..., Done],
    whole: Path,
    tmp_path: Path,
    settings: list[str],
    message: str,
    has_data: bool,
) -> None:
    other = tmp_path / "other.safetensors"
    _write_model_of_9x9(other)
    model = whole / "checkpoints" / "step-000000006" / "model.safetensors"
    words = [word.replace("MODEL", str(model)).replace("OTHER", str(other)) for word in settings]
    size = [word for word in MODEL if not any(word.partition("=")[0] in other for other in words)]
    data = ["--data", str(whole / "dataset")] if has_data else DATA
    out = tmp_path / "deep" / "out"
    done = command("train", "--output-dir", out, *words, *size, *data)
    assert done.status == 2
    assert message in done.stderr
    assert "Built" not in done.stderr  # refused before a dataset is made in vain
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    done = command("train", "--output-dir", out, *MODEL, *data, "train.max_steps=2")
    assert done.status == 0, done.stderr


def test_a_run_refused_after_its_dataset_was_built_leaves_nothing_either(
    command: Callable[..., Done], whole: Path, tmp_path: Path
) -> None:
    model = whole / "checkpoints" / "step-000000006" / "model.safetensors"
    broken = tmp_path / "broken.safetensors"
    _rewrite(model, broken, "inner.lm_head.weight", float("nan"))
    done = command("train", "--checkpoint", broken, "--output-dir", tmp_path / "out", *DATA)
    assert done.status == 2
    assert "Built 32 training examples" in done.stderr
    assert "its weights are not finite" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [broken.name]


def _write_model_of_9x9(path: Path) -> None:
    preset = load_preset("tiny", MODEL)
    facts = DatasetFacts(11, 81, 1, {"name": "sudoku"})
    model = build_model(preset.arch, facts.vocab_size, facts.seq_len, 1)
    write_model_file(path, model.state_dict(), preset, 1, facts)
