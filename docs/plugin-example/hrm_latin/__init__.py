"""Latin squares as a domain of hrm: every row and every column contains each digit once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from hrm_cli.puzzles.symbol_grid import BLANK, SymbolGrid


class Latin(SymbolGrid):
    """N×N Latin squares, N from 2 to 9."""

    name = "latin"
    purpose = "Latin squares from 2×2 to 9×9"
    turns = True
    exchanges_symbols = True

    def __init__(self, size: int = 4) -> None:
        if not 2 <= size <= 9:
            raise ValueError("size: expected 2 to 9")
        self.size = size
        super().__init__(size, size, ".123456789"[: size + 1])

    def facts(self) -> dict[str, int]:
        """The arguments that recreate this domain."""
        return {"size": self.size}

    def broken_rule(self, answer: np.ndarray) -> str:
        """The first row or column with a repeated digit."""
        for name, lines in (("row", answer), ("column", answer.T)):
            for number, line in enumerate(lines, start=1):
                if len(set(line.tolist())) < self.size:
                    return f"{name} {number} contains a digit twice"
        return ""

    def solutions(self, puzzle: np.ndarray) -> Iterator[np.ndarray]:
        """Fills the cell with the fewest options first."""
        options = {}
        for row, column in np.argwhere(puzzle == BLANK):
            used = {*puzzle[row].tolist(), *puzzle[:, column].tolist()}
            options[row, column] = [digit for digit in range(1, self.size + 1) if digit not in used]
        if not options:
            if not self.broken_rule(puzzle):
                yield puzzle
            return
        cell = min(options, key=lambda one: len(options[one]))
        for digit in options[cell]:
            filled = puzzle.copy()
            filled[cell] = digit
            yield from self.solutions(filled)

    def generate(self, count: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Random squares; cells are blanked in random order until a second solution appears."""
        start = np.add.outer(np.arange(self.size), np.arange(self.size)) % self.size + 1
        for _ in range(count):
            answer = start[rng.permutation(self.size)][:, rng.permutation(self.size)].astype(np.uint8)
            answer = np.append(0, rng.permutation(self.size) + 1).astype(np.uint8)[answer]
            puzzle = answer.copy()
            for cell in rng.permutation(self.seq_len):
                given = puzzle.flat[cell]
                puzzle.flat[cell] = BLANK
                if self.diagnose(puzzle).solutions != 1:
                    puzzle.flat[cell] = given
                    break
            yield puzzle, answer


def pairs(argument: str, rng: random.Random) -> tuple[list[list[int]], list[list[int]]]:
    """`latin-pairs:N` as a source of own pairs: a row, and the N×N square that its rotations form."""
    size = int(argument or 4)
    row = rng.sample(range(1, 10), size)
    return [row], [row[shift:] + row[:shift] for shift in range(size)]
