"""Sources of puzzles: the built-in generators, CSV and text files, folders, and the hub.

A source is loaded into pools of puzzles with answers. Pools are on disk, so sources of any size fit in memory. Answers
in a file are verified, and missing answers are computed. A line without a puzzle, or with a puzzle that has no
solution, is an error. Puzzles with more than one solution are skipped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrm_cli.config.schema import DataConfig
from hrm_cli.data import hub
from hrm_cli.data.checks import Problems, check
from hrm_cli.data.fingerprints import Fingerprints, fingerprints
from hrm_cli.data.recipes import Recipe, recipe_of
from hrm_cli.errors import DatasetError
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import BulkDomain, Puzzle, Tokens, Unreadable

Rows = NDArray[np.int64]
"""Indices of puzzles in a pool, in the order of the source."""


_MAX_COLLECTIONS = 1000
"""Maximum number of collections. A column with more values identifies single puzzles, not collections."""


class PuzzlePool:
    """Puzzles and answers as tokens in a scratch file. Memory holds one hash per puzzle."""

    def __init__(self, file: Path, seq_len: int) -> None:
        self._file = file
        self._seq_len = seq_len
        self._prints: list[Fingerprints] = []
        self._size = 0
        self._collections: list[NDArray[np.int32]] = []
        """Index of each row's collection, −1 for none."""
        self._names: dict[str, int] = {}
        file.write_bytes(b"")

    def __len__(self) -> int:
        return self._size

    def append(self, inputs: Tokens, labels: Tokens, collections: Sequence[str] = ()) -> None:
        """Adds puzzles and answers, `[n, S]` each, and the names of their collections, if known."""
        numbers = [self._names.setdefault(name, len(self._names)) for name in collections]
        self._collections.append(np.array(numbers or [-1] * len(inputs), np.int32))
        with self._file.open("ab") as stream:
            stream.write(np.stack([inputs, labels], axis=1).data)
        self._prints.append(fingerprints(inputs))
        self._size += len(inputs)

    def rows(self, rows: Rows) -> tuple[Tokens, Tokens]:
        """Puzzles and answers `[n, S]` of these rows."""
        if not len(rows):
            return np.empty((0, self._seq_len), np.uint8), np.empty((0, self._seq_len), np.uint8)
        stored = np.memmap(self._file, dtype=np.uint8, mode="r", shape=(self._size, 2, self._seq_len))
        chosen = np.asarray(stored[rows])
        return chosen[:, 0], chosen[:, 1]

    @property
    def names_collections(self) -> bool:
        """Whether the collection of every puzzle is known and there are at most a thousand collections."""
        return self._size > 0 and self._are_named(np.arange(self._size))

    def by_collection(self, rows: Rows) -> dict[str, Rows]:
        """Groups rows by collection. Empty if the collection of some puzzle is unknown."""
        if not self._are_named(rows):
            return {}
        number = self._collections[0][rows]
        return {name: rows[number == n] for name, n in self._names.items() if (number == n).any()}

    def _are_named(self, rows: Rows) -> bool:
        if len(self._collections) != 1:
            self._collections = [np.concatenate([np.empty(0, np.int32), *self._collections])]
        return len(self._names) <= _MAX_COLLECTIONS and bool((self._collections[0][rows] >= 0).all())

    def prints(self, rows: Rows) -> Fingerprints:
        """Fingerprints of the puzzles of these rows, `[n]`."""
        if len(self._prints) != 1:
            self._prints = [np.concatenate([np.empty(0, np.uint64), *self._prints])]
        return self._prints[0][rows]


BUILTIN = "builtin"

Report = Callable[[str, int, int | None], None]
"""Progress callback: name of the stage, amount done, and total amount if known."""

_CHUNK = 4096


@dataclass
class Source:
    """Puzzles to build a dataset from."""

    domain: BulkDomain
    train: PuzzlePool
    test: PuzzlePool | None
    """The source's own test set, if it has one."""
    unique: bool
    """Whether every puzzle is known to have exactly one solution."""
    more: Callable[[int], None] | None = None
    """Adds that many puzzles to `train`; None unless the source is a generator."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user on what was left out."""


def load(config: DataConfig, scratch: Path, rng: np.random.Generator, report: Report) -> Source:
    """Loads `config.source` into pools in the folder `scratch`. Raises ConfigError, PuzzleError or DatasetError."""
    recipe = recipe_of(config)
    if config.source == BUILTIN:
        return _generated(config, recipe, scratch, rng, report)
    train_file, test_file = _files(config.source)
    reader = _Reader(recipe, scratch, report)
    train = reader.pool(train_file, "train")
    test = None if test_file is None else reader.pool(test_file, "test")
    unique = reader.domain.solver_is_fast or recipe.keep_several
    return Source(reader.domain, train, test, unique=unique, notes=reader.notes)


