"""Which puzzles of a source are trained on and which are held out: drawn at random, never the same in both.

Letters in shapes: n rows of a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hrm_cli.config.schema import DataConfig
from hrm_cli.data.checks import solutions
from hrm_cli.data.fingerprints import Fingerprints, fingerprints, first_occurrences, occurs_in
from hrm_cli.data.pool import PuzzlePool, Rows
from hrm_cli.data.sources import BUILTIN, Report, Source
from hrm_cli.errors import DatasetError

_CHUNK = 2048
_ROUNDS = 8
"""How often a generator is asked for more where too few training puzzles are left."""


@dataclass(frozen=True)
class Selection:
    """The chosen rows of a source's pools."""

    train: Rows
    """Of `source.train`."""
    test: Rows
    """Of `source.test` or, where the source has none, of `source.train`."""


def select(source: Source, config: DataConfig, rng: np.random.Generator, report: Report) -> Selection:
    """Draws test puzzles first, then training puzzles apart from them.

    `strict_split` keeps them apart up to symmetry. Raises DatasetError when too few puzzles are left.
    """
    chooser = _Chooser(source, config, report)
    if source.test is not None:
        wanted = config.test_subsample_size
        test = chooser.take(source.test, _order(len(source.test), wanted, rng), wanted, "test")
        train_order = _order(len(source.train), config.subsample_size, rng)
        chooser.hold_out(source.test, test)
    else:
        order = rng.permutation(len(source.train))
        if config.strict_split and config.num_test:
            order = _class_by_class(chooser.classes(source.train, order), order, rng)
        test = chooser.take(source.train, order, config.num_test, "test") if config.num_test else order[:0]
        train_order = order
        chooser.hold_out(source.train, test)
    wanted = config.num_train if config.source == BUILTIN else config.subsample_size
    train = chooser.take(source.train, train_order, wanted, "training", extend=source.more)
    source.notes += chooser.notes()
    # In the order of the source: the same puzzles make the same dataset, and reading them goes forward only.
    return Selection(np.sort(train), np.sort(test))


def _order(count: int, wanted: int | None, rng: np.random.Generator) -> Rows:
    return np.arange(count) if wanted is None else rng.permutation(count)


def _class_by_class(classes: Fingerprints, order: Rows, rng: np.random.Generator) -> Rows:
    # Whole classes of symmetric puzzles go to one side. Of 4×4 puzzles there are so few classes that a test
    # set drawn puzzle by puzzle would touch all of them and leave nothing to train on.
    _, number = np.unique(classes, return_inverse=True)
    place = rng.permutation(int(number.max()) + 1)[number]
    return order[np.argsort(place, kind="stable")]


class _Chooser:
    def __init__(self, source: Source, config: DataConfig, report: Report) -> None:
        self._source = source
        self._config = config
        self._report = report
        self._left_out: dict[str, int] = {}
        self._held_out = np.empty(0, np.uint64)
        self._held_out_classes = np.empty(0, np.uint64)

    def notes(self) -> list[str]:
        """What was left out, in words."""
        return [f"left out {count:,} {what}" for what, count in self._left_out.items() if count]

    def hold_out(self, pool: PuzzlePool, rows: Rows) -> None:
        """From here on these rows, and with `strict_split` their images, are not taken."""
        self._held_out = np.sort(pool.prints(rows))
        if self._config.strict_split:
            self._held_out_classes = np.sort(self.classes(pool, rows))

    def classes(self, pool: PuzzlePool, rows: Rows) -> Fingerprints:
        """Fingerprints of the canonical forms of these rows: equal for symmetric puzzles, `[n]`."""
        parts = [np.empty(0, np.uint64)]
        for chunk in _chunks(rows):
            names = b"".join(self._source.domain.canonical(pool.rows(chunk)[0]))
            parts.append(fingerprints(np.frombuffer(names, np.uint8).reshape(len(chunk), -1)))
            if len(rows) > _CHUNK:
                self._report("comparing puzzles up to symmetry", sum(map(len, parts)), len(rows))
        return np.concatenate(parts)

    def take(
        self,
        pool: PuzzlePool,
        order: Rows,
        wanted: int | None,
        what: str,
        *,
        extend: Callable[[int], None] | None = None,
    ) -> Rows:
        """The first `wanted` usable rows in `order` (None: all). Raises DatasetError when there are fewer."""
        taken = self._usable(pool, order, wanted, what)
        for _ in range(_ROUNDS):
            if wanted is None or len(taken) >= wanted or extend is None:
                break
            known = len(pool)
            extend(2 * (wanted - len(taken)) + 64)
            order = np.concatenate([order, np.arange(known, len(pool))])
            taken = self._usable(pool, order, wanted, what)
        if not len(taken) or (wanted is not None and len(taken) < wanted):
            apart = " apart from the test puzzles" if len(self._held_out) else ""
            symmetric = " and their symmetric images" if apart and self._config.strict_split else ""
            raise DatasetError(
                f"source {self._config.source}: {len(taken):,} usable {what} puzzles{apart}{symmetric}"
                + (f"; {wanted:,} were asked for" if wanted is not None else "")
                + "".join(f" ({note})" for note in self._source.notes + self.notes())
            )
        return taken

    def _usable(self, pool: PuzzlePool, order: Rows, wanted: int | None, what: str) -> Rows:
        prints = pool.prints(order)
        first = first_occurrences(prints)
        shared = first & occurs_in(prints, self._held_out)
        order = order[first & ~shared]
        if self._source.more is None:
            where = " of the test set" if pool is self._source.test else ""
            self._left_out[f"repeated puzzles{where}"] = int((~first).sum())
        if self._source.test is not None:
            self._left_out[f"{what} puzzles that are test puzzles"] = int(shared.sum())
        if self._source.unique and not len(self._held_out_classes):
            return order[:wanted]
        symmetric = several = have = 0
        taken = [order[:0]]
        # No more than needed at a time: hard puzzles take the solver long.
        for chunk in _chunks(order, _CHUNK if wanted is None else min(_CHUNK, wanted + 16)):
            rows = chunk
            if len(self._held_out_classes):
                apart = ~occurs_in(self.classes(pool, rows), self._held_out_classes)
                symmetric += int((~apart).sum())
                rows = rows[apart]
            if not self._source.unique:
                one = solutions(pool.rows(rows)[0], self._source.domain).counts == 1
                several += int((~one).sum())
                rows = rows[one]
            taken.append(rows)
            have += len(rows)
            total = len(order) if wanted is None else wanted
            self._report(f"checking {what} puzzles", min(have, total), total)
            if wanted is not None and have >= wanted:
                break
        self._left_out[f"{what} puzzles with several solutions"] = several
        self._left_out[f"{what} puzzles that are symmetric images of test puzzles"] = symmetric
        return np.concatenate(taken)[:wanted]


def _chunks(rows: Rows, size: int = _CHUNK) -> Iterator[Rows]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
