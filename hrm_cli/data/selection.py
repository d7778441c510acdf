"""Selects the puzzles of a dataset: samples disjoint splits from the sources and adds variations.

Variations are training puzzles made from puzzles of the source. They extend kinds of puzzles that are too rare to
generate, such as the hardest Sudoku. They are made from training puzzles only, so no held-out puzzle leaks into them.
Variations that equal a held-out puzzle (or are symmetric to one, with `strict_split`) are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.data import check_can_vary
from hrm_cli.config.schema import DataConfig
from hrm_cli.data.checks import solutions
from hrm_cli.data.fingerprints import Fingerprints, fingerprints, first_occurrences, occurs_in
from hrm_cli.data.sources import BUILTIN, PuzzlePool, Report, Rows, Source
from hrm_cli.errors import ConfigError, DatasetError
from hrm_cli.machine import granted_cores
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import BulkDomain, Tokens
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain

_CHUNK = 2048
_ROUNDS = 8
"""Maximum number of times that generation is repeated if too few training puzzles are left."""


@dataclass(frozen=True)
class Selection:
    """The chosen row indices in a source's pools."""

    train: Rows
    """Rows of `source.train`."""
    validation: Rows
    """Rows of `source.train`."""
    test: Rows
    """Rows of `source.test`, or of `source.train` if the source has no test set."""


@dataclass
class _UsedPuzzles:
    """The puzzles of all sources that are no longer available."""

    held_out: Fingerprints = field(default_factory=lambda: np.empty(0, np.uint64))
    """Test and validation puzzles, sorted."""
    classes: Fingerprints = field(default_factory=lambda: np.empty(0, np.uint64))
    """Canonical forms of the held-out puzzles if `strict_split` is set, sorted."""
    trained: Fingerprints = field(default_factory=lambda: np.empty(0, np.uint64))
    """Training puzzles of earlier sources, sorted."""


def select(
    sources: Sequence[Source],
    configs: Sequence[DataConfig],
    rngs: Sequence[np.random.Generator],
    report: Report,
) -> list[Selection]:
    """Samples the test puzzles of all sources, then disjoint validation puzzles, then training puzzles.

    No puzzle is sampled twice, across all sources and splits. With `strict_split`, no puzzle of one split is symmetric
    to a puzzle of another.
    Raises DatasetError if too few puzzles are left.
    """
    apart = _UsedPuzzles()
    choosers = [
        _Chooser(source, config, rng, apart, report)
        for source, config, rng in zip(sources, configs, rngs, strict=True)
    ]
    tests = [chooser.test() for chooser in choosers]
    validations = [chooser.validation() for chooser in choosers]
    trainings = [chooser.training() for chooser in choosers]
    for chooser, source in zip(choosers, sources, strict=True):
        source.notes += chooser.notes()
    # Sort by position in the source: the same puzzles give the same dataset, and the file is read sequentially.
    return [Selection(*map(np.sort, rows)) for rows in zip(trainings, validations, tests, strict=True)]


def _order(count: int, wanted: int | None, rng: np.random.Generator) -> Rows:
    return np.arange(count) if wanted is None else rng.permutation(count)


def _order_by_class(classes: Fingerprints, order: Rows, rng: np.random.Generator) -> Rows:
    # All puzzles of a class of symmetric puzzles go to the same split. 4×4 puzzles have so few classes that a test set
    # sampled puzzle by puzzle would use all of them and leave none for training.
    _, number = np.unique(classes, return_inverse=True)
    place = rng.permutation(int(number.max()) + 1)[number]
    return order[np.argsort(place, kind="stable")]


