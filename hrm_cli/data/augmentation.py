"""Augmented copies of puzzles, stored in the dataset or made during training, and hints.

Hints make a puzzle easier: a random number of givens, from one to all, is added from its answer. Hints exist only for
domains whose input is the answer with blank cells (`Domain.blank_token`). A model that is trained on nearly solved and
solved puzzles learns not to change them. Without such training, a solved state may not be a fixed point (arXiv
2601.10679).

Letters in shapes: n puzzles, S tokens of a puzzle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.fingerprints import Fingerprints, fingerprints, first_occurrences, occurs_in
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import HELD_OUT_SPLITS, METADATA_FILE
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.puzzles.domain import Domain, Tokens, make_domain


def check_hints(domain: Domain, fraction: float) -> None:
    """Raises ConfigError if hints are requested for a domain without blank cells."""
    if fraction and domain.blank_token is None:
        raise ConfigError(
            f"data.hints: works only for Sudoku; {domain.describe()} has no blank cells to fill as hints"
        )


def with_hints(
    inputs: Tokens, labels: Tokens, blank: int, fraction: float, rng: np.random.Generator
) -> Tokens:
    """Returns a copy of `inputs` `[n, S]` in which each row gets hints with probability `fraction`.

    A row with e blank cells gets k more givens from its answer at random positions, with k uniform in 1..e. So e − k
    cells stay blank.
    """
    hinted = inputs.copy()
    rows = np.flatnonzero(rng.random(len(inputs)) < fraction)
    empty = inputs[rows] == blank
    counts = empty.sum(axis=1)
    added = (rng.random(len(rows)) * counts).astype(np.int64) + (counts > 0)
    # Choose random blank cells by the smallest random keys; the keys of all other cells are 2 or more.
    keys = rng.random(empty.shape, dtype=np.float32) + np.float32(2) * ~empty
    order = np.argsort(keys, axis=1)
    chosen = np.empty_like(empty)
    np.put_along_axis(chosen, order, np.arange(empty.shape[1]) < added[:, None], axis=1)
    hinted[rows] = np.where(chosen, labels[rows], inputs[rows])
    return hinted


_BLOCK = 4096
"""Number of copies made at once. They fit in the CPU cache."""

_ROUND = 1 << 16
"""Maximum number of copies between two checks for duplicates. It limits the memory if many copies are requested."""

_PATIENCE = 20
"""Tries per requested copy until a puzzle counts as exhausted. A fraction e⁻²⁰ of its copies is then still unseen."""


@dataclass(frozen=True)
class Copies:
    """Puzzles with their copies, group by group, the original first in each group."""

    inputs: Tokens
    labels: Tokens
    group_sizes: NDArray[np.int64]
    """Number of puzzles in each group, including the original."""


def with_copies(
    domain: Domain,
    inputs: Tokens,
    labels: Tokens,
    copies: int,
    *,
    held_out: Fingerprints,
    rng: np.random.Generator,
    hints: float = 0.0,
) -> Iterator[Copies]:
    """Makes `copies` different augmented copies of each puzzle `[n, S]`. Yields blocks of complete groups.

    No copy equals its original, another copy of the same puzzle, or a puzzle whose fingerprint is in `held_out`
    (sorted). If a puzzle has fewer such copies, it gets all that were found. A fraction `hints` of the copies gets
    hints. Copies with hints may repeat, but are never in `held_out`.
    """
    if copies == 0:
        yield Copies(inputs, labels, np.ones(len(inputs), dtype=np.int64))
        return
    block = max(1, 4 * _BLOCK // copies)
    for start in range(0, len(inputs), block):
        rows = slice(start, start + block)
        made = _block(domain, inputs[rows], labels[rows], copies, held_out=held_out, rng=rng)
        yield _add_hints(domain, made, hints, held_out, rng) if hints else made


def _add_hints(
    domain: Domain, made: Copies, fraction: float, held_out: Fingerprints, rng: np.random.Generator
) -> Copies:
    assert domain.blank_token is not None
    is_copy = np.ones(len(made.inputs), dtype=bool)
    is_copy[np.cumsum(made.group_sizes) - made.group_sizes] = False
    rows = np.flatnonzero(is_copy)
    hinted = with_hints(made.inputs[rows], made.labels[rows], domain.blank_token, fraction, rng)
    allowed = ~occurs_in(fingerprints(hinted), held_out)
    made.inputs[rows[allowed]] = hinted[allowed]
    return made


def _block(
    domain: Domain,
    inputs: Tokens,
    labels: Tokens,
    copies: int,
    *,
    held_out: Fingerprints,
    rng: np.random.Generator,
) -> Copies:
    count, seq_len = inputs.shape
    joined_inputs = np.empty((count, copies + 1, seq_len), dtype=np.uint8)
    joined_labels = np.empty_like(joined_inputs)
    joined_inputs[:, 0], joined_labels[:, 0] = inputs, labels
    seen = _key(fingerprints(inputs), np.arange(count))
    filled = np.ones(count, dtype=np.int64)
    tries = np.zeros(count, dtype=np.int64)
    most = max(1, _ROUND // count)
    wanted = np.full(count, min(copies, most))
    while wanted.any():
        owner = np.repeat(np.arange(count), wanted)
        moved = _moved_copies(domain, inputs[owner], labels[owner], rng)
        prints = fingerprints(moved[0])
        keys = _key(prints, owner)
        fresh = first_occurrences(np.concatenate([seen, keys]))[len(seen) :] & ~occurs_in(prints, held_out)
        place = filled[owner] + _rank(owner, fresh)
        fresh &= place <= copies
        joined_inputs[owner[fresh], place[fresh]] = moved[0][fresh]
        joined_labels[owner[fresh], place[fresh]] = moved[1][fresh]
        seen = np.concatenate([seen, keys[fresh]])
        filled += np.bincount(owner[fresh], minlength=count)
        tries += wanted
        missing = copies + 1 - filled
        # Make more than are missing, because unseen copies become rarer. Surplus copies are dropped above.
        again = np.minimum(np.minimum(4 * missing, missing + copies // 4) + 16, most)
        wanted = np.where((missing > 0) & (tries < _PATIENCE * copies + 200), again, 0)
    if (filled > copies).all():
        return Copies(joined_inputs.reshape(-1, seq_len), joined_labels.reshape(-1, seq_len), filled)
    there = np.arange(copies + 1) < filled[:, None]
    return Copies(joined_inputs[there], joined_labels[there], filled)


def _moved_copies(
    domain: Domain, inputs: Tokens, labels: Tokens, rng: np.random.Generator
) -> tuple[Tokens, Tokens]:
    moved_inputs, moved_labels = np.empty_like(inputs), np.empty_like(labels)
    for start in range(0, len(inputs), _BLOCK):
        rows = slice(start, start + _BLOCK)
        symmetries = domain.sample_symmetries(rng, len(inputs[rows]))
        moved_inputs[rows], moved_labels[rows] = symmetries.apply_both(inputs[rows], labels[rows])
    return moved_inputs, moved_labels


def _key(prints: Fingerprints, owner: NDArray[np.int64]) -> Fingerprints:
    # Only equal copies of the same puzzle count as duplicates. Copies of different puzzles may be equal.
    return prints ^ (owner.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))


def _rank(owner: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index of each chosen row among the chosen rows of its owner; `owner` is sorted."""
    counted = np.cumsum(chosen)
    before_owner = np.concatenate([[0], counted])[np.searchsorted(owner, owner)]
    return counted - 1 - before_owner


