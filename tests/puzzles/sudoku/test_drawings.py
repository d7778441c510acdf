"""A puzzle is read as it is drawn, or refused: random puzzles in every style, with what editors and mails do to them.

HRM_DRAWINGS=20000 pytest tests/puzzles/sudoku/test_drawings.py    # the long run
"""

from __future__ import annotations

import io
import os
import random
import sys
from collections import Counter

import pytest

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.text_lines import SkippedLines

from .drawings import Drawn, draw

DRAWINGS = int(os.environ.get("HRM_DRAWINGS", "2000"))
PIECES = 10


def outcome(drawn: Drawn) -> str:
    """`read`, `refused`, or what must not be: `wrong` or `lost`."""
    wanted = ["".join(rows) for rows in drawn.puzzles]
    found: list[str] = []
    refused = 0
    skipped = SkippedLines()
    try:
        for item in read_puzzles(io.BytesIO(drawn.text), skipped=skipped):
            if isinstance(item, Puzzle):
                found.append(SudokuDomain(len(item.grid)).text(item.grid))
            else:
                refused += 1
    except PuzzleError:
        refused += 1
    left = iter(wanted)
    if not all(any(cells == other for other in left) for cells in found):
        return "wrong"
    if len(found) == len(wanted):
        return "read"
    return "refused" if refused or skipped.count > drawn.edits.count("title") else "lost"


@pytest.mark.parametrize("piece", range(PIECES))
def test_every_drawing_is_read_as_its_puzzle_or_refused(piece):
    outcomes: Counter[str] = Counter()
    for seed in range(piece, DRAWINGS, PIECES):
        drawn = draw(random.Random(seed))
        found = outcome(drawn)
        outcomes[found] += 1
        assert found in ("read", "refused"), (
            f"seed {seed}: {drawn.style}, {drawn.edits}\n{drawn.text.decode()}"
        )
    print(dict(outcomes), file=sys.stderr)
    # Refusing everything would be safe, too.
    assert outcomes["read"] > 4 * outcomes["refused"]