class _Chooser:
    """Samples from one source."""

    def __init__(
        self,
        source: Source,
        config: DataConfig,
        rng: np.random.Generator,
        apart: _UsedPuzzles,
        report: Report,
    ) -> None:
        self._source = source
        self._config = config
        self._rng = rng
        self._apart = apart
        self._report = report
        self._left_out: dict[str, int] = {}
        self._own = np.empty(0, np.uint64)
        """Fingerprints of the rows of `source.train` that this source holds out."""

    def notes(self) -> list[str]:
        """Notes for the user on what was left out."""
        return [
            f"left out {count:,} {what if count > 1 else _singular(what)}"
            for what, count in self._left_out.items()
            if count
        ]

    def test(self) -> Rows:
        """Samples the test puzzles, and fixes the order in which validation and training puzzles are sampled."""
        source, config, rng = self._source, self._config, self._rng
        if source.test is not None:
            wanted = config.test_subsample_size
            test = self.take(source.test, _order(len(source.test), wanted, rng), wanted, "test")
            # The validation set is sampled at random even if all remaining puzzles are used for training.
            least = config.subsample_size if not config.num_validation else config.num_validation
            self._order = _order(len(source.train), least, rng)
            self._hold_out(source.test, test)
            return test
        order = rng.permutation(len(source.train))
        if config.strict_split and (config.num_test or config.num_validation):
            order = _order_by_class(self.classes(source.train, order), order, rng)
        self._order = order
        if not config.num_test:
            return order[:0]
        test = self.take(source.train, order, config.num_test, "test")
        self._hold_out(source.train, test)
        return test

    def validation(self) -> Rows:
        """Samples the puzzles for evaluation during training."""
        wanted = self._config.num_validation
        if not wanted:
            return self._order[:0]
        rows = self.take(self._source.train, self._order, wanted, "validation", extend=self._source.more)
        self._hold_out(self._source.train, rows)
        return rows

    def training(self) -> Rows:
        """Samples training puzzles that no earlier source has provided."""
        source, config = self._source, self._config
        wanted = config.num_train if config.source == BUILTIN else config.subsample_size
        if wanted == 0:
            return self._order[:0]
        rows = self.take(source.train, self._order, wanted, "training", extend=source.more)
        if config.variations:
            rows = np.concatenate([rows, self._vary(rows)])
        prints = source.train.prints(rows)
        self._apart.trained = np.sort(np.concatenate([self._apart.trained, prints]))
        return rows

    def _vary(self, rows: Rows) -> Rows:
        """Adds variations of these training puzzles to the pool. Returns the rows of the variations."""
        source, apart = self._source, self._apart
        known = len(source.train)
        own = np.sort(source.train.prints(rows))

        def is_available(puzzles: Tokens) -> NDArray[np.bool_]:
            prints = fingerprints(puzzles)
            taken = occurs_in(prints, apart.held_out) | occurs_in(prints, apart.trained)
            taken |= occurs_in(prints, own)
            if len(apart.classes):
                taken |= occurs_in(class_fingerprints(source.domain, puzzles), apart.classes)
            return ~taken

        add_variations(source, self._config, rows, self._rng, is_available, self._report)
        return np.arange(known, len(source.train))

    def _hold_out(self, pool: PuzzlePool, rows: Rows) -> None:
        """Makes these rows, and with `strict_split` their symmetric copies, unavailable."""
        prints, apart = pool.prints(rows), self._apart
        apart.held_out = np.sort(np.concatenate([apart.held_out, prints]))
        if pool is self._source.train:
            self._own = np.sort(np.concatenate([self._own, prints]))
        if self._config.strict_split:
            apart.classes = np.sort(np.concatenate([apart.classes, self.classes(pool, rows)]))

    def classes(self, pool: PuzzlePool, rows: Rows) -> Fingerprints:
        """Fingerprints of the canonical forms of these rows: equal for symmetric puzzles, `[n]`."""
        parts = [np.empty(0, np.uint64)]
        for chunk in _chunks(rows):
            parts.append(class_fingerprints(self._source.domain, pool.rows(chunk)[0]))
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
        """The first `wanted` usable rows in `order` (None: all). Raises DatasetError if there are fewer."""
        taken = self._usable(pool, order, wanted, what)
        for _ in range(_ROUNDS):
            if wanted is None or len(taken) >= wanted or extend is None:
                break
            known = len(pool)
            extend(2 * (wanted - len(taken)) + 64)
            order = np.concatenate([order, np.arange(known, len(pool))])
            taken = self._usable(pool, order, wanted, what)
        if not len(taken) or (wanted is not None and len(taken) < wanted):
            apart = " apart from the test puzzles" if len(self._apart.held_out) else ""
            symmetric = " and their symmetric copies" if apart and self._config.strict_split else ""
            option = {"test": "--num-test", "validation": "--num-validation"}.get(what)
            change = f" ({option} changes this)" if option and pool is self._source.train else ""
            raise DatasetError(
                f"source {self._config.source}: {counted(len(taken), f'usable {what} puzzle')}{apart}{symmetric}"
                + (f"; {wanted:,} were requested{change}" if wanted is not None else "")
                + "".join(f" ({note})" for note in self._source.notes + self.notes())
            )
        return taken

    def _usable(self, pool: PuzzlePool, order: Rows, wanted: int | None, what: str) -> Rows:
        prints = pool.prints(order)
        first = first_occurrences(prints)
        shared = first & occurs_in(prints, self._apart.held_out)
        elsewhere = first & ~shared & occurs_in(prints, self._apart.trained)
        order = order[first & ~shared & ~elsewhere]
        if self._source.more is None:
            where = " of the test set" if pool is self._source.test else ""
            self._left_out[f"repeated puzzles{where}"] = int((~first).sum())
        foreign = int((shared & ~occurs_in(prints, self._own)).sum())
        self._left_out[f"{what} puzzles that are test puzzles"] = foreign
        self._left_out[f"{what} puzzles that another source already has"] = int(elsewhere.sum())
        classes = self._apart.classes
        if self._source.unique and not len(classes):
            return order[:wanted]
        symmetric = several = have = 0
        taken = [order[:0]]
        # Check only as many as needed, because the solver is slow on hard puzzles.
        for chunk in _chunks(order, _CHUNK if wanted is None else min(_CHUNK, wanted + 16)):
            rows = chunk
            if len(classes):
                apart = ~occurs_in(self.classes(pool, rows), classes)
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
        self._left_out[f"{what} puzzles with more than one solution"] = several
        self._left_out[f"{what} puzzles that are symmetric to a test puzzle"] = symmetric
        return np.concatenate(taken)[:wanted]


