"""Own puzzles as a domain: an input grid and an output grid over any symbols.

Grids are placed at the top left corner of a canvas, which has the size of the largest grid. Tokens: 0 is padding, then
come the symbols. If grid sizes differ between pairs, token 1 marks the end of a grid: the row below it and the column
to its right, if there is room. Own puzzles have no rules, so answers are never verified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.printable import quoted
from hrm_cli.puzzles.domain import PAD, Diagnosis, Grid, Puzzle, Tokens, TokenSymmetries, Verdict
from hrm_cli.puzzles.grids.symbols import (
    LARGEST_SIDE,
    LONGEST_SYMBOL,
    MOST_SYMBOLS,
    Cells,
    cells_of_text,
    checked_cells,
    is_plain,
    text_of,
)
from hrm_cli.puzzles.relations import Neighborhood

END = 1
SYMMETRIES = ("rotations", "reflections", "symbols", "translations")
NO_RULES = "own puzzles have no rules to verify an answer with"
_NUMBER = re.compile(r"0|-?[1-9][0-9]*")
_SHOWN = 12


@dataclass
class GridsDomain:
    """Pairs of grids. Raises ConfigError for inconsistent facts.

    `input_*` and `output_*` are the sizes of inputs and outputs if they are the same in every pair. Otherwise all four
    are 0, and end marks show the sizes. `words`: 1 if text separates symbols by spaces or commas, else 0. `symmetries`:
    the symmetries of the pairs according to the user, names from `SYMMETRIES`.
    """

    rows: int = 0
    columns: int = 0
    symbols: Sequence[str] = ()
    words: int = 0
    input_rows: int = 0
    input_columns: int = 0
    output_rows: int = 0
    output_columns: int = 0
    symmetries: Sequence[str] = ()
    name: str = field(default="grids", init=False)
    blank_token: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not (self.rows and self.columns and self.symbols):
            raise ConfigError(
                "domain grids: rows, columns and symbols are missing; hrm build-dataset grids --source FILE "
                "determines them from your pairs"
            )
        self._check()
        self.symbols = tuple(self.symbols)
        self.marked = not self.output_rows
        """Whether end marks show the sizes of grids."""
        self.first = END + 1 if self.marked else PAD + 1
        """Token of the first symbol."""
        self.vocab_size = self.first + len(self.symbols)
        self.seq_len = self.rows * self.columns
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols)}
        self._plain = is_plain(self.symbols, words=bool(self.words))
        self._are_numbers = all(_NUMBER.fullmatch(symbol) for symbol in self.symbols)

    def _check(self) -> None:
        sizes = {name: getattr(self, name) for name in _SIZES}
        for name, value in sizes.items():
            lowest = 1 if name in ("rows", "columns") else 0
            if type(value) is not int or not lowest <= value <= LARGEST_SIDE:
                raise ConfigError(
                    f"domain grids: {name}: found {quoted(value, 40)}; expected {lowest} to {LARGEST_SIDE}"
                )
        fixed = list(sizes.values())[2:]
        if any(fixed) and not all(fixed):
            raise ConfigError("domain grids: expected both input and output sizes, or neither")
        if max(fixed[0], fixed[2]) > self.rows or max(fixed[1], fixed[3]) > self.columns:
            raise ConfigError(
                f"domain grids: a grid is larger than the canvas of {self.rows}×{self.columns} cells"
            )
        if self.words not in (0, 1):
            raise ConfigError(f"domain grids: words: found {quoted(self.words, 40)}; expected 0 or 1")
        if len(self.symbols) > MOST_SYMBOLS:
            raise ConfigError(
                f"domain grids: {len(self.symbols):,} symbols; at most {MOST_SYMBOLS:,} are supported"
            )
        if any(not 1 <= len(symbol) <= LONGEST_SYMBOL for symbol in self.symbols):
            raise ConfigError(f"domain grids: a symbol has 1 to {LONGEST_SYMBOL} characters")
        if len(set(self.symbols)) != len(self.symbols):
            raise ConfigError("domain grids: a symbol appears twice")
        if unknown := [name for name in self.symmetries if name not in SYMMETRIES]:
            raise ConfigError(
                f"domain grids: unknown symmetry {quoted(unknown[0], 40)}; known: {', '.join(SYMMETRIES)}"
            )

    @property
    def token_type(self) -> np.dtype[Any]:
        """The smallest integer type that can represent every token."""
        return np.dtype(np.uint8 if self.vocab_size <= 256 else np.uint16)

    @property
    def nothing(self) -> int:
        """The value that marks a cell without a symbol."""
        return int(np.iinfo(self.token_type).max)

    @property
    def neighborhood(self) -> Neighborhood:
        """The canvas is a grid."""
        return Neighborhood(self.rows, self.columns)

    def facts(self) -> dict[str, Any]:
        """Sizes and symbols. A checkpoint stores them, so that it can read new puzzles and write answers."""
        facts: dict[str, Any] = {name: value for name in _SIZES if (value := getattr(self, name))}
        facts["symbols"] = list(self.symbols)
        if self.words:
            facts["words"] = 1
        if self.symmetries:
            facts["symmetries"] = list(self.symmetries)
        return facts

    def describe(self) -> str:
        """Sizes and number of symbols."""
        count = f"{len(self.symbols)} symbol{'' if len(self.symbols) == 1 else 's'}"
        if self.marked:
            return f"grids (up to {self.rows}×{self.columns} cells, {count})"
        sizes = f"{self.input_rows}×{self.input_columns} to {self.output_rows}×{self.output_columns} cells"
        return f"grids ({sizes}, {count})"

    def grid_of(self, cells: Cells) -> Grid:
        """Converts cells to symbol indices `[rows, columns]`. Raises PuzzleError for an unknown symbol."""
        try:
            return np.array([[self._numbers[cell] for cell in row] for row in cells], self.token_type)
        except KeyError as error:
            some = " ".join(self.symbols[:_SHOWN]) + (" …" if len(self.symbols) > _SHOWN else "")
            raise PuzzleError(
                f"the symbol {quoted(error.args[0], 80)} is not one of the {len(self.symbols)} known symbols ({some})"
            ) from None

    def cells_of(self, grid: Grid) -> list[list[str | None]]:
        """Converts symbol indices to symbols; None for a cell without a symbol."""
        count = len(self.symbols)
        return [
            [self.symbols[cell] if cell < count else None for cell in row]
            for row in np.asarray(grid).tolist()
        ]

    def record(self, grid: Grid) -> list[list[Any]]:
        """The grid for JSON: as numbers if all symbols are whole numbers, else as strings."""
        cells = self.cells_of(grid)
        if not self._are_numbers:
            return cells
        return [[None if cell is None else int(cell) for cell in row] for row in cells]

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses an input from text. Raises PuzzleError, with `where`."""
        try:
            grid = self.grid_of(cells_of_text(text, words=bool(self.words)))
        except PuzzleError as error:
            raise PuzzleError(f"{where + ': ' if where else ''}{error}") from None
        return Puzzle(grid, where=where, domain=self.name)

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of an input. Raises PuzzleError for another size or an invalid symbol."""
        return self._encode(grid, "an input", self.input_rows, self.input_columns)

    def encode_output(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of an output; errors as in `encode`."""
        return self._encode(grid, "an output", self.output_rows, self.output_columns)

    def _encode(self, grid: Grid, what: str, rows: int, columns: int) -> Tokens:
        grid = np.asarray(grid)
        if grid.ndim != 2 or not grid.size:
            raise PuzzleError(f"{what} of shape {grid.shape}; expected rows and columns of cells")
        height, width = grid.shape
        if rows and (height, width) != (rows, columns):
            raise PuzzleError(f"{what} of {height}×{width} cells; expected {rows}×{columns}")
        if height > self.rows or width > self.columns:
            raise PuzzleError(
                f"{what} of {height}×{width} cells; expected at most {self.rows}×{self.columns}"
            )
        if grid.min() < 0 or grid.max() >= len(self.symbols):
            raise PuzzleError(f"{what} has a cell without a symbol")
        field = np.full((self.rows, self.columns), PAD, self.token_type)
        field[:height, :width] = grid.astype(self.token_type) + self.first
        if self.marked:
            field[height : height + 1, :width] = END
            field[:height, width : width + 1] = END
        return field.reshape(-1)

    def decode(self, tokens: Tokens) -> Grid:
        """Decodes an output from tokens `[S]`.

        If sizes differ between pairs, it is the largest rectangle of symbols at the corner, which may be empty (`[0,
        0]`). Otherwise it has the size of all outputs, and cells without a symbol have the value `nothing`.
        """
        field = np.asarray(tokens).reshape(self.rows, self.columns).astype(np.int64)
        is_symbol = (field >= self.first) & (field < self.vocab_size)
        if self.marked:
            height, width = corner_sizes(is_symbol[None])
            field = field[: height[0], : width[0]]
        else:
            field = field[: self.output_rows, : self.output_columns]
            is_symbol = is_symbol[: self.output_rows, : self.output_columns]
            field = np.where(is_symbol, field, self.nothing + self.first)
        return (field - self.first).astype(self.token_type)

    def decode_input(self, tokens: Tokens) -> Grid:
        """The grid of an input's tokens `[S]`, as `encode` makes them."""
        field = np.asarray(tokens).reshape(self.rows, self.columns)
        height, width = corner_sizes((field >= self.first)[None])
        grid: Grid = (field[: height[0], : width[0]] - self.first).astype(self.token_type)
        return grid

    def text(self, grid: Grid) -> str:
        """The grid on one line, in the user's symbols."""
        return text_of(self.cells_of(grid), words=bool(self.words), plain=self._plain)

    def fault(self, answer: Grid) -> str:
        """The reason why an answer is not a grid of symbols; empty if it is one."""
        if not answer.size:
            return "the answer has no cells"
        missing = int((np.asarray(answer) >= len(self.symbols)).sum())
        return f"{missing} cells of the answer have no symbol" if missing else ""

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """Random permutations of symbols if `symmetries` contains `symbols`, else the identity.

        For the other symmetries, see `grids/symmetry.py`.
        """
        tokens = np.tile(np.arange(self.vocab_size, dtype=self.token_type), (count, 1))
        if "symbols" in self.symmetries:
            tokens[:, self.first :] = rng.permuted(tokens[:, self.first :], axis=1)
        cells = np.broadcast_to(np.arange(self.seq_len, dtype=np.int32), (count, self.seq_len))
        return TokenSymmetries(np.ascontiguousarray(cells), tokens)

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Never ok, because own puzzles have no rules."""
        return Verdict(False, NO_RULES)

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """Always reports one solution, because own puzzles have no rules."""
        return Diagnosis(1, NO_RULES)

    def lines(self, grid: Grid) -> Sequence[str]:
        """One line per row. All cells have the width of the longest symbol."""
        width = max(map(len, self.symbols))
        return [" ".join((cell or "?").ljust(width) for cell in row).rstrip() for row in self.cells_of(grid)]

    def checked(self, cells: Cells, where: str) -> Puzzle:
        """Makes a puzzle from the cells of an input. Raises PuzzleError if they are not a valid input."""
        grid = self.grid_of(checked_cells(cells))
        self.encode(grid)
        return Puzzle(grid, where=where, domain=self.name)


_SIZES = ("rows", "columns", "input_rows", "input_columns", "output_rows", "output_columns")


def corner_sizes(is_symbol: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns `[n]` of the largest rectangle of symbols at the top left corner of fields `[n, rows, columns]`.

    If several have the same area, it is the one with the fewest rows. Both are 0 if the corner cell has no symbol.
    """
    columns = is_symbol.shape[2]
    runs = np.where(is_symbol.all(axis=2), columns, is_symbol.argmin(axis=2))
    widths = np.minimum.accumulate(runs, axis=1).astype(np.int64)
    areas = widths * np.arange(1, is_symbol.shape[1] + 1)
    best = areas.argmax(axis=1)
    width = np.take_along_axis(widths, best[:, None], axis=1)[:, 0]
    return np.where(width > 0, best + 1, 0), width


def from_shape(vocab_size: int, seq_len: int) -> GridsDomain | None:
    """None: own puzzles cannot be inferred from vocabulary size and sequence length."""
    return None
