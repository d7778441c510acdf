"""Assigns the pairs of a source to splits, and collects notes about the pairs.

Splits share no input: neither identical inputs nor, if symmetries are claimed, inputs that are symmetric to each other.

Letters in shapes: n pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.grids.pool import SPLIT_IDS, PairPool
from hrm_cli.errors import DatasetError
from hrm_cli.printable import counted

LARGEST_SHARE = 10
"""Held out without being asked: one in so many, up to `MOST_HELD_OUT`."""
MOST_HELD_OUT = 500
_SHOWN = 3

_TRAIN, _VALIDATION, _TEST = (SPLIT_IDS.index(name) for name in ("train", "validation", "test"))
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """Requested sizes; None uses the default."""

    num_test: int | None = None
    num_validation: int | None = None
    subsample_size: int | None = None
    test_subsample_size: int | None = None


@dataclass
class Selected:
    """The pairs of each split, by their number in the pool."""

    train: Places
    validation: Places
    test: Places
    notes: list[str] = field(default_factory=list)


def select_pairs(pool: PairPool, wanted: Wanted, rng: np.random.Generator) -> Selected:
    """Splits the pairs. Raises DatasetError if there are too few."""
    notes: list[str] = []
    splits = np.where(pool.splits == 0, _TRAIN, pool.splits).astype(np.int64)
    kept = _without_repetitions(pool, splits, notes)
    _look_at(pool, kept, notes)
    keys = pool.hashes[:, 2]
    parts = {split: kept[splits[kept] == split] for split in (_TRAIN, _VALIDATION, _TEST)}
    for held_out, others in ((_TEST, (_TRAIN, _VALIDATION)), (_VALIDATION, (_TRAIN,))):
        for other in others:
            parts[other] = _without_leaks(pool, parts[other], parts[held_out], (other, held_out), notes)
    if len(parts[_TEST]) and wanted.test_subsample_size is not None:
        parts[_TEST] = np.sort(rng.permutation(parts[_TEST])[: wanted.test_subsample_size])
    _hold_out(parts, keys, wanted, rng, notes)
    train = parts[_TRAIN]
    if wanted.subsample_size is not None:
        train = np.sort(rng.permutation(train)[: wanted.subsample_size])
    return Selected(train, parts[_VALIDATION], parts[_TEST], notes)


def _without_repetitions(pool: PairPool, splits: Places, notes: list[str]) -> Places:
    """The first pair of each input of a split."""
    inputs, outputs = pool.hashes[:, 0], pool.hashes[:, 1]
    order = np.lexsort((np.arange(len(pool)), splits, inputs))
    starts = np.ones(len(order), bool)
    starts[1:] = (inputs[order][1:] != inputs[order][:-1]) | (splits[order][1:] != splits[order][:-1])
    first_of = np.empty(len(order), np.int64)
    first_of[order] = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    repeats = np.flatnonzero(first_of != np.arange(len(order)))
    same = outputs[repeats] == outputs[first_of[repeats]]
    conflicts = repeats[~same]
    if len(conflicts):
        some = _some(conflicts, lambda n: f"{pool.where(n)} and {pool.where(int(first_of[n]))}")
        notes.append(
            f"{counted(len(conflicts), 'pair')} left out, because an earlier pair has the same input and another "
            f"output: {some}"
        )
    if same.any():
        some = _some(repeats[same], lambda n: f"{pool.where(n)} repeats {pool.where(int(first_of[n]))}")
        notes.append(f"{counted(int(same.sum()), 'duplicate')} left out: {some}")
    return np.flatnonzero(first_of == np.arange(len(order)))


def _look_at(pool: PairPool, kept: Places, notes: list[str]) -> None:
    hashes = pool.hashes[kept]
    same = np.flatnonzero(hashes[:, 0] == hashes[:, 1])
    if len(same):
        some = _some(kept[same], pool.where)
        share = f"{len(same) / len(kept):.1%}"
        notes.append(f"the output equals the input in {counted(len(same), 'pair')} ({share}): {some}")
    if len(kept) < 2:
        raise DatasetError(
            f"{pool.files[0]}: only one input; at least two different ones are needed, one to train on and one to test"
        )
    if (hashes[:, 1] == hashes[0, 1]).all():
        notes.append("the output is the same in every pair: there is nothing to learn")
        return
    values, counts = np.unique(hashes[:, 1], return_counts=True)
    if counts.max() > len(kept) / 2:
        some = _some(kept[hashes[:, 1] == values[counts.argmax()]], pool.where)
        notes.append(f"one output is that of {counts.max() / len(kept):.1%} of the pairs: {some}")


def _without_leaks(
    pool: PairPool, part: Places, held_out: Places, names: tuple[int, int], notes: list[str]
) -> Places:
    keys = pool.hashes[:, 2]
    leaks = np.isin(keys[part], keys[held_out])
    if not leaks.any():
        return part
    own, other = (SPLIT_IDS[name] for name in names)
    partner = {int(keys[n]): n for n in held_out.tolist()} if leaks.sum() else {}
    some = _some(part[leaks], lambda n: f"{pool.where(n)} is in {pool.where(partner[int(keys[n])])}")
    how = " up to symmetry" if pool.symmetries else ""
    notes.append(
        f"{counted(int(leaks.sum()), f'{own} pair')} left out, because the {other} split has the input{how}: {some}"
    )
    return part[~leaks]


def _hold_out(
    parts: dict[int, Places],
    keys: NDArray[np.uint64],
    wanted: Wanted,
    rng: np.random.Generator,
    notes: list[str],
) -> None:
    """Takes test and validation pairs from the training pairs where the source has none of its own."""
    train = parts[_TRAIN]
    values, groups = np.unique(keys[train], return_inverse=True)
    order = rng.permutation(len(values))
    usual = min(MOST_HELD_OUT, len(values) // LARGEST_SHARE)
    test = max(1, usual) if wanted.num_test is None else wanted.num_test
    validation = usual if wanted.num_validation is None else wanted.num_validation
    test = 0 if len(parts[_TEST]) else test
    validation = 0 if len(parts[_VALIDATION]) else validation
    if test + validation >= len(values):
        of = "different inputs up to symmetry" if len(values) < len(train) else "different inputs"
        raise DatasetError(
            f"{len(values):,} {of} to train on, of which {test:,} test and {validation:,} validation pairs are to be "
            "held out: none is left to train on. Ask for fewer (--num-test, --num-validation)"
        )
    place = np.empty(len(values), np.int64)
    place[order] = np.arange(len(values))
    at = place[groups]
    # Among symmetric inputs, one is enough for testing.
    first = np.zeros(len(train), bool)
    first[np.unique(groups, return_index=True)[1]] = True
    if test:
        parts[_TEST] = train[(at < test) & first]
    if validation:
        parts[_VALIDATION] = train[(at >= test) & (at < test + validation) & first]
    parts[_TRAIN] = train[at >= test + validation]
    unused = int(((at < test + validation) & ~first).sum())
    if unused:
        notes.append(
            f"{counted(unused, 'pair')} left out, because a held-out input is the same up to symmetry"
        )


def _some(numbers: Sequence[int] | Places, words: Callable[[int], str]) -> str:
    shown = [words(int(number)) for number in numbers[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(numbers) > _SHOWN else "")
