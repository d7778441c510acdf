"""Finds leaks between training and test tasks of ARC: pairs or whole tasks that occur in both up to symmetry.

The symmetries are those of augmentation: the eight of the square and the permutations of colors 1 to 9. A training task
that is a copy of a test task reveals its answers, even under another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.sources import Report
from hrm_cli.printable import counted
from hrm_cli.puzzles.arc.symmetry import COLORS
from hrm_cli.puzzles.arc.tasks import Pair, Task
from hrm_cli.puzzles.dihedral import SYMMETRIES, transform

_MAX_LISTED = 3
"""Number of tasks that a note lists by name."""
_MAX_TRIES = 5_000
"""Maximum number of pairs compared for two tasks. Dozens are enough unless many tiny grids are similar."""
_UNMAPPED = -1
"""Marks a color that is not mapped yet."""


@dataclass(frozen=True)
class Leaks:
    """The overlaps found, each as the names of the training task and of the test task."""

    same_tasks: tuple[tuple[str, str], ...] = ()
    """Tasks for which one symmetry maps every pair of the smaller task, at least two, to a pair of the larger task."""
    answers: tuple[tuple[str, str], ...] = ()
    """Test tasks with a test pair that also occurs, up to symmetry, among the training pairs of another task."""

    def notes(self) -> list[str]:
        """One note per kind of leak, with its count and the first names; empty if there are no leaks."""
        kinds = (
            (self.same_tasks, "training task", "the same as a test task"),
            (self.answers, "task", "used for training with a pair that is a test pair of another task"),
        )
        return [
            f"leak check: {counted(len(found), noun)} {'is' if len(found) == 1 else 'are'} {what}, up to rotation, "
            f"reflection and recoloring ({_listed(found)})"
            for found, noun, what in kinds
            if found
        ]


def _listed(found: Sequence[tuple[str, str]]) -> str:
    more = ", …" if len(found) > _MAX_LISTED else ""
    return ", ".join(f"{trained} of test task {tested}" for trained, tested in found[:_MAX_LISTED]) + more


def find_leaks(train: Sequence[Task], test: Sequence[Task], report: Report | None = None) -> Leaks:
    """Compares all training pairs (of `train`, and demonstrations of `test`) with the tasks of `test`.

    Pairs without an output are ignored. A test pair that repeats a demonstration of its own task is not a leak.
    """
    total, done = len(train) + len(test), 0
    keys: dict[str, list[bytes]] = {}
    owners: dict[bytes, dict[str, None]] = {}
    for tasks, is_test in ((train, False), (test, True)):
        for task in tasks:
            trained = task.train if is_test else _known(task)
            for pair in trained:
                owners.setdefault(canonical_pair(pair), {})[task.name] = None
            if is_test:
                keys[task.name] = [canonical_pair(pair) for pair in task.test if pair.output is not None]
            done += 1
            if report is not None:
                report("checking for leaks", done, total)
    answers = [
        (name, task.name)
        for task in test
        for name in dict.fromkeys(name for key in keys[task.name] for name in owners.get(key, ()))
        if name != task.name
    ]
    by_name = {task.name: task for task in train}
    same: list[tuple[str, str]] = []
    for task in test:
        pairs = _known(task)
        sharing = dict.fromkeys(name for pair in pairs for name in owners.get(canonical_pair(pair), ()))
        same += [
            (name, task.name)
            for name in sharing
            if name in by_name and is_same_task(_known(by_name[name]), pairs)
        ]
    return Leaks(tuple(same), tuple(answers))


def without_leaks(train: Sequence[Task], test: Sequence[Task]) -> list[Task]:
    """Removes from `train` copies of test tasks, copies of test pairs, and tasks left without pairs."""
    same = {name for name, _ in find_leaks(train, test).same_tasks}
    tested = {canonical_pair(pair) for task in test for pair in task.test if pair.output is not None}

    def kept(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs if pair.output is None or canonical_pair(pair) not in tested)

    cleaned = [
        replace(task, train=kept(task.train), test=kept(task.test)) for task in train if task.name not in same
    ]
    return [task for task in cleaned if _known(task)]


def canonical_pair(pair: Pair) -> bytes:
    """A key for each pair. Two pairs have equal keys exactly if one is an augmented copy of the other."""
    assert pair.output is not None
    return min(_numbered(pair.input, pair.output, number) for number in range(SYMMETRIES))


def _numbered(given: NDArray[np.uint8], output: NDArray[np.uint8], number: int) -> bytes:
    """Transforms a pair and renumbers its colors in order of first occurrence. Color 0 does not change."""
    one, other = transform(given, number), transform(output, number)
    cells = np.concatenate([one.reshape(-1), other.reshape(-1)])
    values, first = np.unique(cells, return_index=True)
    order = values[np.argsort(first)]
    order = order[order != 0]
    table = np.zeros(COLORS, np.uint8)
    table[order] = np.arange(1, len(order) + 1)
    return bytes((*one.shape, *other.shape)) + table[cells].tobytes()


def is_same_task(first: Sequence[Pair], second: Sequence[Pair]) -> bool:
    """Whether one symmetry maps every pair of the smaller set to a pair of the larger set.

    The smaller set must have at least two different pairs.
    """
    small, large = sorted(
        ({canonical_pair(p) + _key(p): p for p in pairs} for pairs in (first, second)), key=len
    )
    if len(small) < 2:
        return False
    identity = np.full(COLORS, _UNMAPPED, np.int16)
    identity[0] = 0
    tries = iter(range(_MAX_TRIES))
    return any(
        _match(list(small.values()), list(large.values()), number, identity, tries)
        for number in range(SYMMETRIES)
    )


def _match(
    small: list[Pair], large: list[Pair], number: int, colors: NDArray[np.int16], tries: Iterator[int]
) -> bool:
    """Whether the remaining pairs can be matched given the color mapping so far. False when `tries` is used up."""
    if not small:
        return True
    pair = small[0]
    for place, other in enumerate(large):
        if next(tries, None) is None:
            return False
        extended = _recolored(pair, other, number, colors)
        if extended is not None and _match(
            small[1:], [*large[:place], *large[place + 1 :]], number, extended, tries
        ):
            return True
    return False


def _recolored(pair: Pair, other: Pair, number: int, colors: NDArray[np.int16]) -> NDArray[np.int16] | None:
    """The color mapping that turns the transformed `pair` into `other`; None if there is none."""
    assert pair.output is not None
    assert other.output is not None
    extended = colors.copy()
    for grid, wanted in ((pair.input, other.input), (pair.output, other.output)):
        moved = transform(grid, number)
        if moved.shape != wanted.shape:
            return None
        codes = np.unique(moved.reshape(-1).astype(np.int16) * COLORS + wanted.reshape(-1))
        for old, new in zip((codes // COLORS).tolist(), (codes % COLORS).tolist(), strict=True):
            if extended[old] == _UNMAPPED and new not in extended:
                extended[old] = new
            elif extended[old] != new:
                return None
    return extended


def _known(task: Task) -> list[Pair]:
    return [pair for pair in (*task.train, *task.test) if pair.output is not None]


def _key(pair: Pair) -> bytes:
    assert pair.output is not None
    return bytes((*pair.input.shape, *pair.output.shape)) + pair.input.tobytes() + pair.output.tobytes()
