"""Checkpoints: whole or not at all, enough to continue exactly, and refused with a reason when they do not fit."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import hrm_cli.training.checkpointing as checkpoints
from hrm_cli.checkpoints.checksums import agrees, checksum_of, is_intact, with_checksum
from hrm_cli.checkpoints.model_files import find_model_file, load_model, read_model_card
from hrm_cli.errors import CheckpointError
from hrm_cli.models.rng import StepRNG
from hrm_cli.training.loggers import MetricsFile
from hrm_cli.training.loop import train
from hrm_cli.training.resuming import load_training_state


def everything(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "training.safetensors")


@pytest.mark.parametrize("options", [{}, {"ema_decay": 0.9, "grad_clip": 1.0}])
def test_a_resumed_run_is_bit_identical_to_one_never_stopped(make_run, options) -> None:
    run, state = make_run(20, folder="whole", **options)
    whole = train(run, state).checkpoint

    first, state = make_run(20, folder="parts", checkpoint_interval=7, max_steps=7, **options)
    first.plan = type(first.plan)(7, 4.0, 10)
    # The schedule of the interrupted run is that of the whole one: warm-up and a constant rate.
    train(first, state)
    second, state = make_run(20, folder="parts", **options)
    sampler = load_training_state(second.folder, state)
    second.batches.position = sampler["position"]
    assert state.step == 7
    parts = train(second, state).checkpoint

    ours, theirs = everything(parts), everything(whole)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_a_saved_model_says_all_that_is_needed_to_use_it(make_run) -> None:
    run, state = make_run(5)
    result = train(run, state)
    model, card = load_model(result.checkpoint)
    assert (card.step, card.preset, card.facts) == (5, run.preset, run.facts)
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    assert card.shapes["inner.lm_head.weight"] == (6, 16)


def test_averaged_weights_are_what_a_checkpoint_publishes(make_run) -> None:
    run, state = make_run(12, ema_decay=0.9)
    result = train(run, state)
    published = load_file(result.checkpoint / "model.safetensors")
    assert state.average is not None
    for name, average in state.average.parameters.items():
        assert torch.equal(published[name], average)
    own = dict(state.model.named_parameters())["inner.lm_head.weight"]
    assert not torch.equal(published["inner.lm_head.weight"], own)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one_in_place(
    make_run, monkeypatch, error: Exception
) -> None:
    run, state = make_run(5)
    before = train(run, state).checkpoint
    state.step += 1

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(checkpoints, "save_tensors", full)
    with pytest.raises(CheckpointError, match=r"step-000000006: cannot be written .*No space left"):
        run.save(state)
    assert [path.name for path in (run.folder / "checkpoints").iterdir()] == [before.name]
    assert find_model_file(run.folder).parent == before


def test_others_may_read_a_checkpoint_where_the_umask_lets_them(make_run) -> None:
    run, state = make_run(5)
    before = os.umask(0o022)
    try:
        folder = train(run, state).checkpoint
    finally:
        os.umask(before)
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o644"}


def test_the_newest_and_the_best_checkpoints_are_kept(make_run) -> None:
    scores = iter([0.9, 0.5, 0.6, 0.7, 0.8])
    run, state = make_run(
        50, evaluate=lambda model: {"exact_accuracy": next(scores), "mean_steps": 1.0}, keep_checkpoints=2
    )
    train(run, state)
    kept = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    assert kept == ["step-000000010", "step-000000040", "step-000000050"]
    assert find_model_file(run.folder).parent.name == "step-000000010"
    assert find_model_file(run.folder / "latest").parent.name == "step-000000050"


def test_metrics_lines_after_the_resumed_step_are_replaced(tmp_path, make_run) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"kind": "train", "step": step}) for step in (5, 10, 15)]
    file.write_text("\n".join(lines) + '\n{"kind": "tra', encoding="utf-8")
    metrics = MetricsFile(file)
    run, _ = make_run(20)
    metrics.begin(run.plan, 10)
    metrics.logged({"kind": "train", "step": 15, "loss": 1.0})
    metrics.end()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [5, 10, 15]


@pytest.fixture
def model_file(make_run) -> Path:
    run, state = make_run(2)
    return train(run, state).checkpoint / "model.safetensors"


def rewritten(path: Path, *, metadata: dict[str, str | None] | None = None, drop: str = "") -> Path:
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    kept = {**header["__metadata__"], **(metadata or {})}
    tensors = {name: t for name, t in load_file(path).items() if not drop or not name.startswith(drop)}
    copy = path.with_name("rewritten.safetensors")
    save_file(tensors, copy, metadata={key: value for key, value in kept.items() if value is not None})
    return copy


def test_damaged_and_foreign_checkpoints_are_refused_with_the_reason(model_file, tmp_path) -> None:
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(model_file.read_bytes()[:-100])
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\x00" * 50)
    text = tmp_path / "model.txt"
    text.write_text("hello")
    (tmp_path / "empty").mkdir()
    cases = {
        truncated: "not a complete safetensors file",
        junk: "not a complete safetensors file",
        text: "not a checkpoint",
        tmp_path / "nowhere": "no such checkpoint",
        tmp_path / "empty": "contains no checkpoint",
        rewritten(model_file, metadata={"hrm_format_version": "99"}): "format version 99",
    }
    for path, reason in cases.items():
        with pytest.raises(CheckpointError, match=reason) as error:
            load_model(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metadata": {"hrm_format_version": None}}, "without hrm's header"),
        ({"metadata": {"config": "{}x"}}, "cannot be parsed"),
        ({"metadata": {"dataset": "{}"}}, "cannot be parsed"),
        ({"drop": "inner.lm_head"}, "inner.lm_head.weight is missing"),
        (
            {
                "metadata": {
                    "dataset": json.dumps(
                        {"vocab_size": 7, "seq_len": 9, "num_puzzle_identifiers": 3, "domain": {}}
                    )
                }
            },
            r"inner.embed_tokens.embedding_weight has shape \[6, 16\], expected \[7, 16\]",
        ),
    ],
)
def test_a_header_that_does_not_match_the_tensors_is_named(model_file, change, reason) -> None:
    path = rewritten(model_file, **change)
    with pytest.raises(CheckpointError, match=reason):
        load_model(path)


def test_reading_the_header_alone_knows_every_shape(model_file) -> None:
    card = read_model_card(model_file.parent)
    assert card.path == model_file
    assert card.shapes["inner.puzzle_emb.weights"] == (3, 20)


def test_resuming_with_another_architecture_is_refused(make_run) -> None:
    run, state = make_run(5)
    train(run, state)
    _, other = make_run(5)
    del other.model.inner.H_level.layers[0].mlp.down_proj
    with pytest.raises(CheckpointError, match="not part of this architecture"):
        load_training_state(run.folder, other)


def test_exploration_is_sampled_on_the_host_for_any_device_of_the_model(make_run) -> None:
    _, state = make_run(5)
    assert state.generator.device.type == "cpu"
    arch = state.model.arch.model_copy(update={"halt_exploration_prob": 0.5})
    here, there = (StepRNG(torch.Generator().manual_seed(7), 64) for _ in range(2))
    # A device without storage stands for any accelerator: what it cannot do is draw the same numbers.
    assert there.minimum_steps(arch, torch.device("meta")).device.type == "meta"
    assert here.minimum_steps(arch, torch.device("cpu")).any()
    assert here.shares(torch.device("cpu")).dtype == there.shares(torch.device("meta")).dtype
    assert here.seed() == there.seed()


def test_a_checkpoint_with_the_generator_of_a_gpu_resumes_on_the_host(make_run) -> None:
    run, state = make_run(5)
    folder = train(run, state).checkpoint
    file = folder / "training.safetensors"
    save_file(load_file(file) | {"random/exploration": torch.zeros(16, dtype=torch.uint8)}, file)
    draws = []
    for _ in range(2):
        _, resumed = make_run(5)
        load_training_state(run.folder, resumed)
        draws.append(torch.rand(4, generator=resumed.generator))
    assert torch.equal(*draws)


@pytest.mark.parametrize("rows", [3, 8, 11])
def test_a_carry_is_truncated_or_padded_with_rows_that_take_new_puzzles(make_run, rows: int) -> None:
    run, state = make_run(7, checkpoint_interval=6)
    train(run, state)
    # One step after a logged line, so that there are sums.
    named = checkpoints.checkpoint_folder(run.folder, 6)
    saved = everything(named)
    told: list[str] = []
    _, other = make_run(7, global_batch_size=rows)
    load_training_state(run.folder, other, named=named, rows=rows, warn=told.append)
    assert other.carry is not None
    kept = min(rows, 8)
    for name, ours in (
        ("z_H", other.carry.inner.z_H),
        ("steps", other.carry.steps),
        ("halted", other.carry.halted),
        ("inputs", other.carry.current.inputs),
    ):
        assert len(ours) == rows
        assert torch.equal(ours[:kept], saved[f"carry/{name}"][:kept])
    assert other.carry.halted[kept:].all()
    assert len(told) == (rows != 8)
    # What had been summed over batches of another size is not divided by the new one.
    assert bool(other.sums) == (rows == 8)


def test_checksums_are_of_content_and_find_every_change() -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.zeros(0), "c": torch.tensor(True)}
    whole = checksum_of(tensors, {"step": "3"})
    assert whole == checksum_of(dict(reversed(tensors.items())), {"step": "3"})
    changed = [
        ({**tensors, "a": tensors["a"].reshape(2, 3)}, {"step": "3"}),
        ({**tensors, "a": tensors["a"].view(torch.int32)}, {"step": "3"}),
        ({**tensors, "c": torch.tensor(False)}, {"step": "3"}),
        ({"a": tensors["a"], "d": tensors["b"], "c": tensors["c"]}, {"step": "3"}),
        (tensors, {"step": "4"}),
        (tensors, {}),
    ]
    assert len({whole, *(checksum_of(*given) for given in changed)}) == 1 + len(changed)
    assert agrees(whole, whole)
    assert not agrees(whole, f"{whole[:-1]}x")
    assert agrees(whole, None)
    assert agrees(whole, "of-a-later-version:00")
    document = with_checksum({"step": 3, "best": None})
    assert is_intact(json.loads(json.dumps(document)))
    assert not is_intact({**document, "step": 4})
