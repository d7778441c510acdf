"""What notebooks show for solutions and datasets (`_repr_html_`); for runs, see `run_in_notebook.py`.

Boards need a script and a style of their own, so they are in a frame: nothing of the notebook reaches them, and they
change nothing there.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrm_cli.data.format import Dataset
from hrm_cli.printable import counted, printable
from hrm_cli.puzzles.domain import PAD, Domain, Tokens, infer_domain, parse_domain
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.solving.solution import Solution
from hrm_cli.views.drawing import draw
from hrm_cli.views.web.boards import board_of, embedded, empty_board, grid_of, script, style
from hrm_cli.views.web.page import solutions_page

EXAMPLES = 4
"""Number of examples that a dataset shows: the first of evenly spaced groups."""


_DRAW_PAIRS = """
for (const [board, output] of JSON.parse(document.getElementById("data").textContent)) {
  const pair = hrmBoard.element("div", { class: "hb-pair" }, hrmBoard.gridFigure(board, board.puzzle, "input", board));
  if (output) pair.append(hrmBoard.gridFigure(board, output, "output", board));
  document.getElementById("all").append(pair);
}
"""


def solution_html(domain: Domain, solution: Solution) -> str:
    """A player for the steps of a traced solution."""
    board = board_of(domain, solution)
    height = 860 if board["demonstrations"] or board["search"] else 760
    return _frame(solutions_page([board]), height, f"{board['title']}: reasoning steps")


class NotebookDataset(Dataset):
    """A dataset that shows its first examples."""

    def _repr_html_(self) -> str | None:
        metadata = self.metadata
        domain = parse_domain(metadata.domain) or infer_domain(metadata.vocab_size, metadata.seq_len)
        if domain is None or not self.num_groups:
            return None
        groups = np.unique(np.linspace(0, self.num_groups - 1, EXAMPLES).astype(np.int64))
        examples = self.puzzle_indices[self.group_indices[groups]]
        pairs = [_pair(domain, given, label) for given, label in zip(*self.gather(examples), strict=True)]
        facts = ", ".join(
            [
                printable(domain.describe()),
                f"{self.split}: {counted(self.num_groups, 'original puzzle')}",
                counted(self.num_examples, "example"),
            ]
        )
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><style>'
            f"{style()} body {{ margin: 0; padding: 12px; background: var(--hb-card); color: var(--hb-text); "
            "font: 15px/1.5 system-ui, sans-serif; } #all { display: flex; flex-wrap: wrap; gap: 16px 32px; } "
            "p { margin: 0 0 8px; }</style>"
            f'<p>{escape(facts)}</p><div id="all"></div>'
            f'<script type="application/json" id="data">{embedded(pairs)}</script><script>{script()}</script>'
            f"<script>{_DRAW_PAIRS}</script></html>"
        )
        return _frame(page, 480, facts)


def _pair(
    domain: Domain, given: NDArray[np.int32], label: NDArray[np.int32]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The board of an input, and the grid of its output; None if it has no answer."""
    kind: Any = np.uint8 if domain.vocab_size <= 256 else np.uint16
    tokens: Tokens = given.astype(kind)
    puzzle = domain.decode_input(tokens) if isinstance(domain, GridsDomain) else domain.decode(tokens)
    has_answer = bool((label > PAD).any())
    output = draw(domain, domain.decode(label.astype(kind))) if has_answer else None
    return empty_board(domain, puzzle), None if output is None else grid_of(output)


def _frame(page: str, height: int, title: str) -> str:
    return (
        f'<iframe title="{escape(title)}" style="width: 100%; height: {height}px; border: 0" '
        f'sandbox="allow-scripts" srcdoc="{escape(page)}"></iframe>'
    )
