"""Puzzles that a build may draw from, kept on disk: a source of millions needs no memory for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.fingerprints import Fingerprints, fingerprints
from hrm_cli.puzzles.domain import Tokens

Rows = NDArray[np.int64]
"""Numbers of puzzles in a pool, counted from 0 in the order of the source."""


_MOST_COLLECTIONS = 1000
"""Beyond that a column does not say collections, but something of each puzzle's own."""


class PuzzlePool:
    """Puzzles and answers as tokens, in a file of the build's scratch folder; in memory a hash each."""

    def __init__(self, file: Path, seq_len: int) -> None:
        self._file = file
        self._seq_len = seq_len
        self._prints: list[Fingerprints] = []
        self._size = 0
        self._collections: list[NDArray[np.int32]] = []
        """Number of each row's collection, −1 where it belongs to none."""
        self._names: dict[str, int] = {}
        file.write_bytes(b"")

    def __len__(self) -> int:
        return self._size

    def append(self, inputs: Tokens, labels: Tokens, collections: Sequence[str] = ()) -> None:
        """Adds puzzles and answers, `[n, S]` each, with the names of the collections that they belong to, if known."""
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
        """Whether every puzzle is known to belong to one of a thousand collections at most."""
        return self._size > 0 and self._are_named(np.arange(self._size))

    def by_collection(self, rows: Rows) -> dict[str, Rows]:
        """These rows by collection; empty where the source does not name the collection of each."""
        if not self._are_named(rows):
            return {}
        number = self._collections[0][rows]
        return {name: rows[number == n] for name, n in self._names.items() if (number == n).any()}

    def _are_named(self, rows: Rows) -> bool:
        if len(self._collections) != 1:
            self._collections = [np.concatenate([np.empty(0, np.int32), *self._collections])]
        return len(self._names) <= _MOST_COLLECTIONS and bool((self._collections[0][rows] >= 0).all())

    def prints(self, rows: Rows) -> Fingerprints:
        """Fingerprints of the puzzles of these rows, `[n]`."""
        if len(self._prints) != 1:
            self._prints = [np.concatenate([np.empty(0, np.uint64), *self._prints])]
        return self._prints[0][rows]
