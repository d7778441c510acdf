"""Reads datasets from disk. Arrays are memory-mapped and checked before use.

A dataset is a folder with one folder per split (`train`, `test`). Each contains `dataset.json` and five arrays for
every set named there. A group (an original puzzle) consists of puzzles (its augmented copies), and a puzzle of
examples.

Letters in shapes: N examples, P puzzles, G groups, S tokens of an example.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hrm_cli.data.metadata import (
    GRIDS,
    IGNORED_LABEL,
    INDICES,
    METADATA_FILE,
    SplitMetadata,
    array_file,
    is_dataset,
    read_metadata,
)
from hrm_cli.errors import DatasetError, reason_of
from hrm_cli.npy_files import map_integers
from hrm_cli.puzzles.domain import Tokens

__all__ = ["IGNORED_LABEL", "Dataset", "ExampleSet", "SplitMetadata", "is_dataset", "read_metadata"]

_CHECKED_BYTES = 1 << 24


@dataclass(frozen=True)
class ExampleSet:
    """The arrays of one set of a split: grids are memory-mapped, indices are in memory."""

    name: str
    inputs: NDArray[np.integer]
    """Tokens `[N, S]` of the puzzles."""
    labels: NDArray[np.integer]
    """Tokens `[N, S]` of the answers."""
    puzzle_identifiers: NDArray[np.int64]
    """Row of the puzzle embedding of each puzzle, `[P]`."""
    puzzle_indices: NDArray[np.int64]
    """First example of each puzzle and, last, N: `[P + 1]`."""
    group_indices: NDArray[np.int64]
    """First puzzle of each group and, last, P: `[G + 1]`."""


@dataclass(frozen=True)
class Dataset:
    """One split of a dataset on disk; its sets are concatenated."""

    directory: Path
    """The dataset's folder, the parent of the split's."""
    split: str
    metadata: SplitMetadata
    sets: tuple[ExampleSet, ...]

    @classmethod
    def open(cls, directory: Path, split: str = "train", *, check_tokens: bool = True) -> Dataset:
        """Opens `directory/split` and checks that its arrays are complete and consistent.

        `check_tokens` reads all grids once, in pieces, to check them against the vocabulary.
        Raises DatasetError, with the invalid file and the expected content.
        """
        directory = Path(directory)
        metadata = read_metadata(directory, split)
        sets = tuple(_open_set(directory / split, name, metadata) for name in metadata.sets)
        dataset = cls(directory, split, metadata, sets)
        dataset._check_totals()
        if check_tokens:
            for examples in sets:
                _check_tokens(directory / split, examples, metadata)
        return dataset

    @property
    def has_answers(self) -> bool:
        """Whether any cell has a label. The hidden test set of a competition has none."""
        ignored = self.metadata.ignore_label_id
        if ignored is None:
            return self.num_examples > 0
        piece = max(1, _CHECKED_BYTES // self.metadata.seq_len)
        return any(
            bool((part.labels[start : start + piece] != ignored).any())
            for part in self.sets
            for start in range(0, len(part.labels), piece)
        )

    @property
    def num_examples(self) -> int:
        """Examples N over all sets."""
        return int(self.puzzle_indices[-1])

    @property
    def num_puzzles(self) -> int:
        """Puzzles P over all sets."""
        return len(self.puzzle_identifiers)

    @property
    def num_groups(self) -> int:
        """Groups G over all sets."""
        return len(self.group_indices) - 1

    @cached_property
    def puzzle_identifiers(self) -> NDArray[np.int64]:
        """Identifier of each puzzle `[P]`, over all sets."""
        return np.concatenate([examples.puzzle_identifiers for examples in self.sets])

    @cached_property
    def puzzle_indices(self) -> NDArray[np.int64]:
        """First example of each puzzle `[P + 1]`, over all sets."""
        return _joined([examples.puzzle_indices for examples in self.sets])

    @cached_property
    def group_indices(self) -> NDArray[np.int64]:
        """First puzzle of each group `[G + 1]`, over all sets."""
        return _joined([examples.group_indices for examples in self.sets])

    def set_of(self, examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the set that each example `[n]` belongs to, as `[n]`."""
        starts = np.cumsum([0, *(len(part.inputs) for part in self.sets)])
        return np.searchsorted(starts, examples, side="right") - 1

    def gather(self, examples: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Inputs and labels `[n, S]` of the examples with indices `[n]`, as stored: no label is replaced by −100."""
        return self._gather(examples, np.int32)

    def gather_bytes(self, examples: NDArray[np.int64]) -> tuple[Tokens, Tokens]:
        """Like `gather`, but as uint8, the token type of domains."""
        return self._gather(examples, np.uint8)

    def _gather(self, examples: NDArray[np.int64], dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
        if len(self.sets) == 1:
            # Convert to plain arrays: operations on numpy's memmap subclass are slower.
            only = self.sets[0]
            inputs, labels = np.asarray(only.inputs)[examples], np.asarray(only.labels)[examples]
            return inputs.astype(dtype, copy=False), labels.astype(dtype, copy=False)
        inputs = np.empty((len(examples), self.metadata.seq_len), dtype=dtype)
        labels = np.empty_like(inputs)
        starts = np.cumsum([0, *(len(part.inputs) for part in self.sets)])
        owner = self.set_of(examples)
        for number, part in enumerate(self.sets):
            rows = np.flatnonzero(owner == number)
            inputs[rows] = part.inputs[examples[rows] - starts[number]]
            labels[rows] = part.labels[examples[rows] - starts[number]]
        return inputs, labels

    def _check_totals(self) -> None:
        file = self.directory / self.split / METADATA_FILE
        if self.num_groups != self.metadata.total_groups:
            raise DatasetError(
                f"{file}: total_groups is {self.metadata.total_groups}, "
                f"but the set's arrays have {self.num_groups}; build the dataset again"
            )
        mean = self.num_examples / self.num_puzzles
        if abs(self.metadata.mean_puzzle_examples - mean) > 1e-6 * mean:
            raise DatasetError(
                f"{file}: mean_puzzle_examples is {self.metadata.mean_puzzle_examples:g}, "
                f"but {self.num_examples} examples ÷ {self.num_puzzles} puzzles are {mean:g}"
            )


def _joined(indices: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    parts = [np.zeros(1, dtype=np.int64)]
    for part in indices:
        parts.append(part[1:] + parts[-1][-1])
    return np.concatenate(parts)


def _open_set(folder: Path, name: str, metadata: SplitMetadata) -> ExampleSet:
    inputs, labels = (_open_array(array_file(folder, name, array), dimensions=2) for array in GRIDS)
    for array, grid in zip(GRIDS, (inputs, labels), strict=True):
        if grid.shape[1] != metadata.seq_len:
            raise DatasetError(
                f"{array_file(folder, name, array)}: rows of {grid.shape[1]} tokens, "
                f"but seq_len is {metadata.seq_len} in {METADATA_FILE}"
            )
    if len(inputs) != len(labels):
        raise DatasetError(
            f"{array_file(folder, name, 'labels')}: {len(labels)} rows, "
            f"but {array_file(folder, name, 'inputs').name} has {len(inputs)}"
        )
    identifiers, puzzles, groups = (
        np.array(_open_array(array_file(folder, name, array), dimensions=1), dtype=np.int64)
        for array in INDICES
    )
    _check_index(array_file(folder, name, "puzzle_indices"), puzzles, len(inputs), "examples")
    _check_index(array_file(folder, name, "group_indices"), groups, len(puzzles) - 1, "puzzles")
    file = array_file(folder, name, "puzzle_identifiers")
    if len(identifiers) != len(puzzles) - 1:
        raise DatasetError(
            f"{file}: {len(identifiers)} identifiers for {len(puzzles) - 1} puzzles; expected one for each"
        )
    _check_range(file, identifiers, metadata.num_puzzle_identifiers, "num_puzzle_identifiers")
    return ExampleSet(name, inputs, labels, identifiers, puzzles, groups)


def _open_array(file: Path, *, dimensions: int) -> NDArray[np.integer]:
    try:
        array = map_integers(file)
    except FileNotFoundError as error:
        raise DatasetError(f"{file}: missing, but {METADATA_FILE} lists this set") from error
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file}: not a complete .npy file ({reason_of(error)}); build the dataset again"
        ) from error
    if array.ndim != dimensions:
        raise DatasetError(f"{file}: {array.ndim} dimensions {array.shape}; expected {dimensions}")
    return array


def _check_index(file: Path, index: NDArray[np.int64], end: int, what: str) -> None:
    if len(index) < 2 or index[0] != 0 or index[-1] != end:
        ends = f"{index[0]} to {index[-1]}" if len(index) else "nothing"
        raise DatasetError(f"{file}: ranges from {ends}; expected 0 to {end}, the number of {what}")
    steps = np.flatnonzero(np.diff(index) < 1)
    if len(steps):
        at = int(steps[0])
        raise DatasetError(
            f"{file}: entry {at + 1} is {index[at + 1]} after {index[at]}; expected increasing entries"
        )


def _check_range(file: Path, values: NDArray[np.integer], bound: int, field: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= bound:
        worst = low if low < 0 else high
        raise DatasetError(
            f"{file}: found {worst}; expected 0 to {bound - 1} ({METADATA_FILE}: {field} {bound})"
        )


def _check_tokens(folder: Path, examples: ExampleSet, metadata: SplitMetadata) -> None:
    file = array_file(folder, examples.name, "inputs")
    for piece in _pieces(examples.inputs):
        _check_range(file, piece, metadata.vocab_size, "vocab_size")
    file = array_file(folder, examples.name, "labels")
    ignored = metadata.ignore_label_id
    labeled = False
    for piece in _pieces(examples.labels):
        labeled = labeled or ignored is None or bool((piece != ignored).any())
        if ignored is not None and not 0 <= ignored < metadata.vocab_size:
            piece = np.where(piece == ignored, np.zeros((), piece.dtype), piece)  # noqa: PLW2901
        _check_range(file, piece, metadata.vocab_size, "vocab_size")
    # The test split of a competition may have no answers. Training needs some.
    if not labeled and folder.name != "test":
        raise DatasetError(
            f"{file}: every label is {metadata.ignore_label_id}, the ignore_label_id of {METADATA_FILE}; "
            "expected answers"
        )


def _pieces(grid: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    rows = max(1, _CHECKED_BYTES // max(1, grid.shape[1] * grid.itemsize))
    for start in range(0, len(grid), rows):
        yield np.asarray(grid[start : start + rows])
