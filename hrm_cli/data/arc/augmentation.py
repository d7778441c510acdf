"""Augmented copies of ARC tasks: samples symmetries that give different tasks, and applies them to the grids.

The symmetries of a task depend only on the dataset's seed, the task's name and its grids. So the copies and their names
do not depend on which other tasks are selected, and are the same with `augment: online`.

Letters in shapes: n symmetries, e examples of a task, F = 900 cells of a field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.puzzles.arc.fields import Fields, random_places
from hrm_cli.puzzles.arc.kernels import FIRST_COLOR, hash_copies
from hrm_cli.puzzles.arc.symmetry import COLORS, ArcSymmetries
from hrm_cli.puzzles.arc.tasks import Pair
from hrm_cli.puzzles.dihedral import SYMMETRIES
from hrm_cli.puzzles.domain import Tokens

_SURPLUS = 64
"""Number of additional symmetries to sample, to replace the few that repeat a copy in most tasks."""


@dataclass(frozen=True)
class Examples:
    """The pairs of a task that belong to one split, as fields of tokens."""

    inputs: Fields
    outputs: Fields

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def from_pairs(cls, pairs: Sequence[Pair]) -> Examples:
        """Converts pairs to fields. An unknown output becomes an empty field."""
        return cls(Fields.from_grids([p.input for p in pairs]), Fields.from_grids([p.output for p in pairs]))

    def copies(
        self, symmetries: ArcSymmetries, rng: np.random.Generator | None = None
    ) -> tuple[Tokens, Tokens]:
        """Inputs and labels `[n·e, F]`: all examples under the first symmetry, then under the next, …

        With `rng`, input and label of every example are shifted together within the field, except for one example of
        each symmetry.
        """
        count = len(self)
        owners = np.tile(np.arange(count), len(symmetries))
        repeated = symmetries[np.repeat(np.arange(len(symmetries)), count)]
        tops = lefts = np.zeros(len(owners), np.int64)
        if rng is not None:
            tops, lefts = random_places(self.inputs, self.outputs, owners, repeated.transforms, rng)
            unmoved = np.arange(len(symmetries)) * count + rng.integers(0, count, len(symmetries))
            tops[unmoved] = lefts[unmoved] = 0
        return (
            self.inputs.copies(owners, repeated, tops, lefts),
            self.outputs.copies(owners, repeated, tops, lefts),
        )


def distinct_symmetries(splits: Sequence[Examples], count: int, rng: np.random.Generator) -> ArcSymmetries:
    """The identity and up to `count` more symmetries that all give different copies of the task, sampled uniformly.

    There are fewer only if the task has fewer different copies.
    """
    inputs = Fields.join([part.inputs for part in splits])
    outputs = Fields.join([part.outputs for part in splits])
    roles = np.repeat(np.arange(len(splits)), [len(part) for part in splits]).astype(np.uint64)
    pairs = Fields.interleave(inputs, outputs)
    present = np.unique(pairs.tokens)
    used = present[present > FIRST_COLOR] - FIRST_COLOR
    # Colors that do not occur make no difference, so only the mapping of the colors that occur is sampled.
    total = SYMMETRIES * math.perm(COLORS - 1, len(used))
    chosen, size = ArcSymmetries.identity(), min(total, count + _SURPLUS)
    while count:
        sampled = _decode(rng.choice(total, size, replace=False), used, rng)
        candidates = ArcSymmetries.identity().followed_by(sampled)
        hashes = hash_copies(
            pairs.tokens, pairs.rows, pairs.columns, roles, candidates.transforms, candidates.permutations
        )
        first = np.sort(np.unique(hashes, return_index=True)[1])
        chosen = candidates[first[: count + 1]]
        if len(chosen) > count or size == total:
            break
        size = min(total, 4 * size)
    return chosen


def task_rng(seed: int, task: str, purpose: int, part: int = 0) -> np.random.Generator:
    """A random generator for one task and one purpose, independent of all other tasks."""
    return np.random.default_rng([seed, purpose, part, *task.encode()])


def _decode(numbers: NDArray[np.int64], used: NDArray[np.uint8], rng: np.random.Generator) -> ArcSymmetries:
    """Decodes numbers into symmetries.

    Different numbers differ in the transform or in the mapping of the used colors.
    """
    count = len(numbers)
    rest = numbers // SYMMETRIES
    free = np.tile(np.arange(1, COLORS, dtype=np.uint8), (count, 1))
    permutations = np.zeros((count, COLORS), np.uint8)
    for color in used:
        width = free.shape[1]
        rest, place = np.divmod(rest, width)
        taken = np.arange(width) == place[:, None]
        permutations[:, color] = free[taken]
        free = free[~taken].reshape(count, width - 1)
    unused = np.setdiff1d(np.arange(1, COLORS), used)
    permutations[:, unused] = rng.permuted(free, axis=1)
    return ArcSymmetries((numbers % SYMMETRIES).astype(np.uint8), permutations)
