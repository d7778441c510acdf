"""Trivial baselines: their scores on the same data, for comparison with every cell accuracy.

Cell accuracy is the mean over puzzles of the fraction of correct cells, as in the model's own metric. For ARC the
baselines are also measured on output grids instead of padded token fields. Published cell accuracies are measured on
grids, some of them padded to 30×30 with the background color, which inflates them further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.batches import evaluation_batches
from hrm_cli.data.format import IGNORED_LABEL, Dataset
from hrm_cli.puzzles.arc.kernels import FIRST_COLOR, SIDE
from hrm_cli.puzzles.arc.symmetry import COLORS
from hrm_cli.puzzles.arc.tasks import Pair, Task
from hrm_cli.puzzles.domain import Grid

_CHUNK = 4096


@dataclass(frozen=True)
class Baseline:
    """The scores of one trivial baseline, each between 0 and 1."""

    cell_accuracy: float
    exact_accuracy: float


@dataclass
class _Tally:
    cells: float = 0.0
    exact: int = 0
    puzzles: int = 0

    def add(self, predictions: NDArray[np.int32], labels: NDArray[np.int32]) -> None:
        labeled = labels != IGNORED_LABEL
        rows = labeled.any(axis=1)
        right = (labeled & (predictions == labels)).sum(axis=1)[rows]
        counts = labeled.sum(axis=1)[rows]
        self.cells += float((right / counts).sum())
        self.exact += int((right == counts).sum())
        self.puzzles += int(rows.sum())

    def result(self) -> Baseline:
        puzzles = max(self.puzzles, 1)
        return Baseline(self.cells / puzzles, self.exact / puzzles)


@dataclass
class TokenCounts:
    """Counts how often each token occurs as a label."""

    vocab_size: int
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.vocab_size, dtype=np.int64)

    def add(self, labels: NDArray[np.int32]) -> None:
        """Counts the labeled tokens of `[B, S]`."""
        self.counts += np.bincount(labels[labels != IGNORED_LABEL], minlength=self.vocab_size)[
            : self.vocab_size
        ]

    @property
    def most_frequent(self) -> int:
        """The most frequent label token."""
        return int(self.counts.argmax())


def measure_baselines(
    dataset: Dataset, *, limit: int | None = None, among: NDArray[np.int64] | None = None
) -> Mapping[str, Baseline]:
    """Scores of `most_frequent` (one token everywhere) and `copy_input` (the puzzle as its own answer).

    For ARC also `all_background` (color 0 everywhere). `limit` and `among` as in `evaluation_batches`.
    """
    tokens = TokenCounts(dataset.metadata.vocab_size)
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit, among=among):
        tokens.add(batch.labels)
    answers: dict[str, Callable[[NDArray[np.int32]], NDArray[np.int32]]] = {
        "most_frequent": lambda inputs: np.full_like(inputs, tokens.most_frequent),
        "copy_input": lambda inputs: inputs,
    }
    if is_arc(dataset):
        answers["all_background"] = lambda inputs: np.full_like(inputs, FIRST_COLOR)
    tallies = {name: _Tally() for name in answers}
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit, among=among):
        for name, answer in answers.items():
            tallies[name].add(answer(batch.inputs), batch.labels)
    return {name: tally.result() for name, tally in tallies.items()}


BACKGROUND = 0


def measure_output_baselines(tasks: Iterable[Task]) -> tuple[int, Mapping[str, Baseline]]:
    """The number of known test outputs, and for each baseline the mean over them of the fraction of correct cells.

    `all_background`: color 0 in a grid of the correct size. `copy_input`: the input; scores 0 if the sizes differ.
    `most_frequent`: the most frequent color of these outputs. `all_background_padded`: color 0, with outputs padded to
    30×30 with color 0.
    """
    pairs = [pair for task in tasks for pair in task.test if pair.output is not None]
    outputs = [pair.output for pair in pairs if pair.output is not None]
    counts = sum(
        (np.bincount(grid.ravel(), minlength=COLORS) for grid in outputs), np.zeros(COLORS, np.int64)
    )
    frequent = int(counts.argmax())
    answers: dict[str, Callable[[Pair, Grid], float]] = {
        "most_frequent": lambda pair, output: float((output == frequent).mean()),
        "copy_input": lambda pair, output: _agreement(pair.input, output),
        "all_background": lambda pair, output: float((output == BACKGROUND).mean()),
        "all_background_padded": lambda pair, output: 1 - float((output != BACKGROUND).sum()) / SIDE**2,
    }
    return len(outputs), {
        name: _mean([answer(pair, output) for pair, output in zip(pairs, outputs, strict=True)])
        for name, answer in answers.items()
    }


def _agreement(answer: Grid, output: Grid) -> float:
    return float((answer == output).mean()) if answer.shape == output.shape else 0.0


def _mean(shares: list[float]) -> Baseline:
    count = max(len(shares), 1)
    return Baseline(sum(shares) / count, sum(share == 1.0 for share in shares) / count)
