"""Batches of a dataset, and the number of training steps of a configuration.

Training reads an endless stream that can be resumed exactly. Evaluation makes one pass. An epoch visits every group
once in random order: it samples one puzzle of the group and visits its examples in random order. Batches contain
consecutive examples and may span epoch boundaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.data import DataConfig
from hrm_cli.config.train import TrainConfig
from hrm_cli.config.values import LARGEST_SEED
from hrm_cli.data.arc.online import ArcCopies, is_arc
from hrm_cli.data.augmentation import OnlineAugmentation
from hrm_cli.data.format import Dataset
from hrm_cli.data.metadata import IGNORED_LABEL, read_metadata
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.printable import quoted
from hrm_cli.puzzles.grids.symmetry import GridCopies


@dataclass(frozen=True)
class ExpectedExamples:
    """Number of examples in an epoch: groups × mean examples per puzzle."""

    groups: int | None
    """None if the number is known only after the dataset is built."""
    words: str
    """Text for users: the assumptions, or the reason why the number is unknown."""
    mean_examples: float = 1.0
    """Mean number of examples per puzzle."""

    def steps(self, train: TrainConfig) -> int | None:
        """Optimizer steps of a run (`planned_steps`)."""
        return None if self.groups is None else planned_steps(train, self.groups, self.mean_examples)


def total_steps(epochs: int, groups: int, mean_examples: float, global_batch_size: int) -> int:
    """Steps in `epochs`: floor(epochs · groups · mean examples per puzzle ÷ global batch size)."""
    return int(epochs * groups * mean_examples / global_batch_size)


def planned_steps(train: TrainConfig, groups: int, mean_examples: float) -> int:
    """Optimizer steps of a run: the steps of its epochs, at most `train.max_steps`, at least one."""
    steps = total_steps(train.epochs, groups, mean_examples, train.global_batch_size)
    return max(1, min(steps, train.max_steps or steps))


def expected_examples(data: DataConfig) -> ExpectedExamples:
    """The number of examples in an epoch of this data section. Raises DatasetError if `path` is not a dataset."""
    if data.path is not None:
        metadata = read_metadata(Path(data.path), "train")
        per_epoch = metadata.total_groups * metadata.mean_puzzle_examples
        words = f"{per_epoch:,.0f} examples per epoch, from {data.path}"
        return ExpectedExamples(metadata.total_groups, words, metadata.mean_puzzle_examples)
    if data.domain == "arc":
        return ExpectedExamples(
            None, "tasks differ in their number of examples; set a built dataset with data.path=DIR"
        )
    puzzles = 0
    for source in data.sources:
        wanted = source.num_train if source.source == "builtin" else source.subsample_size
        if wanted is None:
            return ExpectedExamples(
                None,
                f"the size of {source.source} is known only after the build; set a built dataset with data.path=DIR",
            )
        puzzles += wanted + source.variations
    # Augmented copies are in the same group as their puzzle, and an epoch visits one puzzle per group.
    return ExpectedExamples(puzzles, f"{puzzles:,} puzzles per epoch, one example each")


@dataclass(frozen=True)
class Batch:
    """Rows for the model, as arrays."""

    inputs: NDArray[np.int32]
    """Tokens `[B, S]`."""
    labels: NDArray[np.int32]
    """Answers `[B, S]`; −100 for cells without a label."""
    puzzle_identifiers: NDArray[np.int32]
    """Row of the puzzle embedding `[B]`; the blank identifier in padding rows."""


@dataclass(frozen=True)
class EvaluationBatch(Batch):
    """A batch with the indices of its examples."""

    examples: NDArray[np.int64]
    """Index in the split of each row's example `[B]`; −1 in padding rows."""


