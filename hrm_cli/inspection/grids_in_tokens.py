"""What the tokens of a dataset mean: sizes of grids, names of symbols, grids as cells.

Letters in shapes: n grids, S tokens of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.format import SplitMetadata
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.arc.kernels import FIRST_COLOR, SIDE
from hrm_cli.puzzles.domain import PAD, Domain, infer_domain, parse_domain
from hrm_cli.puzzles.grids.domain import GridsDomain, corner_sizes
from hrm_cli.puzzles.maze.domain import CHARACTERS, MARK, MazeDomain
from hrm_cli.puzzles.maze.domain import FIRST_TOKEN as FIRST_OF_MAZE
from hrm_cli.puzzles.sudoku.domain import BLANK, SudokuDomain
from hrm_cli.puzzles.sudoku.layout import SYMBOLS as DIGITS

Rows = NDArray[np.integer]
Grid = NDArray[Any]
"""The domain's own cells; own puzzles with many symbols need more than a byte."""

BLANK_NAME = "blank"


@dataclass(frozen=True)
class TokenReader:
    """Reads the tokens of one dataset. `domain` is None for a foreign dataset whose domain is unknown."""

    domain: Domain | None
    metadata: SplitMetadata

    @classmethod
    def of(cls, metadata: SplitMetadata) -> TokenReader:
        """The reader for a dataset; the domain is inferred from vocabulary and length if the dataset names none."""
        stated = parse_domain(metadata.domain)
        return cls(stated or infer_domain(metadata.vocab_size, metadata.seq_len), metadata)

    @property
    def name(self) -> str:
        """The domain's name; `unknown` if there is none."""
        return "unknown" if self.domain is None else self.domain.name

    def describe(self) -> str:
        """The domain as text."""
        if self.domain is None:
            return (
                f"unknown domain ({self.metadata.seq_len} tokens, vocabulary of {self.metadata.vocab_size})"
            )
        return self.domain.describe()

    def symbols(self) -> dict[int, str]:
        """The name of each token that is a symbol. Padding and end marks are not symbols."""
        domain = self.domain
        if isinstance(domain, SudokuDomain):
            return {BLANK: BLANK_NAME} | {BLANK + 1 + i: DIGITS[i] for i in range(domain.size)}
        if isinstance(domain, MazeDomain):
            names = ["wall #", "free .", "start S", "goal G", "path o"]
            return {FIRST_OF_MAZE + i: name for i, name in enumerate(names)}
        if isinstance(domain, ArcDomain):
            return {token: str(token - FIRST_COLOR) for token in range(FIRST_COLOR, domain.vocab_size)}
        if isinstance(domain, GridsDomain):
            return {domain.first + i: symbol for i, symbol in enumerate(domain.symbols)}
        return {token: str(token) for token in range(self.metadata.vocab_size) if token != PAD}

    def sizes(self, tokens: Rows, *, is_output: bool) -> NDArray[np.int64]:
        """Rows and columns of each grid `[n, S]`, `[n, 2]`; 0 for an output that the dataset does not have."""
        domain, count = self.domain, len(tokens)
        if isinstance(domain, ArcDomain):
            colors = (tokens >= FIRST_COLOR).reshape(count, SIDE, SIDE)
            return np.stack([colors.any(axis=2).sum(axis=1), colors.any(axis=1).sum(axis=1)], axis=1)
        if isinstance(domain, GridsDomain):
            if domain.marked:
                is_symbol = (tokens >= domain.first).reshape(count, domain.rows, domain.columns)
                return np.stack(corner_sizes(is_symbol), axis=1)
            side = (domain.output_rows, domain.output_columns)
            return self._fixed(tokens, side if is_output else (domain.input_rows, domain.input_columns))
        if isinstance(domain, MazeDomain):
            return self._fixed(tokens, (domain.rows, domain.columns))
        if isinstance(domain, SudokuDomain):
            return self._fixed(tokens, (domain.size, domain.size))
        return self._fixed(tokens, (1, self.metadata.seq_len))

    def _fixed(self, tokens: Rows, size: tuple[int, int]) -> NDArray[np.int64]:
        known = (tokens != self.metadata.ignore_label_id).any(axis=1)
        return known[:, None] * np.array(size, np.int64)

    def grid(self, tokens: Rows, *, is_output: bool = False) -> Grid | None:
        """The grid of tokens `[S]` as the domain's cells; None if the dataset does not have it."""
        rows, columns = self.sizes(tokens[None], is_output=is_output)[0].tolist()
        if not rows or not columns:
            return None
        domain = self.domain
        if isinstance(domain, ArcDomain):
            field = tokens.reshape(SIDE, SIDE)
            top, left = (int((field >= FIRST_COLOR).any(axis=axis).argmax()) for axis in (1, 0))
            cells = field[top : top + rows, left : left + columns].astype(np.int64) - FIRST_COLOR
            return np.clip(cells, 0, None).astype(np.uint8)
        if isinstance(domain, GridsDomain):
            corner = tokens.reshape(domain.rows, domain.columns)[:rows, :columns].astype(np.int64)
            return np.where(corner >= domain.first, corner - domain.first, domain.nothing).astype(
                domain.token_type
            )
        if domain is not None:
            return domain.decode(tokens.astype(np.uint8))
        return tokens.reshape(1, -1).astype(np.uint16)

    def record(self, grid: Grid | None) -> Any:
        """A grid for JSON: rows of numbers (Sudoku: 0 for blank; ARC: colors), of characters, or of symbols."""
        if grid is None:
            return None
        if isinstance(self.domain, GridsDomain):
            return self.domain.record(grid)
        if isinstance(self.domain, MazeDomain):
            return ["".join(CHARACTERS[cell] for cell in row) for row in grid]
        return grid.tolist()

    def lines(self, grid: Grid | None) -> Sequence[str]:
        """A grid in plain characters."""
        if grid is None:
            return ["(unknown)"]
        if self.domain is None:
            return [" ".join(map(str, row)) for row in grid.tolist()]
        return self.domain.lines(grid)

    def compact(self, tokens: Rows) -> Rows:
        """Tokens in one byte each where the vocabulary allows it, so that equal grids have equal bytes."""
        return np.ascontiguousarray(tokens, np.uint8 if self.metadata.vocab_size <= 256 else np.uint16)


MARK_TOKEN = MARK + FIRST_OF_MAZE
