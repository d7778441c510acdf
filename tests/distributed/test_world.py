"""Several processes compute what one does: worlds of two and three gloo processes next to this process by itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from hrm_cli.config.data import DataConfig
from hrm_cli.data.build import build_dataset
from hrm_cli.data.writer import DatasetWriter
from hrm_cli.distributed.process_group import join_store
from hrm_cli.distributed.world import ALONE, World

SCRIPT = Path(__file__).with_name("ranks.py")
SIZES = (2, 3)
pytestmark = pytest.mark.slow


def write_dataset(folder: Path) -> None:
    """40 examples of 20 puzzles in 10 groups, each puzzle with an identifier of its own (11 of them)."""
    rng = np.random.default_rng(0)
    facts = {"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 11}
    with DatasetWriter(folder) as writer:
        writer.set_identifiers(["<blank>", *(f"puzzle {i}" for i in range(1, 11))])
        for split, puzzles in (("train", 10), ("test", 10)):
            inputs = rng.integers(1, 11, (19, 6)).astype(np.uint8)
            writer.split(split, seq_len=6).append(
                inputs,
                inputs[:, ::-1].copy(),
                group_sizes=np.array([1, 2, 3, 4]),
                puzzle_sizes=np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1]),
                identifiers=np.arange(1, puzzles + 1),
            )
        writer.commit(facts)


def write_arc_dataset(folder: Path, tasks: Path, augment: str) -> None:
    pair = {"input": [[1, 2], [0, 3]], "output": [[2, 1]]}
    test = [{"input": [[1, 2]], "output": [[3]]}, {"input": [[4], [5]], "output": [[6]]}]
    if not tasks.exists():
        tasks.mkdir()
        challenges = {"a": {"train": [pair], "test": test}}
        (tasks / "arc_evaluation_challenges.json").write_text(json.dumps(challenges))
    config = DataConfig(domain="arc", source=str(tasks / "arc"), num_aug=4, augment=augment, size=None)
    build_dataset(config, folder)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ranks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, script: ModuleType) -> Path:
    """What the worlds of one, two and three processes have left."""
    folder = tmp_path_factory.mktemp("worlds")
    write_dataset(folder / "data")
    for augment in ("stored", "online"):
        write_arc_dataset(folder / f"arc-{augment}", folder / "tasks", augment)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(store.port), str(folder)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(3)
    ]  # fmt: skip
    script.everything(ALONE, folder)
    for rank, process in enumerate(processes):
        _, error = process.communicate(timeout=300)
        assert process.returncode == (9 if rank == 2 else 0), error
    return folder


def training(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / (run / "latest").read_text().strip() / "training.safetensors")


def assert_same_run(ours: Path, theirs: Path) -> None:
    found, expected = training(ours), training(theirs)
    assert found.keys() == expected.keys()
    assert {name.split("/")[0] for name in expected} == {"model", "optimizer", "average", "carry", "random"}
    for name, tensor in expected.items():
        worst = (found[name].double() - tensor.double()).abs().max().item()
        # The carry's activations are not small numbers; micro-batches of one process move them as far.
        assert worst <= (1e-3 if name.startswith("carry/") else 1e-5), f"{name}: {worst}"
    ours_lines, their_lines = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (ours, theirs)
    )
    assert len(ours_lines) == len(their_lines)
    for line, other in zip(ours_lines, their_lines, strict=True):
        for timing in ("seconds", "puzzles_per_second"):
            assert line.pop(timing, 0) >= 0 <= other.pop(timing, 0)
        assert line.pop("kind") == other.pop("kind")
        # pytest.approx takes no None, which an evaluation has where there is nothing to tell.
        nothing = {name for name, value in other.items() if value is None}
        assert {name for name, value in line.items() if value is None} == nothing
        numbers = {name: value for name, value in line.items() if name not in nothing}
        assert numbers == pytest.approx(
            {k: v for k, v in other.items() if k not in nothing}, rel=1e-4, abs=1e-6
        )


@pytest.mark.parametrize("size", SIZES)
def test_the_whole_state_of_a_run_is_the_same_after_20_steps_on_any_number_of_ranks(folder, size) -> None:
    assert_same_run(folder / f"world-{size}", folder / "world-1")


@pytest.mark.parametrize("size", SIZES)
def test_ranks_that_accumulate_micro_batches_take_the_same_steps(folder, size) -> None:
    assert_same_run(folder / f"world-{size}-accumulated", folder / "world-1")


@pytest.mark.parametrize("size", SIZES)
def test_weights_embeddings_and_averages_are_the_same_bits_on_every_rank(folder, size) -> None:
    digests = json.loads((folder / f"world-{size}" / "digests.json").read_text())
    assert len(digests) == size
    assert len(set(digests)) == 1


def test_a_run_resumes_on_another_number_of_ranks_with_the_same_result(folder) -> None:
    # 7 steps on two ranks, 7 on one, 6 on three.
    assert_same_run(folder / "resumed", folder / "world-1")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("augment", ["stored", "online"])
def test_votes_of_all_ranks_give_the_candidates_and_the_submission_of_one_process(
    folder, size, augment
) -> None:
    ours, theirs = (json.loads((folder / f"world-{n}-votes-{augment}.json").read_text()) for n in (size, 1))
    assert sum(votes for answers in theirs["candidates"] for _, votes, _ in answers) == 10
    # Answers with equally many votes and equal confidence are told apart by their order.
    assert [votes for _, votes, _ in theirs["candidates"][0]].count(1) >= 3
    assert ours == theirs


@pytest.mark.parametrize("rank", range(3))
def test_every_rank_sees_the_rows_bytes_and_sums_of_all(folder, rank: int) -> None:
    found = json.loads((folder / f"small-{rank}.json").read_text())
    rows = [[0, 1], [2, 3], [10, 11], [12, 13], [20, 21], [22, 23]]
    assert found["rows"] == [
        rows, [[n > 10 for n in row] for row in rows], rows, [row[0] for row in rows],
    ]  # fmt: skip
    assert found["bytes"] == ["", "x", "xx"]
    assert (found["shared"], found["nothing"], found["first"]) == ("from 0", "", True)
    assert found["largest"] == [2, 0]
    assert found["alike"] == [0, 0, 0, 0]
    assert found["sums"] == {"a": 4.5, "b": [[30, 33], [36, 39]]}
    # 1 + 2 + 3; one rank's 5; 1 + 1 + 1; none. Whether each is summed alone, two together, or all of a dtype.
    assert found["used"] == [[6, 5, 3, None]] * 3


@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_rank_is_distinguished_from_an_error_of_this_rank(folder, rank: int) -> None:
    assert (folder / f"lost-{rank}.txt").is_file()


def test_a_single_process_returns_every_value_unchanged() -> None:
    rows = torch.arange(3)
    assert ALONE.gather_rows(rows) is rows
    assert ALONE.gather_bytes(b"x") == [b"x"]
    assert ALONE.sum({"a": rows})["a"] is rows
    assert ALONE.largest(1, 2) == (1, 2)
    assert World(1, 3).rows(12) == slice(4, 8)


def test_restarted_processes_ignore_files_left_by_dead_ones() -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = dist.HashStore()
    with ThreadPoolExecutor(2) as pool:
        for attempt in range(3):
            first, second = pool.submit(join_store, store, 0, 2), pool.submit(join_store, store, 1, 2)
            ours, theirs = first.result(30), second.result(30)
            assert not ours.check(["key"])
            ours.set("key", str(attempt))
            assert theirs.get("key") == str(attempt).encode()
