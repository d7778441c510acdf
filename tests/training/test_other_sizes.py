"""Training one set of weights on several sizes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hrm_cli.config.data import DataConfig
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.data.other_sizes import AlternatingBatches, rows_of
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.runs.execution import train_run
from hrm_cli.runs.request import TrainRequest

ARCH = [
    *["arch.core=hrm", "arch.mixer=units", "arch.hidden_size=16", "arch.num_heads=2", "arch.expansion=2"],
    *["arch.H_layers=1", "arch.L_layers=1", "arch.H_cycles=1", "arch.L_cycles=1", "arch.puzzle_emb_ndim=0"],
    *[
        "arch.pos_encodings=none",
        "arch.halt_max_steps=3",
        "arch.q_continue=false",
        "arch.forward_dtype=float32",
    ],
    *[
        "train.global_batch_size=8",
        "train.epochs=2",
        "train.ema_decay=0.9",
        "train.device=cpu",
        "train.stagger=true",
    ],
    *["train.checkpoint_interval=1", "train.log_interval=2", "train.eval_interval=1", "eval.max_steps=2"],
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Datasets of 4×4, 6×6 and 8×8 puzzles."""
    parent = tmp_path_factory.mktemp("sizes")
    for size, count in ((4, 40), (6, 60), (8, 20)):
        config = DataConfig(size=size, num_train=count, num_test=5)
        build_dataset(config, parent / str(size))
    return {size: parent / str(size) for size in (4, 6, 8)}


def settings(folders: dict[int, Path], *sizes: int) -> list[str]:
    return [*ARCH, f"data.other_sizes=[{', '.join(str(folders[size]) for size in sizes)}]"]


def trained(folders: dict[int, Path], output: Path, *more: str) -> Path:
    request = TrainRequest(
        preset="base", overrides=[*settings(folders, 6, 8), *more], data=folders[4], output_dir=output
    )
    return train_run(request).folder


def test_batches_have_one_size_each_and_every_puzzle_is_seen_once_an_epoch(folders) -> None:
    datasets = [Dataset.open(folders[size]) for size in (4, 6, 8)]
    rows = [rows_of(dataset, datasets[0], 32) for dataset in datasets]
    assert rows == [32, 32 * 64 // 216, 32 * 64 // 512]
    batches = AlternatingBatches(datasets, 8)
    counts: Counter[int] = Counter()
    for _ in range(round(40 / 8 + 60 / rows_of(datasets[1], datasets[0], 8) + 20)):
        batch = next(batches)
        counts[batch.inputs.shape[1]] += len(batch.inputs)
    assert (counts[16], counts[36], counts[64]) == (40, 60, 20)


def test_the_stream_of_all_sizes_continues_from_a_saved_position(folders) -> None:
    datasets = [Dataset.open(folders[size]) for size in (6, 4)]
    stream = AlternatingBatches(datasets, 8, seed=3)
    for _ in range(7):
        next(stream)
    other = AlternatingBatches(datasets, 8, seed=5)
    other.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    for _ in range(20):
        assert (next(stream).inputs == next(other).inputs).all()
    with pytest.raises(DatasetError, match="2 sizes"):
        AlternatingBatches(datasets, 8).load_state_dict(TrainingBatches(datasets[0], 8).state_dict())


def test_ranks_share_batches_of_every_size(folders) -> None:
    datasets = [Dataset.open(folders[size]) for size in (4, 8)]
    whole = AlternatingBatches(datasets, 32)
    parts = [AlternatingBatches(datasets, 32, rank=rank, world_size=2) for rank in (0, 1)]
    for _ in range(8):
        halves = [next(part).inputs for part in parts]
        assert (np.concatenate(halves) == next(whole).inputs).all()


def test_one_size_twice_is_refused(folders) -> None:
    datasets = [Dataset.open(folders[size]) for size in (4, 6)]
    with pytest.raises(DatasetError, match="36 cells"):
        AlternatingBatches([*datasets, datasets[1]], 8)


def test_a_run_on_several_sizes_trains_and_evaluates_all_of_them(folders, tmp_path) -> None:
    run = trained(folders, tmp_path / "run")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = [record for record in records if record["kind"] == "eval"]
    parts = [evaluated[-1][f"exact_accuracy/{size}x{size}"] for size in (4, 6, 8)]
    assert evaluated[-1]["exact_accuracy"] == pytest.approx(sum(parts) / 3)
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses[-1] < losses[0]
    saved = load_file(next(run.glob("checkpoints/*/training.safetensors")))
    assert {name.split("/")[1] for name in saved if name.startswith("carries/")} == {"16", "36", "64"}


def test_a_run_on_several_sizes_resumes_exactly(folders, tmp_path) -> None:
    whole = trained(folders, tmp_path / "whole", "train.max_steps=9")
    part = trained(folders, tmp_path / "part", "train.max_steps=5")
    train_run(TrainRequest(resume=str(part), overrides=["train.max_steps=9"]))
    one, other = (
        load_file(run / "checkpoints" / "step-000000009" / "model.safetensors") for run in (whole, part)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("mixer", ["neighbors", "edges"])
def test_mazes_of_several_sizes_train_one_model(tmp_path, mixer: str) -> None:
    for size in (4, 6):
        build_dataset(DataConfig(domain="maze", size=size, num_train=24, num_test=4), tmp_path / str(size))
    changes = [f"arch.mixer={mixer}", f"data.other_sizes=[{tmp_path / '6'}]"]
    recursion = ["train.objective=rsm", "train.carry_over=0.5", "train.stagger=false", "arch.halting=certain"]
    request = TrainRequest(
        preset="base",
        overrides=[*ARCH, *changes, *recursion],
        data=tmp_path / "4",
        output_dir=tmp_path / "run",
    )
    records = [
        json.loads(line) for line in (train_run(request).folder / "metrics.jsonl").read_text().splitlines()
    ]
    evaluated = [record for record in records if record["kind"] == "eval"][-1]
    assert {"exact_accuracy/4x4", "exact_accuracy/6x6"} <= set(evaluated)


def test_several_sizes_need_weights_that_do_not_depend_on_the_size(folders, tmp_path) -> None:
    request = TrainRequest(
        preset="small",
        overrides=[f"data.other_sizes=[{folders[6]}]"],
        data=folders[4],
        output_dir=tmp_path / "run",
    )
    with pytest.raises(ConfigError, match=r"data\.other_sizes: arch\.mixer"):
        train_run(request)
    assert not (tmp_path / "run").exists()
