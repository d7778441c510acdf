"""Several sources in one dataset: loads them, names their sets, and gives the puzzles of each split to the writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrm_cli.config.data import DataConfig
from hrm_cli.data.fingerprints import Fingerprints
from hrm_cli.data.selection import Selection
from hrm_cli.data.set_names import UniqueNames, file_name
from hrm_cli.data.sources import PuzzlePool, Report, Rows, Source, load
from hrm_cli.errors import DatasetError
from hrm_cli.puzzles.domain import BulkDomain, Tokens

_CHUNK = 4096


@dataclass(frozen=True)
class SourceSummary:
    """Number of original puzzles from one of several sources, by split."""

    name: str
    source: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Part:
    """The puzzles of one source in one split."""

    name: str
    pool: PuzzlePool
    rows: Rows
    rng: np.random.Generator

    def pieces(self) -> Iterator[tuple[Tokens, Tokens]]:
        """Puzzles and answers `[n, S]`, a few thousand at a time."""
        for start in range(0, len(self.rows), _CHUNK):
            yield self.pool.rows(self.rows[start : start + _CHUNK])


class Mixture:
    """Sources with the puzzles sampled from each."""

    def __init__(
        self,
        sources: Sequence[Source],
        chosen: Sequence[Selection],
        names: Sequence[str],
        rngs: Sequence[np.random.Generator],
        configs: Sequence[DataConfig],
    ) -> None:
        self._all = list(zip(sources, chosen, names, rngs, strict=True))
        self._configs = configs
        self._free_names = UniqueNames(names if len(names) > 1 else ())
        self._collections: dict[tuple[str, str], str] = {}
        """Names of sets, by source and collection: the same in every split."""
        self._notes: list[str] = []

    @property
    def domain(self) -> BulkDomain:
        """The domain of all sources."""
        return self._all[0][0].domain

    def parts(self, split: str) -> Iterator[Part]:
        """The puzzles of a split, source by source; sources without puzzles for the split are left out."""
        for config, (source, chosen, name, rng) in zip(self._configs, self._all, strict=True):
            is_own_test = split == "test" and source.test is not None
            pool = source.test if is_own_test and source.test is not None else source.train
            rows = getattr(chosen, split)
            collections = pool.by_collection(rows) if config.by_collection and split != "train" else {}
            for collection, some in collections.items():
                yield Part(self._name_of_collection(name, collection), pool, some, rng)
            if len(rows) and not collections:
                yield Part(name, pool, rows, rng)

    def _name_of_collection(self, source: str, collection: str) -> str:
        known = self._collections.get((source, collection))
        if known is not None:
            return known
        wanted = file_name(f"{source}-{collection}" if len(self._all) > 1 else collection)
        name = self._collections[source, collection] = self._free_names.take(wanted)
        if name != wanted:
            self.add_note(
                f"collection {collection!r} is the set {name}, because another set is called {wanted}"
            )
        return name

    def count(self, split: str) -> int:
        """Number of original puzzles of a split."""
        return sum(len(part.rows) for part in self.parts(split))

    def held_out(self) -> Fingerprints:
        """Fingerprints of validation and test puzzles, sorted."""
        parts = [part for split in ("validation", "test") for part in self.parts(split)]
        prints = [np.empty(0, np.uint64), *(part.pool.prints(part.rows) for part in parts)]
        return np.sort(np.concatenate(prints))

    def add_note(self, note: str) -> None:
        """Adds a note about the whole dataset."""
        self._notes.append(note)

    def notes(self) -> list[str]:
        """Notes on what was left out or is missing, with the source's name if there is more than one source."""
        several = len(self._all) > 1
        found = [
            f"{name}: {note}" if several else note
            for source, _, name, _ in self._all
            for note in source.notes
        ]
        return found + self._notes

    def summaries(self) -> list[SourceSummary]:
        """A summary of each source; empty if there is only one source."""
        if len(self._all) == 1:
            return []
        return [
            SourceSummary(name, config.source, len(chosen.train), len(chosen.validation), len(chosen.test))
            for config, (_, chosen, name, _) in zip(self._configs, self._all, strict=True)
        ]


def load_all(
    configs: Sequence[DataConfig], scratch: Path, rngs: Sequence[np.random.Generator], report: Report
) -> list[Source]:
    """Loads all sources. Raises DatasetError if they differ in domain or size, and the errors of `load`."""
    sources: list[Source] = []
    for number, (config, rng) in enumerate(zip(configs, rngs, strict=True)):
        folder = scratch / f"source-{number}"
        folder.mkdir()
        source = load(config, folder, rng, report)
        if sources and source.domain.describe() != sources[0].domain.describe():
            raise DatasetError(
                f"data.also[{number - 1}]: source {config.source} contains {source.domain.describe()}, but "
                f"{configs[0].source} contains {sources[0].domain.describe()}; all puzzles of a dataset have one size"
            )
        sources.append(source)
    return sources
