"""The tasks of a built ARC dataset: the original of every group, as demonstrations and test pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hrm_cli.data.arc.online import read_identifiers
from hrm_cli.data.format import Dataset
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.puzzles.arc.symmetry import SEPARATOR
from hrm_cli.puzzles.arc.tasks import Pair, Task


def task_names(dataset: Dataset) -> list[str]:
    """The name of the task of each group."""
    names = read_identifiers(dataset)
    first = dataset.puzzle_identifiers[dataset.group_indices[:-1]]
    return [names[number].partition(SEPARATOR)[0] for number in first.tolist()]


def tasks_of(train: Dataset, test: Dataset, reader: TokenReader) -> tuple[list[Task], list[Task]]:
    """The training tasks, and the test tasks with the demonstrations that the training split has of them."""
    shown = dict(_pairs(train, reader))
    tested = dict(_pairs(test, reader))
    return (
        [Task(name, pairs, ()) for name, pairs in shown.items() if name not in tested],
        [Task(name, shown.get(name, ()), pairs) for name, pairs in tested.items()],
    )


def _pairs(dataset: Dataset, reader: TokenReader) -> Iterator[tuple[str, tuple[Pair, ...]]]:
    for group, name in enumerate(task_names(dataset)):
        puzzle = dataset.group_indices[group]
        examples = np.arange(dataset.puzzle_indices[puzzle], dataset.puzzle_indices[puzzle + 1])
        pairs = []
        for tokens in zip(*dataset.gather(examples), strict=True):
            given = reader.grid(tokens[0])
            if given is not None:
                pairs.append(Pair(given, reader.grid(tokens[1], is_output=True)))
        yield name, tuple(pairs)
