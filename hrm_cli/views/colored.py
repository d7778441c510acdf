"""Grids of colored cells on a terminal: color 0 can be seen on black, and differences without any colors."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from hrm_cli.views.drawing import BLANK, Drawing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

DIFFERENT = "x"
"""Marks a cell that differs from what was expected."""
_DARK, _LIGHT = "#000000", "#ffffff"
_FAINT = "#8a8a8a"
"""Of the dot in a cell of color 0: readable on a black terminal and on the cell's own black."""


def needs_digits(console: Console) -> bool:
    """Whether colors alone do not tell cells apart there: NO_COLOR, or a terminal of 16 colors or fewer."""
    return console.no_color or console.color_system in (None, "standard", "windows")


def painted(
    drawing: Drawing, different: Set[int] = frozenset(), *, has_digits: bool = False, is_narrow: bool = False
) -> Text:
    """A drawing in the colors of its palette, two columns a cell, or one where `is_narrow`.

    Color 0 holds a dot. `different` cells hold crosses; with digits, which then every cell holds, an x beside them.
    """
    from rich.text import Text

    text = Text(no_wrap=True)
    if not drawing.cells:
        return Text("(no grid)", style="dim")
    marked = different
    for cell, (line, column) in enumerate(drawing.cells):
        if cell and line != drawing.cells[cell - 1][0]:
            text.append("\n")
        symbol = drawing.lines[line][column]
        color = drawing.palette[symbol]
        text.append(
            _content(symbol, cell in marked, has_digits=has_digits, is_narrow=is_narrow),
            style=f"{'bold ' if cell in marked else ''}{_ink(symbol, color, cell in marked)} on {color}",
        )
    return text


def _content(symbol: str, is_different: bool, *, has_digits: bool, is_narrow: bool) -> str:
    shown = symbol if has_digits or symbol == BLANK else " "
    if is_narrow:
        return DIFFERENT if is_different else shown
    if is_different:
        return f"{DIFFERENT}{symbol}" if has_digits else "><"
    return f" {shown}"


def _ink(symbol: str, color: str, is_different: bool) -> str:
    """A color that can be read on `color`."""
    if symbol == BLANK and not is_different:
        return _FAINT
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _LIGHT