def _generated(
    config: DataConfig, recipe: Recipe, scratch: Path, rng: np.random.Generator, report: Report
) -> Source:
    domain = recipe.domain()
    pool = PuzzlePool(scratch / "train.pool", domain.seq_len)

    def more(count: int) -> None:
        done = 0
        report("generating", done, count)
        for puzzles, answers in recipe.generate(count, rng, _CHUNK):
            pool.append(domain.encode_all(puzzles), domain.encode_all(answers))
            done += len(puzzles)
            report("generating", done, count)

    more(config.num_train + config.num_validation + config.num_test)
    return Source(domain, pool, None, unique=True, more=more)


def _files(source: str) -> tuple[Path, Path | None]:
    """The training file and, if the source has one, the test file."""
    if source.startswith(hub.PREFIX):
        train = hub.fetch(source, "train.csv")
        assert train is not None  # only an optional file can be absent
        return train, hub.fetch(source, "test.csv", optional=True)
    path = Path(source).expanduser()
    if not path.exists():
        raise DatasetError(
            f"source {source}: does not exist; accepted: builtin, a .csv or .txt file, a folder with "
            "train.csv (and test.csv), hf:OWNER/NAME"
        )
    if not path.is_dir():
        return path, None
    for ending in ("csv", "txt"):
        train, test = path / f"train.{ending}", path / f"test.{ending}"
        if train.is_file():
            return train, test if test.is_file() else None
    raise DatasetError(f"source {source}: the folder contains no train.csv (or train.txt)")


class _Reader:
    """Reads files whose puzzles have one shape into pools."""

    def __init__(self, recipe: Recipe, scratch: Path, report: Report) -> None:
        self._recipe = recipe
        self._scratch = scratch
        self._report = report
        self._domain: BulkDomain | None = None
        self._shape: tuple[int, ...] = ()
        self.notes: list[str] = []

    @property
    def domain(self) -> BulkDomain:
        """The domain of the puzzles read."""
        assert self._domain is not None
        return self._domain

    def pool(self, file: Path, name: str) -> PuzzlePool:
        """Reads all usable puzzles of a file. Raises DatasetError, with the lines that contain no usable puzzle."""
        from hrm_cli.puzzles.reading import read_puzzles
        from hrm_cli.puzzles.text_lines import SkippedLines

        skipped = SkippedLines()
        pool: PuzzlePool | None = None
        problems = Problems()
        several = too_easy = read = 0
        least = self._recipe.least_difficulty
        for puzzles in self._chunks(read_puzzles(file, self._recipe.reads, skipped=skipped), problems):
            pool = pool or PuzzlePool(self._scratch / f"{name}.pool", self.domain.seq_len)
            checked = check(
                puzzles,
                self.domain,
                problems,
                least_difficulty=least,
                keep_several=self._recipe.keep_several,
            )
            collections = [puzzles[place].source for place in checked.places]
            pool.append(checked.puzzles, checked.answers, collections if all(collections) else ())
            several += checked.several
            too_easy += checked.too_easy
            read += len(puzzles)
            self._report(f"reading {file.name}", read, None)
        problems.raise_any(str(file))
        if pool is None:
            raise DatasetError(f"{file}: contains no puzzle")
        if skipped.count:
            self.notes.append(f"{file.name}: {skipped}")
        if several:
            self.notes.append(
                f"{file.name}: left out {counted(several, 'puzzle')} with more than one solution"
            )
        if too_easy:
            self.notes.append(
                f"{file.name}: left out {counted(too_easy, 'puzzle')} below {self._recipe.measure} {least}"
            )
        return pool

    def _chunks(self, items: Iterable[Puzzle | Unreadable], problems: Problems) -> Iterable[list[Puzzle]]:
        waiting: list[Puzzle] = []
        for item in items:
            if isinstance(item, Unreadable):
                problems.add(item.where, item.reason)
                continue
            if self._domain is None:
                self._domain = self._recipe.domain_of_grid(item.grid)
                self._shape = item.grid.shape
            if item.grid.shape != self._shape:
                found, wanted = (f"{rows}×{columns}" for rows, columns in (item.grid.shape, self._shape))
                problems.add(item.where, f"{found} cells; the earlier puzzles have {wanted}")
                continue
            waiting.append(item)
            if len(waiting) == _CHUNK:
                yield waiting
                waiting = []
        if waiting:
            yield waiting