class TrainingBatches(Iterator[Batch]):
    """The endless stream of training batches of one rank.

    All randomness depends only on the seed, the epoch and the position in the epoch. So the state is a few numbers, and
    every rank computes the same global batch, for any world size, and takes its contiguous slice.
    Raises ConfigError if the global batch cannot be divided among the ranks.
    """

    def __init__(
        self, dataset: Dataset, global_batch_size: int, *, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self._rows = rank_rows(global_batch_size, rank, world_size)
        self._dataset = dataset
        self._global_batch_size = global_batch_size
        self._seed = seed
        is_online = dataset.metadata.augment == "online"
        self._copies = ArcCopies.of(dataset) if is_online and is_arc(dataset) else None
        self._grids = GridCopies.of(dataset.metadata.domain) if is_online else None
        other = self._copies is None and self._grids is None
        self._augmentation = OnlineAugmentation.of(dataset) if is_online and other else None
        self._owner = _owners(dataset)
        self._epoch = 0
        self._position = 0
        self._order: NDArray[np.int64] | None = None

    @property
    def epoch(self) -> int:
        """The epoch in which the next batch starts, counted from 0."""
        return self._epoch

    def __next__(self) -> Batch:
        start = (self._epoch, self._position)
        examples, epochs = self._take(self._global_batch_size)
        own = self._rows
        if self._augmentation is None and self._copies is None and self._grids is None:
            return _batch(self._dataset, examples[own], self._owner)
        # Sample for the whole global batch, so that the result does not depend on the number of ranks.
        rng = self._generator(*start, purpose=1)
        if self._grids is not None:
            inputs, labels = self._grids.apply(*self._dataset.gather(examples), rng)
            return _batch(self._dataset, examples[own], self._owner, (inputs[own], labels[own]))
        if self._augmentation is not None:
            grids = self._augmentation.apply(*self._dataset.gather_bytes(examples), rng)
            inputs, labels = (grid[own].astype(np.int32) for grid in grids)
            return _batch(self._dataset, examples[own], self._owner, (inputs, labels))
        assert self._copies is not None
        (inputs, labels), identifiers = self._copies.sample(examples, epochs, self._seed, rng)
        return made_batch(self._dataset, (inputs[own], labels[own]), identifiers[own])

    def state_dict(self) -> dict[str, Any]:
        """The position between two batches, as JSON-serializable numbers."""
        return {
            "seed": self._seed,
            "epoch": self._epoch,
            "position": self._position,
            "num_groups": self._dataset.num_groups,
            "num_examples": self._dataset.num_examples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from the position of `state_dict`. Global batch size and world size may differ.

        Raises DatasetError if the state belongs to another dataset.
        """
        own = self.state_dict()
        for name in own:
            value = state.get(name)
            if type(value) is not int or not 0 <= value < LARGEST_SEED:
                raise DatasetError(
                    f"{self._dataset.directory}: the sampler's {name} of the resumed run is {quoted(value, 40)}; "
                    "its training.json is damaged"
                )
        for fact in ("num_groups", "num_examples"):
            if state[fact] != own[fact]:
                raise DatasetError(
                    f"{self._dataset.directory}: {fact} is {own[fact]}, but the resumed run was trained "
                    f"on {state[fact]}; use its original dataset (--data)"
                )
        self._seed, self._epoch, self._position = state["seed"], state["epoch"], state["position"]
        self._order = epoch_order(self._dataset, self._generator(self._epoch, 0, purpose=0))
        if not 0 <= self._position < len(self._order):
            raise DatasetError(
                f"{self._dataset.directory}: the resumed run was at example {self._position} of an epoch with "
                f"{len(self._order)} examples; its training.json is damaged"
            )

    def _take(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The next examples, and the epoch of each."""
        parts, epochs = [], []
        while count:
            if self._order is None:
                rng = self._generator(self._epoch, 0, purpose=0)
                self._order = epoch_order(self._dataset, rng)
            part = self._order[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
            epochs.append(np.full(len(part), self._epoch))
            if self._position == len(self._order):
                self._epoch, self._position, self._order = self._epoch + 1, 0, None
        return np.concatenate(parts), np.concatenate(epochs)

    def _generator(self, epoch: int, position: int, *, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, purpose, epoch, position])


def epoch_order(dataset: Dataset, rng: np.random.Generator) -> NDArray[np.int64]:
    """Example indices in the order of one epoch: every group once, all examples of one of its puzzles."""
    starts = dataset.group_indices
    groups = rng.permutation(dataset.num_groups)
    puzzles = rng.integers(starts[groups], starts[groups + 1])
    first, end = dataset.puzzle_indices[puzzles], dataset.puzzle_indices[puzzles + 1]
    sizes = end - first
    if (sizes == 1).all():
        return first
    visit = np.repeat(np.arange(len(sizes)), sizes)
    examples = np.arange(len(visit)) + np.repeat(first - np.cumsum(sizes) + sizes, sizes)
    # Sort by visit, then by a random key: this shuffles the examples of each puzzle.
    return examples[np.lexsort((rng.random(len(visit)), visit))]


def evaluation_batches(
    dataset: Dataset,
    batch_size: int,
    *,
    limit: int | None = None,
    among: NDArray[np.int64] | None = None,
    pad: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[EvaluationBatch]:
    """Yields every example once, in order. A batch has `batch_size` rows over all ranks; each rank gets its slice.

    `among`: only the examples with these indices `[n]`. `limit`: only the first `limit` of them. `pad`: fills the last
    batch with blank rows, so that all ranks get batches of equal size. Raises ConfigError if the batch cannot be
    divided evenly among the ranks.
    """
    own = rank_rows(batch_size, rank, world_size)
    total = dataset.num_examples if among is None else len(among)
    count = total if limit is None else min(limit, total)
    owner = _owners(dataset)
    for start in range(0, count, batch_size):
        places = np.arange(start + own.start, start + own.stop)
        real = places[places < count]
        if among is not None:
            real = among[real]
        batch = _batch(dataset, real, owner)
        if pad and len(real) < len(places):
            batch = _padded(batch, len(places) - len(real), dataset)
            real = np.concatenate([real, np.full(len(places) - len(real), -1)])
        yield EvaluationBatch(batch.inputs, batch.labels, batch.puzzle_identifiers, real)


def rank_rows(global_batch_size: int, rank: int, world_size: int) -> slice:
    """The rows of a global batch that belong to a rank. Raises ConfigError if they cannot be divided evenly."""
    if global_batch_size % world_size:
        raise ConfigError(
            f"global_batch_size {global_batch_size} cannot be divided among {world_size} processes; "
            f"choose a multiple of {world_size}"
        )
    local = global_batch_size // world_size
    return slice(rank * local, (rank + 1) * local)


def steps_per_epoch(dataset: Dataset, global_batch_size: int) -> float:
    """Training steps per epoch. It may not be an integer, because batches span epoch boundaries."""
    return dataset.metadata.total_groups * dataset.metadata.mean_puzzle_examples / global_batch_size


def _owners(dataset: Dataset) -> NDArray[np.int32] | None:
    # If all puzzles have the same identifier (Sudoku), a table with a million entries is not needed.
    identifiers = dataset.puzzle_identifiers
    if (identifiers == identifiers[0]).all():
        return None
    return np.repeat(identifiers, np.diff(dataset.puzzle_indices)).astype(np.int32)


def _batch(
    dataset: Dataset,
    examples: NDArray[np.int64],
    owner: NDArray[np.int32] | None,
    grids: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> Batch:
    if owner is None:
        identifiers = np.full(len(examples), dataset.puzzle_identifiers[0], dtype=np.int32)
    else:
        identifiers = owner[examples]
    return made_batch(dataset, dataset.gather(examples) if grids is None else grids, identifiers)


def made_batch(
    dataset: Dataset,
    grids: tuple[NDArray[np.int32], NDArray[np.int32]],
    identifiers: NDArray[np.int32],
) -> Batch:
    """Makes a batch from inputs and labels `[B, S]` as stored in a dataset, and identifiers `[B]`."""
    inputs, labels = grids
    if dataset.metadata.ignore_label_id is not None:
        labels[labels == dataset.metadata.ignore_label_id] = IGNORED_LABEL
    return Batch(inputs, labels, identifiers)


def _padded(batch: Batch, count: int, dataset: Dataset) -> Batch:
    metadata = dataset.metadata
    blank = (count, metadata.seq_len)
    return Batch(
        np.concatenate([batch.inputs, np.full(blank, metadata.pad_id, dtype=np.int32)]),
        np.concatenate([batch.labels, np.full(blank, IGNORED_LABEL, dtype=np.int32)]),
        np.concatenate(
            [batch.puzzle_identifiers, np.full(count, metadata.blank_identifier_id, dtype=np.int32)]
        ),
    )
