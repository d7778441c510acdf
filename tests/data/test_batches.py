from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hrm_cli.config.data import DataConfig
from hrm_cli.data.batches import (
    Batch,
    TrainingBatches,
    epoch_order,
    evaluation_batches,
    steps_per_epoch,
    total_steps,
)
from hrm_cli.data.build import build_dataset
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.puzzles.sudoku.domain import SudokuDomain


@pytest.fixture
def general(dataset: Path) -> Dataset:
    return Dataset.open(dataset)


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("online") / "dataset"
    build_dataset(DataConfig(size=4, num_train=37, num_test=300, augment="online", num_aug=9), folder)
    return Dataset.open(folder)


def same(a: Batch, b: Batch) -> bool:
    fields = ("inputs", "labels", "puzzle_identifiers")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


def joined(batches: list[Batch]) -> Batch:
    fields = ("inputs", "labels", "puzzle_identifiers")
    return Batch(*(np.concatenate([getattr(batch, name) for batch in batches]) for name in fields))


def test_an_epoch_takes_one_whole_puzzle_of_every_group(general: Dataset) -> None:
    owner = np.repeat(np.arange(10), np.diff(general.puzzle_indices))
    group = np.repeat(np.arange(4), np.diff(general.group_indices))
    drawn = Counter()
    for seed in range(200):
        order = epoch_order(general, np.random.default_rng(seed))
        puzzles = list(dict.fromkeys(owner[order]))
        assert sorted(group[puzzles]) == [0, 1, 2, 3]
        for puzzle in puzzles:
            examples = order[owner[order] == puzzle]
            first, end = general.puzzle_indices[puzzle : puzzle + 2]
            assert sorted(examples) == list(range(first, end))
        # A puzzle's examples stand together, not scattered over the epoch.
        assert np.count_nonzero(np.diff(owner[order])) == 3
        drawn.update(puzzles)
    assert set(drawn) == set(range(10))


def test_examples_of_a_puzzle_come_in_every_order(general: Dataset) -> None:
    orders = {
        tuple(o for o in epoch_order(general, np.random.default_rng(seed)) if 3 <= o < 6)
        for seed in range(300)
    }
    assert len(orders - {()}) == 6


def test_batches_are_full_and_run_across_epochs(general: Dataset) -> None:
    batches = TrainingBatches(general, 5, seed=3)
    stream = joined(list(islice(batches, 40)))
    assert stream.inputs.shape == (200, 6)
    epochs = [
        epoch_order(general, np.random.default_rng([3, 0, epoch, 0])) for epoch in range(batches.epoch + 1)
    ]
    expected = np.concatenate(epochs)[:200]
    assert np.array_equal(stream.inputs[:, 0], expected % 11)
    owner = np.repeat(np.arange(1, 11), np.diff(general.puzzle_indices))
    assert np.array_equal(stream.puzzle_identifiers, owner[expected])


def test_a_batch_larger_than_an_epoch_takes_several(general: Dataset) -> None:
    batch = next(TrainingBatches(general, 100))
    assert batch.inputs.shape == (100, 6)


def test_ignored_labels_become_minus_one_hundred_and_types_are_int32(general: Dataset) -> None:
    batch = next(TrainingBatches(general, 8))
    assert {batch.inputs.dtype, batch.labels.dtype, batch.puzzle_identifiers.dtype} == {np.dtype(np.int32)}
    assert (batch.labels[:, 0] == -100).all()
    assert np.array_equal(batch.labels == -100, (batch.inputs == 0) | (np.arange(6) == 0))


@pytest.mark.parametrize("kind", ["general", "online"])
@pytest.mark.parametrize("taken", [0, 1, 2, 3, 7, 13])
def test_a_stream_resumes_bit_for_bit_at_any_position(
    request: pytest.FixtureRequest, kind: str, taken: int
) -> None:
    dataset = request.getfixturevalue(kind)
    whole = list(islice(TrainingBatches(dataset, 6, seed=1), taken + 9))
    first = TrainingBatches(dataset, 6, seed=1)
    for _ in range(taken):
        next(first)
    state = json.loads(json.dumps(first.state_dict()))
    second = TrainingBatches(dataset, 6, seed=99)
    second.load_state_dict(state)
    for expected, batch in zip(whole[taken:], islice(second, 9), strict=True):
        assert same(expected, batch)


def test_two_seeds_give_two_streams_and_one_seed_one(general: Dataset) -> None:
    first, second, other = (TrainingBatches(general, 50, seed=seed) for seed in (1, 1, 2))
    batch = next(first)
    assert same(batch, next(second))
    assert not same(batch, next(other))


