"""Examples of a dataset with augmented copies next to them: stored ones, or those that training makes.

Letters in shapes: n examples, S tokens of an example.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.arc.online import ArcCopies
from hrm_cli.data.augmentation import OnlineAugmentation
from hrm_cli.data.format import Dataset
from hrm_cli.inspection.arc_tasks import task_names
from hrm_cli.inspection.grids_in_tokens import TokenReader
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.symmetry import COLORS, ArcSymmetry
from hrm_cli.puzzles.domain import Grid
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.symmetry import GridCopies

STORED, ONLINE, POSSIBLE = "stored", "online", "possible"
"""Kinds of copies: in the dataset; made during training; what augmentation would make (the dataset has none)."""

Tokens = NDArray[Any]


@dataclass(frozen=True)
class Copy:
    """An augmented copy of an example."""

    kind: str
    input: Grid
    output: Grid | None


@dataclass(frozen=True)
class Example:
    """An example of a dataset."""

    split: str
    set: str
    number: int
    """Index in the split."""
    name: str
    """ARC: the task."""
    input: Grid
    output: Grid | None
    copies: tuple[Copy, ...] = ()

    def record(self, reader: TokenReader) -> dict[str, Any]:
        """The example for JSON."""
        return {
            "split": self.split,
            "set": self.set,
            "number": self.number,
            "name": self.name,
            "input": reader.record(self.input),
            "output": reader.record(self.output),
            "copies": [
                {
                    "kind": copy.kind,
                    "input": reader.record(copy.input),
                    "output": reader.record(copy.output),
                }
                for copy in self.copies
            ],
        }


def sample_examples(
    dataset: Dataset, reader: TokenReader, count: int, copies: int, seed: int, symmetries: Sequence[str] = ()
) -> Iterator[Example]:
    """Up to `count` original examples of each set, sampled with the seed, in their order, with `copies` copies each."""
    rng = np.random.default_rng([seed, *dataset.split.encode()])
    names = task_names(dataset) if isinstance(reader.domain, ArcDomain) else []
    source = _Copies(dataset, reader, tuple(symmetries), rng)
    for owner, part in enumerate(dataset.sets):
        groups = _groups_of(dataset, owner)
        chosen = np.sort(rng.choice(groups, min(count, len(groups)), replace=False))
        for group in chosen.tolist():
            puzzle = int(dataset.group_indices[group])
            first, end = dataset.puzzle_indices[puzzle : puzzle + 2].tolist()
            number = int(rng.integers(first, end))
            inputs, labels = dataset.gather(np.array([number]))
            given, wanted = reader.grid(inputs[0]), reader.grid(labels[0], is_output=True)
            if given is None:
                continue
            example = Example(dataset.split, part.name, number, names[group] if names else "", given, wanted)
            yield replace(example, copies=tuple(source.of(example, group, number - first, copies)))


def _groups_of(dataset: Dataset, owner: int) -> NDArray[np.int64]:
    sizes = [len(part.group_indices) - 1 for part in dataset.sets]
    return np.arange(sizes[owner]) + sum(sizes[:owner])


@dataclass
class _Copies:
    """Gives the copies of examples of one split."""

    dataset: Dataset
    reader: TokenReader
    symmetries: tuple[str, ...]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        is_online = self.dataset.metadata.augment == "online"
        domain = self.reader.domain
        self._arc = ArcCopies.of(self.dataset) if is_online and isinstance(domain, ArcDomain) else None
        other = is_online and not isinstance(domain, ArcDomain | GridsDomain) and domain is not None
        self._online = OnlineAugmentation.of(self.dataset) if other else None

    def of(self, example: Example, group: int, place: int, count: int) -> Iterator[Copy]:
        """Up to `count` copies; `place` is the example's index in its puzzle."""
        if not count:
            return
        first, end = self.dataset.group_indices[group : group + 2].tolist()
        if end - first > 1:
            for puzzle in np.sort(
                self.rng.choice(np.arange(first + 1, end), min(count, end - first - 1), replace=False)
            ):
                starts = self.dataset.puzzle_indices[puzzle : puzzle + 2].tolist()
                if starts[0] + place < starts[1]:
                    yield from self._copy(STORED, *self.dataset.gather(np.array([starts[0] + place])))
            return
        is_trained = self.dataset.split == "train" and self.dataset.metadata.augment == "online"
        kind = ONLINE if is_trained else POSSIBLE
        for _ in range(count):
            yield from self._made(example, kind)

    def _copy(self, kind: str, inputs: Tokens, labels: Tokens) -> Iterator[Copy]:
        given = self.reader.grid(inputs[0])
        if given is not None:
            yield Copy(kind, given, self.reader.grid(labels[0], is_output=True))

    def _made(self, example: Example, kind: str) -> Iterator[Copy]:
        domain = self.reader.domain
        inputs, labels = self.dataset.gather(np.array([example.number]))
        if isinstance(domain, ArcDomain):
            if kind == ONLINE and self._arc is not None:
                epoch = self.rng.integers(0, 1 << 30, 1)
                made, _ = self._arc.sample(np.array([example.number]), epoch, 0, self.rng)
                yield from self._copy(kind, *made)
                return
            colors = (0, *(1 + self.rng.permutation(COLORS - 1)).tolist())
            symmetry = ArcSymmetry(int(self.rng.integers(8)), colors)
            output = None if example.output is None else symmetry.apply(example.output)
            yield Copy(kind, symmetry.apply(example.input), output)
        elif isinstance(domain, GridsDomain):
            yield from self._own(domain, kind, inputs, labels)
        elif domain is not None:
            grids = inputs.astype(np.uint8), np.where(labels < 0, 0, labels).astype(np.uint8)
            if kind == ONLINE and self._online is not None:
                yield from self._copy(kind, *self._online.apply(*grids, self.rng))
            else:
                yield from self._copy(kind, *domain.sample_symmetries(self.rng, 1).apply_both(*grids))

    def _own(self, domain: GridsDomain, kind: str, inputs: Tokens, labels: Tokens) -> Iterator[Copy]:
        from hrm_cli.inspection.claims import on_canvas, square_canvas

        names = self.symmetries or domain.symmetries
        if not names:
            return
        canvas = square_canvas(domain)
        canvas.symmetries = tuple(names)
        grids = [on_canvas(tokens, domain, canvas).astype(np.int32) for tokens in (inputs, labels)]
        given, wanted = GridCopies(canvas).apply(grids[0], grids[1], self.rng)
        reader = TokenReader(canvas, self.reader.metadata)
        found, output = reader.grid(given[0]), reader.grid(wanted[0], is_output=True)
        if found is not None:
            yield Copy(kind, found, output)
