"""Hints: easier versions of puzzles, drawn while training or stored, from one more given up to all of them."""

from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hrm_cli.config.data import DataConfig
from hrm_cli.data.augmentation import OnlineAugmentation, with_hints
from hrm_cli.data.batches import TrainingBatches
from hrm_cli.data.build import build_dataset
from hrm_cli.data.fingerprints import fingerprints
from hrm_cli.data.format import Dataset
from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain


def rows(seed: int, count: int = 200, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Answers, and inputs with any number of blanks from none to all."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, 6, (count, width)).astype(np.uint8)
    blank = rng.random((count, width)) < rng.random((count, 1))
    return np.where(blank, np.uint8(BLANK), labels), labels


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 1.0]))
def test_hints_only_turn_blanks_into_their_answers_and_at_least_one_of_them(seed: int, share: float) -> None:
    inputs, labels = rows(seed)
    before = inputs.copy()
    hinted = with_hints(inputs, labels, BLANK, share, np.random.default_rng(seed))
    assert np.array_equal(inputs, before)
    assert ((hinted == inputs) | ((inputs == BLANK) & (hinted == labels))).all()
    changed = (hinted != inputs).any(axis=1)
    if share == 0:
        assert not changed.any()
    if share == 1:
        assert np.array_equal(changed, (inputs == BLANK).any(axis=1))


def test_the_number_of_givens_added_is_uniform_from_one_to_all_so_that_solved_grids_occur() -> None:
    labels = np.full((40_000, 16), 5, np.uint8)
    inputs = labels.copy()
    inputs[:, :8] = BLANK
    hinted = with_hints(inputs, labels, BLANK, 0.5, np.random.default_rng(0))
    left = (hinted == BLANK).sum(axis=1)
    counts = np.bincount(left, minlength=9)
    # Half of the rows as they were; the others spread over none to seven empty cells.
    assert counts[8] == pytest.approx(20_000, rel=0.03)
    assert counts[:8] == pytest.approx(np.full(8, 2500), rel=0.08)
    # Every blank is as likely to be given away as any other.
    assert (hinted != BLANK)[:, :8].mean(axis=0) == pytest.approx(np.full(8, 0.5 * 4.5 / 8), rel=0.05)


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("hints") / "dataset"
    # Easy test puzzles: hints would make many of them by chance if nothing prevented it.
    config = DataConfig(
        size=4, clues="13-15", num_train=60, num_test=2000, num_validation=500, augment="online", hints=0.5
    )
    build_dataset(config, folder)
    return Dataset.open(folder)


def test_a_stream_with_hints_resumes_bit_for_bit(online: Dataset) -> None:
    whole = list(islice(TrainingBatches(online, 7, seed=3), 30))
    first = TrainingBatches(online, 7, seed=3)
    for _ in range(11):
        next(first)
    second = TrainingBatches(online, 7, seed=4)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for expected, batch in zip(whole[11:], islice(second, 19), strict=True):
        assert np.array_equal(expected.inputs, batch.inputs)
        assert np.array_equal(expected.labels, batch.labels)


def test_visits_with_hints_are_valid_puzzles_and_sampled_anew_each_time(online: Dataset) -> None:
    domain = SudokuDomain(4)
    empties = []
    for batch in islice(TrainingBatches(online, 60), 30):
        for puzzle, answer in zip(batch.inputs, batch.labels, strict=True):
            assert domain.verify(domain.decode(puzzle), domain.decode(answer)).ok
        empties.append((batch.inputs == BLANK).sum(axis=1))
    solved = np.mean(np.concatenate(empties) == 0)
    # Half of the visits have hints; of a puzzle with e = 1, 2 or 3 empty cells 1/e of these leave nothing empty.
    assert solved == pytest.approx(0.5 * (1 + 1 / 2 + 1 / 3) / 3, abs=0.07)


def test_hints_never_make_a_test_or_validation_puzzle(online: Dataset) -> None:
    held_out = set()
    for split in ("test", "validation"):
        other = Dataset.open(online.directory, split)
        held_out |= {row.tobytes() for row in other.gather(np.arange(other.num_examples))[0]}
    assert len(held_out) == 2500
    visited = {row.tobytes() for batch in islice(TrainingBatches(online, 600), 40) for row in batch.inputs}
    assert not visited & held_out
    # Without the check they would: the same draws, with nothing held out.
    blind = OnlineAugmentation(SudokuDomain(4), np.empty(0, np.uint64), 0.5)
    inputs, _ = blind.apply(*online.gather_bytes(np.arange(60).repeat(100)), np.random.default_rng(0))
    assert {row.tobytes() for row in inputs.astype(np.int32)} & held_out


def test_stored_copies_get_hints_and_originals_none(tmp_path: Path) -> None:
    plain = DataConfig(size=6, num_train=50, num_test=10, num_aug=40)
    build_dataset(plain, tmp_path / "plain")
    build_dataset(plain.model_copy(update={"hints": 0.25}), tmp_path / "hinted")
    without, with_ = (Dataset.open(tmp_path / name) for name in ("plain", "hinted"))
    assert np.array_equal(without.group_indices, with_.group_indices)
    assert with_.metadata.hints == 0
    a, b = without.gather(np.arange(2050))[0], with_.gather(np.arange(2050))[0]
    changed = (a != b).any(axis=1).reshape(50, 41)
    assert not changed[:, 0].any()
    assert changed[:, 1:].mean() == pytest.approx(0.25, abs=0.04)


def test_stored_hints_never_make_a_test_puzzle(tmp_path: Path) -> None:
    config = DataConfig(size=4, clues="13-15", num_train=60, num_test=2000, num_aug=300, hints=0.5)
    build_dataset(config, tmp_path / "d")
    prints = []
    for split in ("train", "test"):
        dataset = Dataset.open(tmp_path / "d", split)
        prints.append(fingerprints(dataset.gather(np.arange(dataset.num_examples))[0].astype(np.uint8)))
    assert not np.isin(*prints).any()


def test_hints_without_copies_to_put_them_in_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"set augment=online, or num_aug=1"):
        DataConfig(hints=0.1)


@pytest.mark.parametrize("domain", ["maze", "arc"])
def test_hints_for_puzzles_without_empty_cells_are_refused(domain: str, tmp_path: Path) -> None:
    config = DataConfig(domain=domain, size=None, num_train=5, num_test=2, augment="online", hints=0.1)
    with pytest.raises(ConfigError, match=r"data\.hints: .* no blank cells"):
        build_dataset(config, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_sampling_symmetries_and_hints_keeps_up_with_an_accelerator(tmp_path: Path) -> None:
    build_dataset(DataConfig(num_train=2000, num_test=500, augment="online", hints=0.2), tmp_path / "d")
    batches = TrainingBatches(Dataset.open(tmp_path / "d"), 768)
    next(batches)
    seconds = []
    for _ in range(15):
        started = time.process_time()
        next(batches)
        seconds.append(time.process_time() - started)
    # Of CPU time, which a busy machine does not change. Ten times slower than measured on one core, so that an
    # older processor passes and a loop over rows does not.
    assert 768 / np.median(seconds) > 30_000
