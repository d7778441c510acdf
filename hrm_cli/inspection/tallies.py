"""One pass over a split in bounded memory: counts, sizes, symbols, and a fingerprint of every example.

Memory: 16 bytes per example for the fingerprints, in addition to the pieces.

Letters in shapes: N examples, S tokens, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.fingerprints import Fingerprints, fingerprints
from hrm_cli.data.format import Dataset, ExampleSet
from hrm_cli.data.sources import Report
from hrm_cli.inspection.grids_in_tokens import MARK_TOKEN, TokenReader
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain

_PIECE_CELLS = 1 << 22
"""Cells of inputs read at a time."""


@dataclass
class Distribution:
    """Counts of a whole number, such as the clues of a puzzle."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, values: NDArray[np.integer]) -> None:
        """Counts more values."""
        found, times = np.unique(values, return_counts=True)
        self.counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))

    def record(self) -> dict[str, Any] | None:
        """Smallest, median, mean, largest, and the count of each value; None without values."""
        if not self.counts:
            return None
        values = sorted(self.counts)
        times = np.array([self.counts[value] for value in values])
        middle = int(np.searchsorted(np.cumsum(times), times.sum() / 2))
        return {
            "min": values[0],
            "median": values[middle],
            "mean": float((np.array(values) * times).sum() / times.sum()),
            "max": values[-1],
            "counts": [[value, self.counts[value]] for value in values],
        }


@dataclass
class SplitTally:
    """What one pass over a split found."""

    dataset: Dataset
    inputs: NDArray[np.int64]
    """How often each token occurs in inputs, `[V]`."""
    outputs: NDArray[np.int64]
    """How often each token occurs as a label, `[V]`."""
    input_sizes: Counter[tuple[int, int]]
    output_sizes: Counter[tuple[int, int]]
    clues: Distribution
    """Sudoku: givens per puzzle."""
    path_lengths: Distribution
    """Mazes: moves of the marked path."""
    input_prints: Fingerprints
    """Of each input, `[N]`."""
    pair_prints: Fingerprints
    """Of each input with its output, `[N]`."""

    @property
    def originals(self) -> NDArray[np.int64]:
        """The examples of the first puzzle of each group: all but the stored augmented copies."""
        first = self.dataset.group_indices[:-1]
        starts, ends = self.dataset.puzzle_indices[first], self.dataset.puzzle_indices[first + 1]
        lengths = ends - starts
        before = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(starts, lengths) + np.arange(int(lengths.sum())) - before


def pieces(part: ExampleSet, seq_len: int) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """The examples of a set in pieces: number of the first one, inputs and labels `[n, S]`."""
    rows = max(1, _PIECE_CELLS // max(1, seq_len))
    for start in range(0, len(part.inputs), rows):
        end = start + rows
        yield start, np.asarray(part.inputs[start:end]), np.asarray(part.labels[start:end])


def tally_split(dataset: Dataset, reader: TokenReader, report: Report) -> SplitTally:
    """Reads a split once."""
    size, total = dataset.metadata.vocab_size, dataset.num_examples
    tally = SplitTally(
        dataset, np.zeros(size, np.int64), np.zeros(size, np.int64), Counter(), Counter(), Distribution(),
        Distribution(), np.empty(total, np.uint64), np.empty(total, np.uint64),
    )  # fmt: skip
    ignored = dataset.metadata.ignore_label_id
    done = 0
    for part in dataset.sets:
        for _, inputs, labels in pieces(part, dataset.metadata.seq_len):
            rows = slice(done, done + len(inputs))
            tally.inputs += np.bincount(inputs.reshape(-1), minlength=size)[:size]
            labeled = labels if ignored is None else labels[labels != ignored]
            tally.outputs += np.bincount(labeled.reshape(-1), minlength=size)[:size]
            _add_sizes(tally.input_sizes, reader.sizes(inputs, is_output=False))
            _add_sizes(tally.output_sizes, reader.sizes(labels, is_output=True))
            if isinstance(reader.domain, SudokuDomain):
                tally.clues.add((inputs > BLANK).sum(axis=1))
            if isinstance(reader.domain, MazeDomain):
                tally.path_lengths.add((labels == MARK_TOKEN).sum(axis=1) + 1)
            given, wanted = bytes_of(reader.compact(inputs)), bytes_of(reader.compact(labels))
            tally.input_prints[rows] = fingerprints(given)
            tally.pair_prints[rows] = fingerprints(np.concatenate([given, wanted], axis=1))
            done += len(inputs)
            report(f"reading {dataset.split}", done, total)
    return tally


def _add_sizes(counts: Counter[tuple[int, int]], sizes: NDArray[np.int64]) -> None:
    found, times = np.unique(sizes, axis=0, return_counts=True)
    for (rows, columns), count in zip(found.tolist(), times.tolist(), strict=True):
        counts[rows, columns] += count


def bytes_of(rows: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Rows of numbers `[n, S]` as rows of bytes, for fingerprints."""
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)


def symbol_records(tallies: Sequence[SplitTally], reader: TokenReader) -> list[dict[str, Any]]:
    """For each symbol its counts in inputs and outputs of every split, the most frequent symbol first."""
    records = []
    for token, name in reader.symbols().items():
        splits = {
            tally.dataset.split: {"inputs": int(tally.inputs[token]), "outputs": int(tally.outputs[token])}
            for tally in tallies
        }
        total = sum(sum(counts.values()) for counts in splits.values())
        records.append({"symbol": name, "count": total, "splits": splits})
    return sorted(records, key=lambda record: -int(record["count"]))
