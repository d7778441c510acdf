"""Training on several sizes at once: batches of one size each, in turns, from one dataset per size.

A batch of larger puzzles has fewer rows, so that every batch has about as many states: with the `units` mixer one for
every cell and symbol, with `neighbors` one for every cell, with `edges` four.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hrm_cli.data.batches import Batch, TrainingBatches, steps_per_epoch
from hrm_cli.data.format import Dataset
from hrm_cli.errors import DatasetError
from hrm_cli.puzzles.domain import domain_of


def rows_of(dataset: Dataset, main: Dataset, global_batch_size: int, world_size: int = 1) -> int:
    """Rows of a batch of `dataset`, if one of `main` has `global_batch_size`; a multiple of the number of ranks."""
    rows = global_batch_size * _states(main) // _states(dataset)
    return min(global_batch_size, max(1, rows // world_size) * world_size)


def _states(dataset: Dataset) -> int:
    metadata = dataset.metadata
    # With the units mixer, a position is a pair of cell and symbol; with neighbors, a cell; with
    # edges, a side of a cell. Only the ratio of the two numbers matters.
    domain = domain_of(metadata.domain, metadata.vocab_size, metadata.seq_len)
    relations = getattr(domain, "relations", None)
    return metadata.seq_len * (1 if relations is None else int(relations.num_symbols))


def steps_of_all(datasets: Sequence[Dataset], global_batch_size: int, world_size: int = 1) -> float:
    """Steps of an epoch over all datasets, the main one first."""
    return sum(
        steps_per_epoch(part, rows_of(part, datasets[0], global_batch_size, world_size)) for part in datasets
    )


def check_sizes(datasets: Sequence[Dataset]) -> None:
    """Raises DatasetError if two datasets have the same size, or another domain than the first."""
    main = datasets[0].metadata
    lengths = {main.seq_len}
    for dataset in datasets[1:]:
        metadata = dataset.metadata
        names = [(part.domain or {}).get("name") for part in (main, metadata)]
        if names[0] != names[1]:
            raise DatasetError(
                f"{dataset.directory}: its puzzles are of the domain {names[1]}, but those of "
                f"{datasets[0].directory} are of {names[0]}"
            )
        if metadata.seq_len in lengths:
            raise DatasetError(
                f"{dataset.directory}: puzzles of {metadata.seq_len} cells, a size that another dataset has already; "
                "`data.also` mixes puzzles of one size"
            )
        lengths.add(metadata.seq_len)


class AlternatingBatches(Iterator[Batch]):
    """Batches of several datasets in turns, each in proportion to the batches of its epoch.

    The order depends only on the numbers of batches taken, so the state is that of every stream and these numbers.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        global_batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_sizes(datasets)
        rows = [rows_of(part, datasets[0], global_batch_size, world_size) for part in datasets]
        self._streams = [
            TrainingBatches(part, count, seed=seed, rank=rank, world_size=world_size)
            for part, count in zip(datasets, rows, strict=True)
        ]
        self._shares = [steps_per_epoch(part, count) for part, count in zip(datasets, rows, strict=True)]
        self._taken = [0] * len(datasets)

    def __next__(self) -> Batch:
        # The stream that is furthest behind its share; of equals, the first.
        due = [(taken + 0.5) / share for taken, share in zip(self._taken, self._shares, strict=True)]
        chosen = due.index(min(due))
        self._taken[chosen] += 1
        return next(self._streams[chosen])

    def state_dict(self) -> dict[str, Any]:
        """The position between two batches, as JSON-serializable numbers."""
        return {"taken": list(self._taken), "streams": [stream.state_dict() for stream in self._streams]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from the position of `state_dict`. Raises DatasetError if it belongs to other datasets."""
        taken, streams = state.get("taken"), state.get("streams")
        if (
            not isinstance(taken, list)
            or not isinstance(streams, list)
            or not len(taken) == len(streams) == len(self._streams)
            or not all(type(count) is int and 0 <= count < 2**62 for count in taken)
            or not all(isinstance(one, dict) for one in streams)
        ):
            raise DatasetError(
                f"the resumed run was not trained on these {len(self._streams)} sizes; give it its original datasets"
            )
        for stream, one in zip(self._streams, streams, strict=True):
            stream.load_state_dict(one)
        self._taken = list(taken)
