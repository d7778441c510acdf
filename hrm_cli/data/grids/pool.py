"""Reads the pairs of a source into a scratch file. Memory holds about 60 bytes per pair.

Letters in shapes: n pairs.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.grids.sources import SPLIT_IDS, PairFile, Report
from hrm_cli.errors import DatasetError, PuzzleError
from hrm_cli.printable import quoted
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.reading import Columns, Pair, read_pairs
from hrm_cli.puzzles.grids.symbols import MOST_SYMBOLS, Cells, cells_of_json, graphemes, holds_words
from hrm_cli.puzzles.grids.symmetry import shifts_to_compare, transforms_of, turned

_SHOWN = 5
_REPORT_EVERY = 4096
_MAX_EXAMINED = 100_000
"""Maximum number of pairs examined to detect whether symbols are separated by spaces or commas."""


@dataclass
class PairPool:
    """All pairs of a source."""

    scratch: Path
    symmetries: tuple[str, ...] = ()
    symbols: list[str] = field(default_factory=list)
    """Symbols in order of first occurrence. Cells on disk are indices into this list."""
    words: bool = False
    """Whether text separates symbols by spaces or commas."""
    names_splits: bool = False
    """Whether the source assigns pairs to splits."""
    files: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._first_places: list[str] = []
        self._offsets = array("q")
        self._shapes = array("B")
        self._hashes = array("Q")
        """Three hashes per pair: of the input, of the output, and of the input up to the symmetries."""
        self._splits = array("b")
        self._wheres: list[tuple[int, str]] = []
        self._places = array("q")
        self._prefixes: dict[str, int] = {}
        self._end = 0
        self._spelled = False
        """Whether text in which every character is a symbol was read."""

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, files: list[PairFile], columns: Columns, report: Report) -> None:
        """Reads the pairs of files. Raises DatasetError naming the first lines that are not pairs."""
        self.words = any(
            holds_words(value)
            for file in files
            if file.path.is_file() and file.path.suffix.lower() != ".npz"
            for pair in islice(read_pairs(file.path, columns, self.scratch), _MAX_EXAMINED)
            for value in (pair.given, pair.wanted)
            if isinstance(value, str)
        )
        wrong: list[str] = []
        count = 0
        with (self.scratch / "cells").open("wb") as stream:
            for file in files:
                self.files.append(
                    str(file.path) if file.shown is None else file.shown.removesuffix(": pair ")
                )
                for pair in read_pairs(file.path, columns, self.scratch):
                    where = file.where(pair.where)
                    try:
                        self._append(pair, where, file.split or pair.split, stream)
                    except PuzzleError as error:
                        count += 1
                        if count <= _SHOWN:
                            wrong.append(f"  {where}: {error}")
                    if len(self) % _REPORT_EVERY == 0:
                        report(f"reading {file.path.name}", len(self), None)
        if wrong:
            more = f"\n  and {count - _SHOWN:,} more" if count > _SHOWN else ""
            raise DatasetError(
                f"{count:,} of {count + len(self):,} pairs cannot be used:\n"
                + "\n".join(wrong)
                + f"{more}\nFix or remove these lines."
            )

    def _append(self, pair: Pair, where: str, split: str, stream: BinaryIO) -> None:
        if pair.wanted is None:
            raise PuzzleError("the output is missing; training needs input and output of every pair")
        grids = []
        for name, value in (("input", pair.given), ("output", pair.wanted)):
            self._spelled |= isinstance(value, str) and not self.words
            try:
                grids.append(self._numbered(cells_of_json(value, words=self.words), where))
            except PuzzleError as error:
                raise PuzzleError(f"{name}: {error}") from None
        given, wanted = grids
        if "translations" in self.symmetries and given.shape != wanted.shape:
            sizes = " and ".join(f"{rows}×{columns}" for rows, columns in (given.shape, wanted.shape))
            raise PuzzleError(
                f"input and output have {sizes} cells; --symmetries translations needs the same size in each pair"
            )
        key = given_hash = _hash(given)
        if self.symmetries:
            key = min(self._hashes_of_copies(given))
        self._offsets.append(self._end)
        self._shapes.extend((*given.shape, *wanted.shape))
        self._hashes.extend((given_hash, _hash(wanted), key))
        self._splits.append(SPLIT_IDS.index(split))
        self.names_splits |= bool(split)
        self._place(where)
        for grid in grids:
            stream.write(grid.tobytes())
            self._end += grid.nbytes

    def _numbered(self, cells: Cells, where: str) -> NDArray[np.uint16]:
        for row in cells:
            for cell in row:
                if cell not in self._numbers:
                    if len(self._numbers) == MOST_SYMBOLS:
                        raise PuzzleError(
                            f"{quoted(cell, 80)} is symbol number {MOST_SYMBOLS + 1:,}; at most {MOST_SYMBOLS:,} "
                            "different symbols are supported"
                        )
                    if any("\ud800" <= character <= "\udfff" for character in cell):
                        raise PuzzleError(f"{quoted(cell, 80)} is half of a character (a lone surrogate)")
                    self._numbers[cell] = len(self._numbers)
                    self.symbols.append(cell)
        return np.array([[self._numbers[cell] for cell in row] for row in cells], np.uint16)

    def _hashes_of_copies(self, grid: NDArray[np.uint16]) -> Iterator[int]:
        for transform in transforms_of(self.symmetries):
            moved = turned(grid, transform)
            for copy in shifts_to_compare(moved) if "translations" in self.symmetries else (moved,):
                yield _hash(_relabeled(copy) if "symbols" in self.symmetries else copy)

    def _place(self, where: str) -> None:
        # To save memory, `file.csv:12` and `file.json: pair 12` are stored as a prefix and a number.
        text = where.rstrip("0123456789")
        prefix = self._prefixes.setdefault(text, len(self._prefixes))
        self._places.append(prefix << 48 | int(where[len(text) :] or 0))

    def where(self, number: int) -> str:
        """File and position of a pair, for messages."""
        place = self._places[number]
        return f"{list(self._prefixes)[place >> 48]}{place & (1 << 48) - 1}"

    @property
    def splits(self) -> NDArray[np.int8]:
        """Index in `SPLIT_IDS` of the split that the source assigns each pair to, `[n]`."""
        return np.frombuffer(self._splits, np.int8)

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """Hashes of inputs, of outputs, and of inputs up to symmetry, `[n, 3]`."""
        return np.frombuffer(self._hashes, np.uint64).reshape(-1, 3)

    @property
    def shapes(self) -> NDArray[np.int64]:
        """Rows and columns of inputs and outputs, `[n, 4]`."""
        return np.frombuffer(self._shapes, np.uint8).reshape(-1, 4).astype(np.int64)

    def pair(self, stream: BinaryIO, number: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Reads the cells of a pair from the scratch file."""
        shape = self._shapes[4 * number : 4 * number + 4]
        sizes = shape[0] * shape[1], shape[2] * shape[3]
        stream.seek(self._offsets[number])
        cells = np.frombuffer(stream.read(2 * sum(sizes)), np.uint16)
        return cells[: sizes[0]].reshape(shape[0], shape[1]), cells[sizes[0] :].reshape(shape[2], shape[3])

    def open(self) -> BinaryIO:
        """Opens the scratch file."""
        return (self.scratch / "cells").open("rb")

    def domain(self) -> tuple[GridsDomain, NDArray[np.int64]]:
        """The domain of these pairs, and the index in the domain of each symbol of `symbols`."""
        order = sorted(range(len(self.symbols)), key=lambda number: _natural(self.symbols[number]))
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        shapes = self.shapes
        rows, columns = int(shapes[:, 0::2].max()), int(shapes[:, 1::2].max())
        fixed = shapes[0].tolist() if (shapes == shapes[0]).all() else [0] * 4
        if "rotations" in self.symmetries:
            rows = columns = max(rows, columns)
            if fixed[0] != fixed[1] or fixed[2] != fixed[3]:
                fixed = [0] * 4
        facts: dict[str, Any] = dict(
            zip(("input_rows", "input_columns", "output_rows", "output_columns"), fixed, strict=True)
        )
        symbols = [self.symbols[number] for number in order]
        # If pairs come from JSON or arrays, symbols of several characters are separated by spaces in text.
        words = self.words or (not self._spelled and any(len(graphemes(symbol)) > 1 for symbol in symbols))
        return GridsDomain(rows, columns, symbols, int(words), **facts, symmetries=self.symmetries), ranks


def _natural(symbol: str) -> tuple[int, int, str]:
    digits = symbol.removeprefix("-")
    if digits.isascii() and digits.isdigit():
        return 0, int(symbol), symbol
    return 1, 0, symbol


def _hash(grid: NDArray[np.integer]) -> int:
    shape = np.array(grid.shape, np.uint16).tobytes()
    return int.from_bytes(hashlib.blake2b(shape + grid.tobytes(), digest_size=8).digest(), "little")


def _relabeled(grid: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Renumbers symbols in order of first occurrence.

    Grids that differ only by a permutation of symbols become equal.
    """
    _, first, inverse = np.unique(grid, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.uint16)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse].reshape(grid.shape)
