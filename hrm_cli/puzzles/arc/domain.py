"""ARC as a domain: grids of ten colors, up to 30×30, at the top left corner of a 30×30 field of tokens.

Tokens: 0 padding, 1 end of grid (the row below and the column right of the grid, where there is room), color + 2.
ARC has no rules that could verify an answer. An answer is correct if it equals the task's own solution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.json_text import parse_json
from hrm_cli.puzzles.arc.fields import CELLS, Fields
from hrm_cli.puzzles.arc.kernels import FIRST_COLOR, LAST_COLOR, SIDE
from hrm_cli.puzzles.arc.symmetry import COLORS
from hrm_cli.puzzles.arc.tasks import parse_grid
from hrm_cli.puzzles.domain import Diagnosis, Grid, Puzzle, Tokens, TokenSymmetries, Verdict
from hrm_cli.puzzles.relations import Neighborhood

PALETTE = (
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25"
)  # fmt: skip
"""The ten colors, as in the viewer published with the corpus."""
SYMBOLS = (".", *map(str, range(1, COLORS)))
"""The character that represents each color in plain text."""

NO_RULES = "ARC has no rules to verify an answer with, only a task's own solution"


class ArcDomain:
    """Grids of the Abstraction and Reasoning Corpus, 1×1 to 30×30. Raises ConfigError if a size is given."""

    name = "arc"
    blank_token = None
    vocab_size = LAST_COLOR + 1
    seq_len = CELLS

    def __init__(self, size: int | None = None) -> None:
        if size not in (None, SIDE):
            raise ConfigError(f"size {size}: ARC grids are of every size up to {SIDE}×{SIDE}; omit it")

    neighborhood = Neighborhood(SIDE, SIDE)

    palette: ClassVar[Mapping[str, str]] = dict(zip(SYMBOLS, PALETTE, strict=True))
    """The color of each symbol of `lines`."""

    def facts(self) -> dict[str, Any]:
        """Empty: the ARC domain has no options."""
        return {}

    def describe(self) -> str:
        """`ARC` and the largest grid size."""
        return f"ARC (grids up to {SIDE}×{SIDE})"

    def parse(self, text: str, where: str = "") -> Puzzle:
        """Parses a grid from JSON such as `[[0,1],[2,3]]`. Raises PuzzleError, with `where`."""
        try:
            rows = parse_json(text)
        except ValueError as error:
            raise PuzzleError(f"{where + ': ' if where else ''}not a JSON grid ({error})") from None
        return Puzzle(parse_grid(rows, where), where=where, domain=self.name)

    def encode(self, grid: Grid) -> Tokens:
        """Tokens `[900]` of a grid at the top left corner of the field.

        Raises PuzzleError for other sizes or colors.
        """
        return Fields.from_grids([parse_grid(np.asarray(grid).tolist(), "grid")]).tokens[0]

    def decode(self, tokens: Tokens) -> Grid:
        """The largest rectangle of colors at the top left corner of the field; shape `[0, 0]` if there is none."""
        return Fields.crop(np.asarray(tokens)[None]).grid(0)

    def text(self, grid: Grid) -> str:
        """The grid as JSON on one line."""
        return json.dumps(np.asarray(grid).tolist(), separators=(",", ":"))

    def sample_symmetries(self, rng: np.random.Generator, count: int) -> TokenSymmetries:
        """Samples recolorings only. A rotation within the field depends on the grid's size; see `arc/symmetry.py`."""
        tokens = np.tile(np.arange(self.vocab_size, dtype=np.uint8), (count, 1))
        first = FIRST_COLOR + 1
        tokens[:, first:] = rng.permuted(tokens[:, first:], axis=1)
        cells = np.broadcast_to(np.arange(self.seq_len, dtype=np.int32), (count, self.seq_len))
        return TokenSymmetries(np.ascontiguousarray(cells), tokens)

    def verify(self, puzzle: Grid, answer: Grid) -> Verdict:
        """Never ok, because ARC has no rules. Answers are compared with solutions instead."""
        return Verdict(False, NO_RULES)

    def diagnose(self, puzzle: Grid) -> Diagnosis:
        """Always reports one solution, because ARC has no rules to search with."""
        return Diagnosis(1, NO_RULES)

    def lines(self, grid: Grid) -> Sequence[str]:
        """One line per row: `.` for the background, digits for the other colors."""
        return [" ".join(SYMBOLS[color] for color in row) for row in np.asarray(grid).tolist()]


def from_shape(vocab_size: int, seq_len: int) -> ArcDomain | None:
    """The ARC domain if vocabulary size and sequence length match it, else None."""
    return ArcDomain() if (vocab_size, seq_len) == (ArcDomain.vocab_size, ArcDomain.seq_len) else None
