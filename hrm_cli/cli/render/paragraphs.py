"""How `hrm params` sets text: paragraphs that fit the terminal, gaps between tables."""

from __future__ import annotations

import shutil
import sys
import textwrap

from hrm_cli.cli import console

_LONGEST_LINE = 100
"""Characters of a line that is good to read."""


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is a pipe or a file."""
    return None if console.is_plain(sys.stdout) else shutil.get_terminal_size().columns


def print_paragraph(text: str, indent: int = 0) -> None:
    """Lines that fit the terminal; one whole line where there is none, for `grep`."""
    width = terminal_width()
    lines = [text] if width is None else textwrap.wrap(text, min(max(width, 40), _LONGEST_LINE) - indent)
    for line in lines:
        console.print_line(" " * indent + line)


def print_gap() -> None:
    """An empty line between tables; on a terminal they bring their own."""
    if terminal_width() is None:
        console.print_line()


def right_aligned(cells: list[str]) -> list[str]:
    """A column's cells, its head among them, padded to one width."""
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]