def class_fingerprints(domain: BulkDomain, puzzles: Tokens) -> Fingerprints:
    """Fingerprints of the canonical forms of puzzles `[n, S]`, as `[n]`. Symmetric puzzles have equal fingerprints."""
    names = b"".join(domain.canonical(puzzles))
    return fingerprints(np.frombuffer(names, np.uint8).reshape(len(puzzles), -1))


def _chunks(rows: Rows, size: int = _CHUNK) -> Iterator[Rows]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


_VARIED_AT_ONCE = 256


def add_variations(
    source: Source,
    config: DataConfig,
    rows: Rows,
    rng: np.random.Generator,
    is_available: Callable[[Tokens], NDArray[np.bool_]],
    report: Report,
) -> None:
    """Appends `config.variations` variations of the training puzzles `rows` to their pool.

    If there are more training puzzles than `config.variations`, only that many are varied, because rating millions of
    puzzles would take hours. `is_available` returns which puzzles `[n, S]` are neither held out nor used for training.
    Raises PuzzleError if fewer variations are found, and ConfigError above 12×12.
    """
    from hrm_cli.puzzles.sudoku.variations import vary

    domain = source.domain
    assert isinstance(domain, SudokuDomain)  # the configuration allows no other
    try:
        check_can_vary(config.variations, domain.size)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    wanted, done = config.variations, 0
    varied = rows if len(rows) <= wanted else np.sort(rng.permutation(rows)[:wanted])
    puzzles, answers = (tokens - np.uint8(BLANK) for tokens in source.train.rows(varied))
    report("making variations", done, wanted)
    for made, solved in vary(
        domain.size,
        puzzles,
        answers,
        wanted,
        rng,
        min_difficulty=config.min_difficulty if config.source == BUILTIN else 0,
        allowed=lambda cells: is_available(domain.encode_all(cells)),
        threads=granted_cores(),
        chunk=_VARIED_AT_ONCE,
    ):
        source.train.append(domain.encode_all(made), domain.encode_all(solved))
        done += len(made)
        report("making variations", done, wanted)
    source.notes.append(f"{wanted:,} of the training puzzles are variations of the other {len(rows):,}")


def _singular(what: str) -> str:
    """`training puzzles that are test puzzles` as `training puzzle that is a test puzzle`."""
    return (
        what.replace("puzzles", "puzzle", 1)
        .replace("that are test puzzles", "that is a test puzzle")
        .replace("that are", "that is")
    )
