"""Puzzles as the page sends and receives them: grids of whole numbers, or text in any format that `hrm solve` reads.

A puzzle is `{"kind", "grid"}`, rows of cells: digits (0 for blank), cells of mazes as in `maze/domain.py`, or numbers
of symbols. An ARC task is `{"kind": "arc", "task": {"train": [{"input", "output"}], "test": [{"input"}]}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np

from hrm_cli.errors import PuzzleError
from hrm_cli.json_text import parse_json
from hrm_cli.playing.models import LARGEST_SIDE
from hrm_cli.puzzles.domain import OWN_PUZZLES, Domain, Grid, Puzzle, Unreadable, make_domain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.grids.reading import pair_of_line
from hrm_cli.puzzles.grids.symbols import cells_of_json
from hrm_cli.puzzles.plain_text import PlainText
from hrm_cli.solving.files import open_typed

MOST_READ = 200
"""Puzzles read from one text."""
DRAWN = "the puzzle"
PASTED = "the pasted text"

Document = Mapping[str, Any]


def drawn_puzzle(document: Document, trained: Domain | None) -> Puzzle:
    """The puzzle that was drawn on the page. `trained` is the model's domain. Raises PuzzleError.

    It is checked as `hrm solve` checks a puzzle in a file: a maze needs a start and a goal.
    """
    kind, grid = str(document.get("kind"))[:80], _grid(document.get("grid"))
    if kind == "sudoku" and grid.shape[0] == grid.shape[1]:
        make_domain("sudoku", size=len(grid)).encode(grid)
    if kind == "maze":
        domain = make_domain("maze", rows=len(grid), columns=grid.shape[1])
        domain.encode(grid)
        return domain.parse(domain.text(grid), DRAWN)
    if kind == OWN_PUZZLES:
        assert isinstance(trained, GridsDomain)
        if grid.max() >= len(trained.symbols):
            raise PuzzleError(f"{DRAWN}: symbol {grid.max()}; expected 0 to {len(trained.symbols) - 1}")
        return Puzzle(grid.astype(trained.token_type), where=DRAWN, domain=kind)
    return Puzzle(grid.astype(np.uint8), where=DRAWN, domain=kind)


def _grid(rows: Any) -> Grid:
    is_grid = (
        isinstance(rows, list)
        and 1 <= len(rows) <= LARGEST_SIDE
        and all(isinstance(row, list) and 1 <= len(row) <= LARGEST_SIDE for row in rows)
        and len({len(row) for row in rows}) == 1
        and all(type(cell) is int and 0 <= cell < 1000 for row in rows for cell in row)
    )
    if not is_grid:
        raise PuzzleError(
            f"{DRAWN}: expected up to {LARGEST_SIDE} rows of whole numbers, all of one length, at most {LARGEST_SIDE}"
        )
    return np.array(rows, np.int64)


def pasted_puzzles(text: str, kind: str, trained: Domain | None) -> tuple[list[Document], str]:
    """The puzzles of a text, at most `MOST_READ`, as the page draws them, and a note on what is left out.

    `kind` is the kind that the page shows. Nothing in the text is taken for the name of a file. Raises PuzzleError if
    it holds no puzzle.
    """
    if not text.strip():
        raise PuzzleError(f"{PASTED}: is empty; paste a puzzle in any format that `hrm solve` reads")
    if kind == "arc":
        return _pasted_tasks(text), ""
    if kind == OWN_PUZZLES:
        assert isinstance(trained, GridsDomain)
        return [{"kind": kind, "grid": _own_grid(text, trained).tolist()}], ""
    reader = None
    if trained is not None and kind not in ("sudoku", "maze"):
        reader = PlainText(trained)
    items = list(islice(open_typed(text, reader, PASTED), MOST_READ))
    puzzles = [one for one in items if isinstance(one, Puzzle)]
    reasons = [_reason(one) for one in items if isinstance(one, Unreadable)]
    if not puzzles:
        raise PuzzleError(reasons[0])
    for one in puzzles:
        if max(one.grid.shape) > LARGEST_SIDE:
            raise PuzzleError(
                f"{one.where}: {one.grid.shape[0]}×{one.grid.shape[1]} cells; this page draws at most "
                f"{LARGEST_SIDE}×{LARGEST_SIDE}, `hrm solve` takes larger ones"
            )
    documents: list[Document] = [{"kind": one.domain or kind, "grid": one.grid.tolist()} for one in puzzles]
    return documents, f"left out: {reasons[0]}" if reasons else ""


def _reason(item: Unreadable) -> str:
    return f"{item.where}: {item.reason}" if item.where else item.reason


def _own_grid(text: str, domain: GridsDomain) -> Grid:
    if text.lstrip().startswith("{"):
        pair = pair_of_line(text.strip(), PASTED)
        grid = domain.grid_of(cells_of_json(pair.given, words=bool(domain.words)))
    else:
        grid = domain.parse(text, PASTED).grid
    domain.encode(grid)
    return grid


def _pasted_tasks(text: str) -> list[Document]:
    from hrm_cli.puzzles.arc.tasks import parse_tasks

    try:
        document = parse_json(text)
    except ValueError as error:
        raise PuzzleError(f"{PASTED}: cannot be read as JSON ({error}); expected an ARC task") from None
    found: list[Document] = []
    for task in islice(parse_tasks(document, PASTED, "task"), MOST_READ):
        content = task.document()
        found += [
            {"kind": "arc", "name": task.name, "task": {"train": content["train"], "test": [pair]}}
            for pair in content["test"]
        ]
    return found
