"""Trivial predictors: what they score on the same data, the figures to hold next to every cell accuracy.

Cell accuracy is the mean over puzzles of the fraction of right cells, as in the model's own metric. For ARC they are
also measured on outputs as grids, not as tokens of a padded field: published cell accuracies are of this kind, some
on grids padded to 30×30 with the background, which inflates them further.
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
    """One trivial predictor's scores, each 0..1."""

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
    """How often each token is the answer."""

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
        """The token that is the answer most often."""
        return int(self.counts.argmax())


def measure_baselines(
    dataset: Dataset, *, limit: int | None = None, among: NDArray[np.int64] | None = None
) -> Mapping[str, Baseline]:
    """Scores of `most_frequent` (one token everywhere) and `copy_input` (the puzzle as its own answer).

    Of ARC also `all_background` (color 0 everywhere). `limit` and `among` as in `evaluation_batches`.
    """
    tokens = TokenCounts(dataset.metadata.vocab_size)
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit, among=among):
        tokens.add(batch.labels)
    predictors: dict[str, Callable[[NDArray[np.int32]], NDArray[np.int32]]] = {
        "most_frequent": lambda inputs: np.full_like(inputs, tokens.most_frequent),
        "copy_input": lambda inputs: inputs,
    }
    if is_arc(dataset):
        predictors["all_background"] = lambda inputs: np.full_like(inputs, FIRST_COLOR)
    tallies = {name: _Tally() for name in predictors}
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit, among=among):
        for name, predict in predictors.items():
            tallies[name].add(predict(batch.inputs), batch.labels)
    return {name: tally.result() for name, tally in tallies.items()}


BACKGROUND = 0


def measure_output_baselines(tasks: Iterable[Task]) -> tuple[int, Mapping[str, Baseline]]:
    """How many known test outputs there are, and the mean over them of each predictor's share of right cells.

    `all_background`: color 0 in a grid of the right size; `copy_input`: the input, nothing right where the sizes
    differ; `most_frequent`: the color that these outputs have most often; `all_background_padded`: color 0 after
    the outputs were padded to 30×30 with color 0.
    """
    pairs = [pair for task in tasks for pair in task.test if pair.output is not None]
    outputs = [pair.output for pair in pairs if pair.output is not None]
    counts = sum(
        (np.bincount(grid.ravel(), minlength=COLORS) for grid in outputs), np.zeros(COLORS, np.int64)
    )
    frequent = int(counts.argmax())
    predictors: dict[str, Callable[[Pair, Grid], float]] = {
        "most_frequent": lambda pair, output: float((output == frequent).mean()),
        "copy_input": lambda pair, output: _agreement(pair.input, output),
        "all_background": lambda pair, output: float((output == BACKGROUND).mean()),
        "all_background_padded": lambda pair, output: 1 - float((output != BACKGROUND).sum()) / SIDE**2,
    }
    return len(outputs), {
        name: _mean([predict(pair, output) for pair, output in zip(pairs, outputs, strict=True)])
        for name, predict in predictors.items()
    }


def _agreement(answer: Grid, output: Grid) -> float:
    return float((answer == output).mean()) if answer.shape == output.shape else 0.0


def _mean(shares: list[float]) -> Baseline:
    count = max(len(shares), 1)
    return Baseline(sum(shares) / count, sum(share == 1.0 for share in shares) / count)
