"""Sudoku as a domain: its tokens, its one-line text, its rules, and its exact solver.

A grid holds digits, 0 for blank. Tokens: 0 padding, 1 blank, d + 1 for the digit d.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Diagnosis, Grid, Puzzle, Solved, Tokens, TokenSymmetries, Verdict
from hrm_cli.puzzles.relations import Neighborhood, Relations
from hrm_cli.puzzles.sudoku.layout import BOXES, LARGEST_LISTED, SYMBOLS, layout

BLANK = 1
"""Token of a blank cell, and the offset from cell values to tokens."""

BLANKS = ".0_*"
"""Characters for a blank cell in puzzle files."""

_DIGITS = np.full(256, 255, np.uint8)
"""Cell value of each character."""
_DIGITS[[ord(character) for character in BLANKS]] = 0
_DIGITS[[ord(character) for character in SYMBOLS]] = range(1, len(SYMBOLS) + 1)
_DIGITS[[ord(character) for character in SYMBOLS[9:].lower()]] = range(10, len(SYMBOLS) + 1)


class SudokuDomain:
    """Sudoku of `size` × `size` cells; `BOXES` holds the sizes and their boxes.

    Digits above 9 are written as letters. Raises ConfigError for another size.
    """

    name = "sudoku"
    blank_token = BLANK
    solver_is_fast = False

    def __init__(self, size: int = 9) -> None:
        self.layout = layout(size)
        self.size = size
        self.vocab_size = size + 1 + BLANK
        self.seq_len = size * size

    @property
    def relations(self) -> Relations:
        """Rows and columns in one class, boxes in another; the digits are interchangeable."""
        units = self.layout.units.astype(np.int64)
        lines, boxes = units[: 2 * self.size], units[2 * self.size :]
        return Relations(
            self.seq_len, self.vocab_size, BLANK + 1, self.size, (("line", lines), ("box", boxes)),
            each_symbol_once=True,
        )  # fmt: skip

    @property
    def neighborhood(self) -> Neighborhood:
        """The cells are a grid, though the rules do not speak of neighbors."""
        return Neighborhood(self.size, self.size)

    def facts(self) -> dict[str, Any]:
        """`{"size": N}`."""
        return {"size": self.size}

    def describe(self) -> str:
        """`9×9 Sudoku`."""
        return f"{self.size}×{self.size} Sudoku"

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses a puzzle from its N² characters. Raises PuzzleError, with `where` and the error."""
        try:
            return Puzzle(self.grid(text.strip()), where=where, domain=self.name)
        except PuzzleError as error:
            raise PuzzleError(f"{where}: {error}" if where else str(error)) from None

    def grid(self, text: str) -> Grid:
        """The grid `[N, N]` of N² characters. Raises PuzzleError for another length or character."""
        if len(text) != self.seq_len:
            raise PuzzleError(f"{len(text)} characters; a {self.describe()} has {self.seq_len}")
        cells = _DIGITS[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]
        wrong = cells > self.size
        if wrong.any():
            position = int(np.argmax(wrong))
            raise PuzzleError(
                f"character {text[position]!r} at position {position + 1} "
                f"({self.layout.cell_name(position)}) is neither a digit from 1 to "
                f"{SYMBOLS[self.size - 1]} nor a blank (one of {' '.join(BLANKS)})"
            )
        return self._square(cells)

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[S]` of a grid `[N, N]` or `[S]`. Raises PuzzleError for another shape or other digits."""
        cells = np.asarray(grid)
        if cells.shape not in {(self.size, self.size), (self.seq_len,)}:
            shape = "×".join(map(str, cells.shape)) or "a single"
            raise PuzzleError(f"{shape} cells; a {self.describe()} has {self.size}×{self.size}")
        cells = cells.reshape(-1)
        if not np.issubdtype(cells.dtype, np.integer):
            raise PuzzleError(f"cells of type {cells.dtype}; a {self.describe()} has whole numbers")
        wrong = np.flatnonzero((cells < 0) | (cells > self.size))
        if len(wrong):
            raise PuzzleError(
                f"{self.layout.cell_name(wrong[0])}: found {cells[wrong[0]]}; "
                f"expected a digit from 1 to {self.size}, or 0 for a blank"
            )
        return (cells + BLANK).astype(np.uint8)

    def decode(self, tokens: Tokens) -> Grid:
        """The grid `[N, N]` of tokens `[S]`; padding and tokens beyond the vocabulary become blanks."""
        tokens = np.asarray(tokens).reshape(-1)
        if len(tokens) != self.seq_len:
            raise PuzzleError(f"{len(tokens)} tokens; a {self.describe()} has {self.seq_len}")
        digit = (tokens > BLANK) & (tokens < self.vocab_size)
        return self._square(np.where(digit, tokens.astype(np.int64) - BLANK, 0).astype(np.uint8))

    def text(self, grid: Grid) -> str:
        """The N² cells as one line, `.` for blanks."""
        return "".join(SYMBOLS[cell - 1] if cell else "." for cell in self._cells(grid))

    def lines(self, grid: Grid) -> Sequence[str]:
        """The grid drawn with rules between its boxes, `.` for blanks."""
        cells = self._square(self._cells(grid))
        thick, wide = self.layout.box_rows, self.layout.box_columns
        rule = "+".join(
            "-" * (2 * wide + (0 < stack < self.size // wide - 1)) for stack in range(self.size // wide)
        )
        drawn: list[str] = []
        for row in range(self.size):
            if row and row % thick == 0:
                drawn.append(rule)
            symbols = [SYMBOLS[cell - 1] if cell else "." for cell in cells[row]]
            drawn.append(" | ".join(" ".join(symbols[i : i + wide]) for i in range(0, self.size, wide)))
        return drawn

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """`count` symmetries drawn uniformly from the domain's whole group."""
        from hrm_cli.puzzles.sudoku.symmetry import sample

        return sample(self.size, rng, count)

    def encode_all(self, cells: Grid) -> Tokens:
        """Tokens of the cells `[n, S]` of grids that were parsed or generated."""
        return cells + np.uint8(BLANK)

    def solve_all(self, tokens: Tokens) -> Solved:
        """Solves puzzles `[n, S]` without padding."""
        from hrm_cli.puzzles.sudoku.solver import search

        found = search(tokens - np.uint8(BLANK), self.size)
        return Solved(found.counts, found.branches, self.encode_all(found.solutions[:, 0]))

    def verify_all(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.bool_]:
        """Which answers `[n, S]` are valid solutions of their puzzles."""
        agrees = ((puzzles == BLANK) | (puzzles == answers)).all(axis=1)
        return (answers != BLANK).all(axis=1) & (self.solve_all(answers).counts == 1) & agrees

    def violations(self, puzzles: Tokens, answers: Tokens) -> NDArray[np.int64]:
        """0 for correct answers `[n, S]`, otherwise 1 + the number of changed givens and of units that miss a digit."""
        changed = ((puzzles > BLANK) & (puzzles != answers)).sum(axis=1)
        of_units = np.sort(answers[:, self.layout.units], axis=2)
        incomplete = (of_units != np.arange(1, self.size + 1) + BLANK).any(axis=2).sum(axis=1)
        broken = changed + incomplete
        return np.where(broken > 0, broken + 1, 0).astype(np.int64)

    def pin(self, tokens: Tokens, cell: int, token: int) -> Tokens:
        """Returns the puzzle `[S]` with one more given. Does not modify `tokens`."""
        pinned = tokens.copy()
        pinned[cell] = token
        return pinned

    def refuted(self, puzzles: Tokens) -> NDArray[np.bool_]:
        """Which puzzles `[n, S]` are proved unsolvable by their givens and naked singles, `[n]`."""
        from hrm_cli.puzzles.sudoku.solver import refuted

        return refuted(puzzles - np.uint8(BLANK), self.size)

    def canonical(self, tokens: Tokens) -> list[bytes]:
        """A key for each puzzle `[n, S]`. Two keys are equal exactly if a symmetry maps one puzzle to the other."""
        cells = np.where(tokens > BLANK, tokens - BLANK, 0).astype(np.uint8).reshape(-1, self.seq_len)
        if self.size > LARGEST_LISTED:
            from hrm_cli.puzzles.sudoku.canonical_large import canonical_keys

            return canonical_keys(cells, self.size)
        from hrm_cli.puzzles.sudoku.canonical import canonical_cells

        return [row.tobytes() for row in canonical_cells(cells, self.size)]

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Whether `answer` is a valid solution of the puzzle; the reason names the first rule violation.

        Raises PuzzleError if `puzzle` has another size.
        """
        givens = self._cells(puzzle)
        filled = np.asarray(answer).reshape(-1)
        if len(filled) != self.seq_len:
            return Verdict(False, f"the answer has {len(filled)} cells, not {self.seq_len}")
        for cell in np.flatnonzero((givens > 0) & (givens != filled)):
            change = f"was changed to {filled[cell]}" if filled[cell] else "is missing"
            return Verdict(False, f"the given {givens[cell]} at {self.layout.cell_name(cell)} {change}")
        for cell in np.flatnonzero((filled < 1) | (filled > self.size)):
            what = f"holds {filled[cell]}, not a digit from 1 to {self.size}" if filled[cell] else "is empty"
            return Verdict(False, f"{self.layout.cell_name(cell)} {what}")
        repeated = self._repetition(filled)
        if repeated:
            return Verdict(False, repeated)
        return Verdict(True)

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """The number of solutions, the reason if it is not one, and the difficulty.

        Raises PuzzleError for another size.
        """
        givens = self._cells(puzzle)
        repeated = self._repetition(givens)
        if repeated:
            return Diagnosis(0, repeated)
        from hrm_cli.puzzles.sudoku.solver import BUDGET, UNKNOWN, search

        found = search(givens[None], self.size)
        solutions, difficulty = int(found.counts[0]), int(found.branches[0])
        if solutions == UNKNOWN:
            known = (
                "whether there is another solution"
                if found.solutions.any()
                else "whether there is a solution"
            )
            return Diagnosis(
                None, f"the exact solver gave up after {BUDGET:,} branches, so {known} is unknown"
            )
        if solutions == 1:
            return Diagnosis(1, "", difficulty, self._square(found.solutions[0, 0]))
        if solutions == 0:
            reason = "no solution: the givens leave no digit for a cell, or no cell for a digit"
        else:
            one, other = found.solutions[0, :2]
            cell = np.flatnonzero(one != other)[0]
            low, high = sorted((int(one[cell]), int(other[cell])))
            reason = f"more than one solution: {self.layout.cell_name(cell)} can be {low} or {high}"
        return Diagnosis(solutions, reason, difficulty)

    def _cells(self, grid: Grid) -> Grid:
        return self.encode(grid) - np.uint8(BLANK)

    def _square(self, cells: Grid) -> Grid:
        return cells.reshape(self.size, self.size)

    def _repetition(self, cells: Grid) -> str | None:
        """Names the first unit that contains a digit more than once, and the digit; None if no unit does."""
        for unit, places in enumerate(self.layout.units):
            counts = np.bincount(cells[places], minlength=self.size + 1)
            for digit in range(1, self.size + 1):
                if counts[digit] > 1:
                    return f"{self.layout.unit_name(unit)} contains {digit} more than once"
        return None


def from_shape(vocab_size: int, seq_len: int) -> SudokuDomain | None:
    """The Sudoku domain with this vocabulary size and sequence length, or None."""
    for size in BOXES:
        domain = SudokuDomain(size)
        if (domain.vocab_size, domain.seq_len) == (vocab_size, seq_len):
            return domain
    return None
