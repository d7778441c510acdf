"""What predictors without any insight score on the same data: the figures to hold beside every cell accuracy.

Cell accuracy is the mean over puzzles of the share of right cells, as in the model's own metric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.arc.online import is_arc
from hrm_cli.data.batches import evaluation_batches
from hrm_cli.data.format import IGNORED_LABEL, Dataset
from hrm_cli.puzzles.arc.kernels import FIRST_COLOUR

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
        labelled = labels != IGNORED_LABEL
        rows = labelled.any(axis=1)
        right = (labelled & (predictions == labels)).sum(axis=1)[rows]
        counts = labelled.sum(axis=1)[rows]
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
        """Counts the labelled tokens of `[B, S]`."""
        self.counts += np.bincount(labels[labels != IGNORED_LABEL], minlength=self.vocab_size)[
            : self.vocab_size
        ]

    @property
    def most_frequent(self) -> int:
        """The token that is the answer most often."""
        return int(self.counts.argmax())


def measure_baselines(dataset: Dataset, *, limit: int | None = None) -> Mapping[str, Baseline]:
    """Scores of `most_frequent` (one token everywhere) and `copy_input` (the puzzle as its own answer).

    Of ARC also `all_background` (colour 0 everywhere).
    """
    tokens = TokenCounts(dataset.metadata.vocab_size)
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit):
        tokens.add(batch.labels)
    predictors: dict[str, Callable[[NDArray[np.int32]], NDArray[np.int32]]] = {
        "most_frequent": lambda inputs: np.full_like(inputs, tokens.most_frequent),
        "copy_input": lambda inputs: inputs,
    }
    if is_arc(dataset):
        predictors["all_background"] = lambda inputs: np.full_like(inputs, FIRST_COLOUR)
    tallies = {name: _Tally() for name in predictors}
    for batch in evaluation_batches(dataset, _CHUNK, limit=limit):
        for name, predict in predictors.items():
            tallies[name].add(predict(batch.inputs), batch.labels)
    return {name: tally.result() for name, tally in tallies.items()}