@dataclass(frozen=True)
class OnlineAugmentation:
    """Applies a new random symmetry to every visited example, and hints to some of them.

    Never produces a held-out puzzle.
    """

    domain: Domain
    held_out: Fingerprints
    """Sorted fingerprints of the inputs of the test and validation splits."""
    hints: float = 0.0
    """Fraction of the visits at which the puzzle is made easier."""

    @classmethod
    def of(cls, dataset: Dataset) -> OnlineAugmentation:
        """The augmentation for a dataset with `augment: online`. Raises DatasetError if its metadata have no domain."""
        facts = dataset.metadata.domain
        if facts is None:
            file = dataset.directory / dataset.split / METADATA_FILE
            raise DatasetError(f"{file}: augment is online, but domain is missing")
        held_out = [np.empty(0, dtype=np.uint64)]
        for split in HELD_OUT_SPLITS:
            if (dataset.directory / split / METADATA_FILE).is_file():
                other = Dataset.open(dataset.directory, split, check_tokens=False)
                held_out += [fingerprints(part.inputs.astype(np.uint8)) for part in other.sets]
        domain = make_domain(**facts)
        check_hints(domain, dataset.metadata.hints)
        return cls(domain, np.sort(np.concatenate(held_out)), dataset.metadata.hints)

    def apply(self, inputs: Tokens, labels: Tokens, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Returns random augmented copies of examples `[n, S]`. Input and answer get the same symmetry."""
        originals = inputs, labels
        moved = self._sample(*originals, rng)
        taken = occurs_in(fingerprints(moved[0]), self.held_out)
        for _ in range(_PATIENCE):
            if not taken.any():
                break
            again = self._sample(originals[0][taken], originals[1][taken], rng)
            moved[0][taken], moved[1][taken] = again
            taken[taken] = occurs_in(fingerprints(again[0]), self.held_out)
        # If nearly all copies are held out, use the original, which is never held out.
        moved[0][taken], moved[1][taken] = originals[0][taken], originals[1][taken]
        return moved

    def _sample(self, inputs: Tokens, labels: Tokens, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
        moved, answers = _moved_copies(self.domain, inputs, labels, rng)
        blank = self.domain.blank_token
        if self.hints and blank is not None:
            moved = with_hints(moved, answers, blank, self.hints, rng)
        return moved, answers
