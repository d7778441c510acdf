"""A base class for domains of other packages: puzzles on one grid of characters, with blank cells to fill in.

A subclass states the size, the symbols and the rules, and finds solutions. Everything else that datasets, training,
evaluation and solving need is derived from these, one puzzle at a time. Override the batched methods for speed.

Letters in shapes: n puzzles, S = rows · columns cells, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.dihedral import cell_permutations
from hrm_cli.puzzles.domain import Diagnosis, Grid, Puzzle, Solved, Tokens, TokenSymmetries, Verdict
from hrm_cli.puzzles.relations import Neighborhood

BLANK = 0
"""Value of a blank cell."""


class SymbolGrid(ABC):
    """A grid of `rows` × `columns` cells over `symbols`.

    A subclass sets `name` and `purpose`. Its constructor takes whole numbers only (usually `size`) and calls this one.
    It implements `facts`, `broken_rule` and `solutions`, and `generate` if it can make puzzles. A cell's value is its
    index in `symbols`. Tokens are one greater, because token 0 is padding.
    """

    name: ClassVar[str]
    purpose: ClassVar[str] = ""
    """One line for help texts."""
    turns: ClassVar[bool] = False
    """Whether rotated and reflected puzzles are puzzles of the same domain."""
    exchanges_symbols: ClassVar[bool] = False
    """Whether puzzles remain puzzles if their symbols, other than the blank, are permuted."""
    solver_is_fast: ClassVar[bool] = True

    def __init__(self, rows: int, columns: int, symbols: str) -> None:
        self.rows, self.columns, self.symbols = rows, columns, symbols
        """`symbols[0]` is the blank."""
        self.seq_len = rows * columns
        self.vocab_size = len(symbols) + 1
        self.blank_token: int | None = BLANK + 1
        self.neighborhood = Neighborhood(rows, columns)
        """For `arch.mixer=neighbors`. A subclass may also set `relations`, for `arch.mixer=units`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The constructor's arguments, which recreate the domain."""

    @abstractmethod
    def broken_rule(self, answer: Grid) -> str:
        """The first rule that a grid without blanks breaks, for users; empty if it breaks none."""

    @abstractmethod
    def solutions(self, puzzle: Grid) -> Iterator[Grid]:
        """The solutions of a puzzle, found by exact search. At most two are requested."""

    def describe(self) -> str:
        """`4×4 latin`."""
        return f"{self.rows}×{self.columns} {self.name}"

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses a puzzle from its S characters; spaces and `/` between rows are ignored. Raises PuzzleError."""
        cells = "".join(one for one in text if one in self.symbols or not (one.isspace() or one == "/"))
        prefix = f"{where}: " if where else ""
        for cell in cells:
            if cell not in self.symbols:
                raise PuzzleError(f"{prefix}character {cell!r}; accepted: {' '.join(self.symbols)}")
        if len(cells) != self.seq_len:
            raise PuzzleError(
                f"{prefix}{len(cells)} characters; {self.describe()} puzzles have {self.seq_len}"
            )
        grid = np.array([self.symbols.index(cell) for cell in cells], np.uint8)
        return Puzzle(grid.reshape(self.rows, self.columns), where=where, domain=self.name)

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]`. Raises PuzzleError for another size or other cells."""
        cells = np.asarray(grid)
        if cells.shape != (self.rows, self.columns):
            raise PuzzleError(f"{'×'.join(map(str, cells.shape))} cells; expected {self.describe()}")
        if cells.size and (cells.min() < 0 or cells.max() >= len(self.symbols)):
            raise PuzzleError(f"a cell of value {cells.max()}; expected 0 to {len(self.symbols) - 1}")
        return (cells.reshape(-1) + 1).astype(np.uint8)

    def encode_all(self, cells: Grid) -> Tokens:
        """Tokens of cells `[n, S]`."""
        return (cells + 1).astype(np.uint8)

    def decode(self, tokens: Tokens) -> Grid:
        """The grid of tokens `[S]`; padding becomes blank."""
        cells = np.asarray(tokens).astype(np.int64) - 1
        cells = np.where((cells >= 0) & (cells < len(self.symbols)), cells, BLANK)
        return cells.astype(np.uint8).reshape(self.rows, self.columns)

    def text(self, grid: Grid) -> str:
        """The S characters on one line."""
        return "".join(self.symbols[cell] for cell in np.asarray(grid).reshape(-1).tolist())

    def lines(self, grid: Grid) -> Sequence[str]:
        """One line per row, with a space between cells."""
        return [" ".join(self.symbols[cell] for cell in row) for row in np.asarray(grid).tolist()]

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether the answer keeps the givens, has no blank, and breaks no rule."""
        puzzle, answer = np.asarray(puzzle), np.asarray(answer)
        changed = np.argwhere((puzzle != BLANK) & (puzzle != answer))
        for what, cells in (("changes the given in", changed), ("is blank in", np.argwhere(answer == BLANK))):
            if len(cells):
                row, column = cells[0] + 1
                return Verdict(False, f"the answer {what} row {row}, column {column}")
        reason = self.broken_rule(answer)
        return Verdict(not reason, reason)

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """The number of solutions, up to two."""
        self.encode(puzzle)
        found = list(islice(self.solutions(np.asarray(puzzle)), 2))
        if len(found) == 1:
            return Diagnosis(1, solution=found[0])
        return Diagnosis(len(found), "more than one solution" if found else "no solution")

    def solve_all(self, tokens: Tokens) -> Solved:
        """Solves puzzles `[n, S]` one by one."""
        counts = np.zeros(len(tokens), np.int32)
        answers = np.array(tokens, np.uint8)
        for row, puzzle in enumerate(tokens):
            found = list(islice(self.solutions(self.decode(puzzle)), 2))
            counts[row] = len(found)
            if found:
                answers[row] = self.encode(found[0])
        return Solved(counts, np.zeros(len(tokens), np.int64), answers)

    def verify_all(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.bool_]:
        """Which answers `[n, S]` are right."""
        return self.violations(puzzles, answers) == 0

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """0 for right answers `[n, S]`, otherwise 2 + the number of changed givens and of blanks."""
        counts = np.zeros(len(answers), np.int64)
        for row, (puzzle, answer) in enumerate(zip(puzzles, answers, strict=True)):
            given, filled = self.decode(puzzle), self.decode(answer)
            if not self.verify(given, filled).ok:
                wrong = ((given != BLANK) & (given != filled)) | (filled == BLANK)
                counts[row] = 2 + int(wrong.sum())
        return counts

    def _orientations(self) -> NDArray[np.int32]:
        return cell_permutations(self.rows, self.columns)[: None if self.turns else 1]

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """Random rotations, reflections and permutations of symbols, as far as the subclass allows them."""
        orientations = self._orientations()
        tokens = np.tile(np.arange(self.vocab_size, dtype=np.uint8), (count, 1))
        if self.exchanges_symbols:
            tokens[:, BLANK + 2 :] = rng.permuted(tokens[:, BLANK + 2 :], axis=1)
        return TokenSymmetries(orientations[rng.integers(0, len(orientations), count)], tokens)

    def canonical(self, tokens: Tokens) -> list[bytes]:
        """A key for each puzzle `[n, S]`, equal exactly for puzzles that the symmetries map to each other."""
        orientations = self._orientations()
        return [
            min(self._relabeled(copy).tobytes() for copy in row[orientations])
            for row in np.asarray(tokens, np.uint8)
        ]

    def _relabeled(self, tokens: Tokens) -> Tokens:
        if not self.exchanges_symbols:
            return tokens
        ranks = np.arange(self.vocab_size, dtype=np.uint8)
        used = list(dict.fromkeys(token for token in tokens.tolist() if token > BLANK + 1))
        ranks[used] = np.arange(BLANK + 2, BLANK + 2 + len(used), dtype=np.uint8)
        return ranks[tokens]
