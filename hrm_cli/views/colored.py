"""Draws grids of colored cells on a terminal. Color 0 is visible on black, and differences do not rely on color."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from hrm_cli.views.drawing import BLANK, Drawing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

DIFFERENT = "x"
"""Marks a cell that differs from the expected one."""
_DARK, _LIGHT = "#000000", "#ffffff"
_FAINT = "#8a8a8a"
"""Color of the dot in a cell of color 0, which is black."""


def needs_digits(console: Console) -> bool:
    """Whether cells need digits, because colors cannot distinguish them: NO_COLOR, or at most 16 colors."""
    return console.no_color or console.color_system in (None, "standard", "windows")


def painted(
    drawing: Drawing, different: Set[int] = frozenset(), *, has_digits: bool = False, is_narrow: bool = False
) -> Text:
    """A drawing in the colors of its palette. A cell takes two columns, or one if `is_narrow`.

    Color 0 is shown as a dot. Cells in `different` get a cross. With `has_digits`, every cell shows its digit, and
    cells in `different` an x in front of it.
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
    """A text color that is readable on the background `color`."""
    if symbol == BLANK and not is_different:
        return _FAINT
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else _LIGHT
