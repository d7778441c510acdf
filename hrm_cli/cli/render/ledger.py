"""`hrm params --explain`: the ledger of published figures, for who knows nothing of the dispute."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.accounting.ledger import Entry
from hrm_cli.cli import console
from hrm_cli.cli.render.paragraphs import print_gap, print_paragraph, right_aligned, terminal_width

_INTRODUCTION = (
    "Published figures on the size of HRM, and what each of them counted. A parameter is a number that training "
    "adjusts: papers report those. A model file also stores numbers that are never trained. H is the width of a model; "
    "it is a stack of blocks, each an attention and a SwiGLU, a feed-forward of three matrices. All figures but the "
    "claimed ones are computed now; the command below an entry shows the whole count."
)
_WIDE = 110
"""Columns of a terminal from which the table says where a claim was made."""


def show_ledger(entries: Sequence[Entry]) -> None:
    """A table of the claims, then a paragraph on what each of them counted."""
    print_paragraph(_INTRODUCTION)
    print_gap()
    width = terminal_width()
    _print_table(entries, with_source=width is None or width >= _WIDE)
    print_gap()
    for number, entry in enumerate(entries, 1):
        console.print_line(f"{f'{number}.':<4}{entry.claim} ({entry.source}): {entry.verdict}")
        print_paragraph(f"It counted {entry.counted}.", indent=4)
        console.print_line(f"    {entry.command}")
        if number < len(entries):
            console.print_line()


def _print_table(entries: Sequence[Entry], *, with_source: bool) -> None:
    columns = {
        "": [f"{number}." for number in range(1, len(entries) + 1)],
        "claim": [entry.claim for entry in entries],
        "where": [entry.source for entry in entries],
        "claimed": [entry.claimed for entry in entries],
        "computed": [_figure(entry) for entry in entries],
        "verdict": [entry.verdict for entry in entries],
    }
    if not with_source:
        del columns["where"]
    table = [
        right_aligned([head, *cells]) if head in ("claimed", "computed") else [head, *cells]
        for head, cells in columns.items()
    ]
    heads, *rows = zip(*table, strict=True)
    console.print_table(heads, rows)


def _figure(entry: Entry) -> str:
    if entry.unit == "share":
        return f"{entry.computed:.0%}"
    if entry.unit == "difference" and entry.computed == 0:
        return "no change"
    return f"{entry.computed:,.0f}"
