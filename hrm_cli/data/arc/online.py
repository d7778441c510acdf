"""Makes augmented copies of ARC tasks on demand, from the names of the puzzle identifiers.

A dataset built with `augment: online` stores every task once. Its identifiers are the same as with `augment: stored`:
each task's own identifier, followed by those of its copies. At each visit, training uses one of the copies. Evaluation
uses all of them.

Letters in shapes: B rows of a batch, G tasks, I identifiers, F = 900 cells of a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IDENTIFIERS_FILE
from hrm_cli.errors import DatasetError, reason_of
from hrm_cli.json_text import load_json
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.fields import Fields, random_places
from hrm_cli.puzzles.arc.symmetry import ArcSymmetries, parse_name

Grids = tuple[NDArray[np.int32], NDArray[np.int32]]


def is_arc(dataset: Dataset) -> bool:
    """Whether a dataset has the ARC domain or, without a domain, the vocabulary size and sequence length of ARC."""
    metadata = dataset.metadata
    if metadata.domain is not None:
        return bool(metadata.domain.get("name") == ArcDomain.name)
    return (metadata.vocab_size, metadata.seq_len) == (ArcDomain.vocab_size, ArcDomain.seq_len)


def read_identifiers(dataset: Dataset) -> list[str]:
    """The names of the puzzle identifiers, the blank one first. Raises DatasetError."""
    file = dataset.directory / IDENTIFIERS_FILE
    try:
        names = load_json(file)
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file}: the names of the puzzle identifiers cannot be read ({reason_of(error)})"
        ) from error
    wanted = dataset.metadata.num_puzzle_identifiers
    if not isinstance(names, list) or len(names) != wanted or not all(isinstance(n, str) for n in names):
        found = f"{len(names)} entries" if isinstance(names, list) else type(names).__name__
        raise DatasetError(f"{file}: found {found}; expected a list of {wanted} names")
    return names


@dataclass(frozen=True)
class ArcCopies:
    """The named copies of every task of an online dataset."""

    dataset: Dataset
    symmetries: ArcSymmetries
    """The symmetry of every identifier, `[I]`; the identity for the blank identifier."""
    first: NDArray[np.int64]
    """Identifier of each original task, `[G]`."""
    counts: NDArray[np.int64]
    """Number of names of each task, including its own, `[G]`."""

    @classmethod
    def of(cls, dataset: Dataset) -> ArcCopies:
        """The copies of an online dataset. Raises DatasetError if its names are malformed."""
        names = read_identifiers(dataset)
        try:
            symmetries = ArcSymmetries.parse(names)
            tasks = [parse_name(name)[0] for name in names]
        except ValueError as error:
            raise DatasetError(f"{dataset.directory / IDENTIFIERS_FILE}: {error}") from error
        starts = np.flatnonzero([name == task for name, task in zip(names, tasks, strict=True)])
        ends = np.append(starts[1:], len(names))
        first = dataset.puzzle_identifiers
        place = np.minimum(np.searchsorted(starts, first), len(starts) - 1)
        if not np.array_equal(starts[place], first):
            raise DatasetError(
                f"{dataset.directory / IDENTIFIERS_FILE}: not every task of the {dataset.split} split is listed before "
                "its augmented copies; build the dataset again"
            )
        return cls(dataset, symmetries, first, ends[place] - first)

    def sample(
        self, examples: NDArray[np.int64], epochs: NDArray[np.int64], seed: int, rng: np.random.Generator
    ) -> tuple[Grids, NDArray[np.int32]]:
        """Samples copies of examples `[B]` visited in `epochs` `[B]`: grids `[B, F]` each, and identifiers `[B]`.

        As in stored datasets, all examples of one visit get the same symmetry, and all but one of them are shifted
        within the field. The symmetry depends on seed, epoch and task; `rng` samples the positions.
        """
        puzzles = np.searchsorted(self.dataset.puzzle_indices, examples, side="right") - 1
        offset, unmoved = np.empty_like(puzzles), np.empty_like(puzzles)
        sizes = np.diff(self.dataset.puzzle_indices)
        for epoch in np.unique(epochs):
            visit = np.random.default_rng([seed, 2, epoch])
            rows = epochs == epoch
            offset[rows] = visit.integers(0, self.counts)[puzzles[rows]]
            unmoved[rows] = visit.integers(0, sizes)[puzzles[rows]]
        identifiers = self.first[puzzles] + offset
        symmetries = self.symmetries[identifiers]
        inputs, outputs = (Fields.crop(grid) for grid in self.dataset.gather(examples))
        owners = np.arange(len(examples))
        tops, lefts = random_places(inputs, outputs, owners, symmetries.transforms, rng)
        stays = examples - self.dataset.puzzle_indices[puzzles] == unmoved
        tops[stays] = lefts[stays] = 0
        copies = tuple(
            fields.copies(owners, symmetries, tops, lefts).astype(np.int32) for fields in (inputs, outputs)
        )
        return (copies[0], copies[1]), identifiers.astype(np.int32)

    def every(
        self, batch_size: int, limit: int | None = None, *, own: slice | None = None
    ) -> Iterator[tuple[Grids, NDArray[np.int32]]]:
        """Every example under every symmetry of its task, without shifts, in the order of a stored dataset.

        `limit`: only the first `limit` rows. `own`: only these rows of each batch.
        """
        sizes = np.diff(self.dataset.puzzle_indices)
        # Ends of the tasks in the order of copies: one row for each example of each copy.
        ends = np.cumsum(self.counts * sizes)
        total = int(ends[-1]) if limit is None else min(limit, int(ends[-1]))
        for start in range(0, total, batch_size):
            rows = np.arange(start, min(start + batch_size, total))[own or slice(None)]
            if not len(rows):
                continue
            task = np.searchsorted(ends, rows, side="right")
            copy, example = np.divmod(rows - (ends - self.counts * sizes)[task], sizes[task])
            identifiers = self.first[task] + copy
            inputs, outputs = (
                Fields.crop(grid) for grid in self.dataset.gather(self.dataset.puzzle_indices[task] + example)
            )
            owners, symmetries = np.arange(len(rows)), self.symmetries[identifiers]
            yield (
                (
                    inputs.copies(owners, symmetries).astype(np.int32),
                    outputs.copies(owners, symmetries).astype(np.int32),
                ),
                identifiers.astype(np.int32),
            )

    def count(self) -> int:
        """Number of rows that `every` yields."""
        return int((self.counts * np.diff(self.dataset.puzzle_indices)).sum())
