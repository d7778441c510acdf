"""Prints the text between tables: paragraphs that fit the terminal, gaps."""

from __future__ import annotations

import shutil
import sys

from hrm_cli.cli import console
from hrm_cli.cli.render.layout import fitting_lines


def terminal_width() -> int | None:
    """Width of the terminal at stdout; None if stdout is a pipe or a file."""
    return None if console.is_plain(sys.stdout) else shutil.get_terminal_size().columns


def print_paragraph(text: str, indent: int = 0, *, hanging: int = 0) -> None:
    """Prints text in lines that fit the terminal, or as one line without a terminal, for `grep`.

    `indent` moves all lines to the right, `hanging` those after the first.
    """
    width = terminal_width()
    for line in (
        [" " * indent + text] if width is None else fitting_lines(text, width, indent, hanging=hanging)
    ):
        console.print_line(line)


def message_lines(text: str) -> list[str]:
    """A paragraph for stderr: lines that fit its terminal, or one line without a terminal."""
    if console.is_plain(sys.stderr):
        return [text]
    return fitting_lines(text, console.console(sys.stderr).width)


def print_gap() -> None:
    """An empty line between tables."""
    console.print_line()