@pytest.mark.parametrize("kind", ["general", "online"])
def test_the_slices_of_all_ranks_make_the_batch_of_one(request: pytest.FixtureRequest, kind: str) -> None:
    dataset = request.getfixturevalue(kind)
    alone = TrainingBatches(dataset, 12)
    ranks = [TrainingBatches(dataset, 12, rank=rank, world_size=3) for rank in range(3)]
    for _ in range(8):
        assert same(next(alone), joined([next(rank) for rank in ranks]))
    assert alone.state_dict() == ranks[2].state_dict()


def test_a_batch_that_cannot_be_shared_is_refused(general: Dataset) -> None:
    with pytest.raises(ConfigError, match="global_batch_size 10 cannot be divided among 4"):
        TrainingBatches(general, 10, world_size=4)


def test_the_state_of_another_dataset_is_refused(general: Dataset, online: Dataset) -> None:
    state = TrainingBatches(online, 4).state_dict()
    with pytest.raises(DatasetError, match=r"num_groups is 4, .* trained on 37"):
        TrainingBatches(general, 4).load_state_dict(state)


def test_online_augmentation_samples_new_valid_copies_at_every_visit(online: Dataset) -> None:
    domain = SudokuDomain(4)
    batches = TrainingBatches(online, 37)
    seen = set()
    for batch in islice(batches, 20):
        for puzzle, answer in zip(batch.inputs, batch.labels, strict=True):
            assert domain.verify(domain.decode(puzzle), domain.decode(answer)).ok
            seen.add(puzzle.tobytes())
    assert len(seen) > 20 * 37 * 0.9


def test_online_augmentation_never_makes_a_test_puzzle(online: Dataset) -> None:
    test = Dataset.open(online.directory, "test")
    held_out = {row.tobytes() for row in test.gather(np.arange(test.num_examples))[0]}
    assert len(held_out) == 300
    visited = {row.tobytes() for batch in islice(TrainingBatches(online, 500), 40) for row in batch.inputs}
    assert len(visited) > 10_000
    assert not held_out & visited


def test_online_augmentation_needs_a_domain_in_the_metadata(online: Dataset, tmp_path: Path) -> None:
    file = online.directory / "train" / "dataset.json"
    text = file.read_text()
    file.write_text(json.dumps({**json.loads(text), "domain": None}))
    try:
        with pytest.raises(DatasetError, match=r"dataset\.json: augment is online, but domain is missing"):
            TrainingBatches(Dataset.open(online.directory), 4)
    finally:
        file.write_text(text)


def test_evaluation_sees_every_example_once_in_order(general: Dataset) -> None:
    batches = list(evaluation_batches(general, 8))
    assert [len(batch.inputs) for batch in batches] == [8, 8, 3]
    assert np.concatenate([batch.examples for batch in batches]).tolist() == list(range(19))
    assert np.array_equal(joined(list(batches)).inputs[:, 0], np.arange(19) % 11)
    assert all((batch.examples >= 0).all() for batch in batches)


def test_evaluation_can_be_limited(general: Dataset) -> None:
    assert sum(len(batch.inputs) for batch in evaluation_batches(general, 8, limit=10)) == 10
    assert sum(len(batch.inputs) for batch in evaluation_batches(general, 8, limit=99)) == 19


def test_padding_rows_are_blank_and_marked(general: Dataset) -> None:
    *_, last = evaluation_batches(general, 8, pad=True)
    assert (last.examples >= 0).tolist() == [True] * 3 + [False] * 5
    assert (last.inputs[3:] == 0).all()
    assert (last.labels[3:] == -100).all()
    assert (last.puzzle_identifiers[3:] == 0).all()
    assert last.inputs.shape == (8, 6)


@pytest.mark.parametrize("pad", [False, True])
def test_ranks_share_an_evaluation(general: Dataset, pad: bool) -> None:
    ranks = [list(evaluation_batches(general, 8, pad=pad, rank=rank, world_size=4)) for rank in range(4)]
    assert {len(batches) for batches in ranks} == {3}
    shared = [
        batch.examples[batch.examples >= 0] for batches in zip(*ranks, strict=True) for batch in batches
    ]
    assert np.concatenate(shared).tolist() == list(range(19))
    if pad:
        assert {len(batch.inputs) for batches in ranks for batch in batches} == {2}


def test_steps_follow_the_formula(general: Dataset) -> None:
    mean = 19 / 10
    assert steps_per_epoch(general, 5) == 4 * mean / 5
    assert total_steps(100, 4, mean, 5) == int(100 * 4 * mean / 5)
    assert total_steps(1, 4, mean, 100) == 0
