"""Prints the text between tables: paragraphs that fit the terminal, gaps."""

from __future__ import annotations

import sys

from hrm_cli.cli import console
from hrm_cli.cli.render.layout import fitting_lines, fitting_markdown, fitting_text


def terminal_width() -> int | None:
    """Width of the terminal at stdout; None if stdout is a pipe or a file."""
    return None if console.is_plain(sys.stdout) else console.width_of(sys.stdout)


def print_paragraph(text: str, indent: int = 0, *, hanging: int = 0) -> None:
    """Prints text in lines that fit the terminal, or as one line without a terminal, for `grep`.

    `indent` moves all lines to the right, `hanging` those after the first.
    """
    width = terminal_width()
    for line in (
        [" " * indent + text] if width is None else fitting_lines(text, width, indent, hanging=hanging)
    ):
        console.print_line(line)


def print_fitting(text: str) -> None:
    """Prints lines as they are; on a terminal, those that do not fit are broken at words, at their indentation."""
    width = terminal_width()
    console.print_line(text if width is None else fitting_text(text, width))


def print_markdown(text: str) -> None:
    """Prints a Markdown text; on a terminal, its prose is broken at words."""
    width = terminal_width()
    console.print_line(text if width is None else fitting_markdown(text, width))


def print_gap() -> None:
    """An empty line between tables."""
    console.print_line()
