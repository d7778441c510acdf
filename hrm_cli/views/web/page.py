"""A page with the boards of some solutions and a player for their steps: one file with everything in it, no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from hrm_cli.printable import counted, printable
from hrm_cli.views.web.boards import Board, embedded, script, style

TEMPLATE = Path(__file__).with_name("page.html")
MOST_SYMBOLS = 12_000_000
"""Largest number of symbols in the steps of all boards of a page. Of longer traces, evenly spaced steps are kept."""


def solutions_page(boards: Sequence[Board], *, heat: bool = False, left_out: int = 0) -> str:
    """The HTML page of some solutions. `heat`: it first shows the confidence of cells. `left_out`: other solutions."""
    solved = sum(board["status"] == "solved" for board in boards)
    several = f"{counted(len(boards), 'puzzle')}, {solved:,} solved"
    title = boards[0]["title"] if len(boards) == 1 else several
    more = f"Only the first {len(boards):,} puzzles are on this page." if left_out else ""
    data = {"boards": [_bounded(board, len(boards)) for board in boards], "heat": heat, "more": more}
    parts = {
        "{{title}}": escape(printable(f"{title}: reasoning steps")),
        "{{style}}": style(),
        "{{data}}": embedded(data),
        "{{script}}": script(),
    }
    text, pieces = TEMPLATE.read_text(encoding="utf-8"), []
    for marker, content in parts.items():
        before, _, text = text.partition(marker)
        pieces += [before, content]
    return "".join([*pieces, text])


def _bounded(board: Board, count: int) -> Board:
    """The board without some of its steps, if it has too many symbols for its share of the page."""
    symbols = sum(step["rows"] * step["columns"] for step in board["steps"])
    most = MOST_SYMBOLS // count
    if symbols <= most:
        return board
    steps = board["steps"]
    kept = max(2, len(steps) * most // symbols)
    places = sorted({place * (len(steps) - 1) // (kept - 1) for place in range(kept)})
    return board | {"steps": [steps[place] for place in places]}
