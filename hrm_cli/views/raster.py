"""Draws the grids of a board (`hrm_cli/views/web/boards.py`) as pixels, for PNG and GIF files.

Needs Pillow, an optional dependency, and no fonts of the system: Pillow brings one. Symbols that it cannot draw, such
as emoji, are replaced by their number among the symbols of the puzzle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hrm_cli.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    Color = tuple[int, int, int]

WHITE, INK, DIM, MODEL, RIGHT, WRONG = (
    "#ffffff", "#101828", "#5c6773", "#1d5fd6", "#067647", "#c81e1e",
)  # fmt: skip
GIVEN_CELL, CHANGED, CHANGED_LINE, WALL, END = "#eef1f5", "#fff1b8", "#b77900", "#475467", "#6d28d9"
HEAT, MESH, FRAME, COLOR_MESH, TRACK, BAR = "#f97316", "#c9d0d9", "#3a4453", "#6b7280", "#e6e9ee", "#6d28d9"
"""The colors of `board.css` on a light page."""
SMALL_CELL = 9
"""Cells with fewer pixels have filled marks instead of dots, outlines and crosses."""
DIGITS = "123456789ABCDEFGHIJKLMNOP"


def check_pillow(option: str) -> None:
    """Raises ConfigError if Pillow is missing."""
    try:
        import PIL.Image
        import PIL.ImageFont  # noqa: F401
    except ImportError:
        raise ConfigError(f"{option}: Pillow is not installed: pip install 'hrm-cli[pictures]'") from None


@dataclass(frozen=True)
class Look:
    """How a grid is drawn."""

    is_right: bool = False
    heat: bool = False
    candidates: bool = True
    given: Sequence[int] = ()
    marks: Mapping[str, Any] = field(default_factory=dict)
    """`changed`, `wrong`, `conflicts`, `confidence` and `candidates`, as in a step of a board."""


class Sheet:
    """A picture that is drawn on."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image: Image.Image = Image.new("RGB", (width, height), WHITE)
        self.draw: ImageDraw.ImageDraw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, text: str, size: int, color: str, anchor: str = "ls", bold: bool = False
    ) -> None:
        """Text whose anchor (left, baseline) is at (x, y)."""
        weight = max(1, round(size / 40)) if bold and size > 24 else 0
        self.draw.text(
            (x, y),
            drawable(text),
            font=font(size),
            fill=color,
            anchor=anchor,
            stroke_width=weight,
            stroke_fill=color,
        )

    def fitted(
        self, x: float, y: float, text: str, size: int, color: str, width: float, bold: bool = False
    ) -> None:
        """Text that is cut to `width` pixels."""
        while text and text_width(text, size) > width:
            text = f"{text[:-2].rstrip('…')}…" if len(text) > 2 else ""
        self.text(x, y, text, size, color, bold=bold)

    def grid(
        self, board: Mapping[str, Any], grid: Mapping[str, Any], left: int, top: int, cell: int, look: Look
    ) -> None:
        """A grid with its top left corner at (left, top) and `cell` pixels a cell."""
        _Grid(self, board, grid, left, top, cell, look).draw()


@lru_cache(maxsize=64)
def font(size: int) -> FreeTypeFont:
    """Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(max(size, 4))  # type: ignore[return-value]


def text_width(text: str, size: int) -> float:
    """Pixels."""
    return font(size).getlength(text)


@lru_cache(maxsize=4096)
def can_draw(symbol: str) -> bool:
    """Whether the font has every character of a symbol."""
    missing = bytes(font(32).getmask("\uffff"))
    return all(character == " " or bytes(font(32).getmask(character)) != missing for character in symbol)


_PLAIN = {
    "×": "x",
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "’": "'",
    "“": '"',
    "”": '"',
    "·": ".",
}


def drawable(text: str) -> str:
    """Text with characters that the font has."""
    return "".join(character if can_draw(character) else _PLAIN.get(character, "?") for character in text)


def rgb(color: str) -> Color:
    """Red, green and blue of a CSS color."""
    from PIL import ImageColor

    return ImageColor.getrgb(color.replace(" ", ", ") if color.startswith("hsl") else color)[:3]


def mixed(color: str, share: float, other: str = WHITE) -> str:
    """A color of which `share` is `color` and the rest `other`."""
    pairs = zip(rgb(color), rgb(other), strict=True)
    return "#" + "".join(f"{round(share * one + (1 - share) * two):02x}" for one, two in pairs)


def cell_size(grid: Mapping[str, Any], side: int, largest: int = 60) -> int:
    """The largest size of a cell in pixels at which the grid fits in a square; at least 1."""
    return max(1, min(largest, side // max(grid["rows"], grid["columns"], 1)))


class _Grid:
    def __init__(
        self,
        sheet: Sheet,
        board: Mapping[str, Any],
        grid: Mapping[str, Any],
        left: int,
        top: int,
        cell: int,
        look: Look,
    ) -> None:
        self.sheet, self.draw_on, self.board, self.look = sheet, sheet.draw, board, look
        self.left, self.top, self.cell = left, top, cell
        self.rows, self.columns, self.grid = grid["rows"], grid["columns"], grid
        self.symbols: list[str] = list(grid["symbols"])
        self.is_plan = board["kind"] == "plan"
        self.given = set(look.given)
        self.changed = set(look.marks.get("changed", ()))
        self.wrong = {*look.marks.get("wrong", ()), *look.marks.get("conflicts", ())}
        # A verified answer is shown as it is, however probable it was.
        shows_candidates = look.candidates and not self.is_plan and not look.is_right
        self.candidates = (look.marks.get("candidates") or {}) if shows_candidates else {}
        self.confidence = look.marks.get("confidence") if look.heat else None
        self.is_small = cell < SMALL_CELL

    def draw(self) -> None:
        if not self.symbols:
            self.sheet.text(self.left, self.top + 16, "(no grid)", 14, DIM)
            return
        self._fill()
        if not self.is_small:
            self._outlines()
            self._lines()
            self._contents()
        width, height = self.columns * self.cell, self.rows * self.cell
        line = max(1, round(self.cell / 14)) + 1
        self.draw_on.rectangle(
            (self.left - line, self.top - line, self.left + width, self.top + height),
            outline=FRAME,
            width=line,
        )
        if self.is_plan:
            self._ends()

    def _fill(self) -> None:
        from PIL import Image

        colors = {symbol: rgb(self._background(symbol)) for symbol in set(self.symbols)}
        field = np.array([colors[symbol] for symbol in self.symbols], np.uint8)
        for cells, color in self._tinted():
            field[list(cells)] = rgb(color)
        if self.confidence is not None:
            doubt = 0.8 * (1 - np.array(self.confidence, float) / 100)[:, None]
            doubt[list(self.given)] = 0
            field = (doubt * np.array(rgb(HEAT)) + (1 - doubt) * field).round().astype(np.uint8)
        picture = Image.fromarray(field.reshape(self.rows, self.columns, 3))
        size = (self.columns * self.cell, self.rows * self.cell)
        self.sheet.image.paste(picture.resize(size, Image.Resampling.NEAREST), (self.left, self.top))

    def _background(self, symbol: str) -> str:
        if symbol == self.board["solid"]:
            return WALL
        color: str = self.board["palette"].get(symbol, WHITE)
        return color

    def _tinted(self) -> Iterable[tuple[set[int], str]]:
        """Cells with another background than their symbol's."""
        if not self.is_plan and not self.board["palette"]:
            yield self.given, GIVEN_CELL
        if self.confidence is None and not self.board["palette"]:
            walls = {cell for cell in self.changed if self.symbols[cell] == self.board["solid"]}
            yield self.changed - walls, CHANGED
        if self.is_small and self.is_plan:
            dots = {cell for cell, symbol in enumerate(self.symbols) if symbol == self.board["dot"]}
            yield dots, RIGHT if self.look.is_right else MODEL
            yield self.wrong, WRONG

    def _box(self, cell: int, inset: float = 0) -> tuple[float, float, float, float]:
        x = self.left + (cell % self.columns) * self.cell
        y = self.top + (cell // self.columns) * self.cell
        return x + inset, y + inset, x + self.cell - 1 - inset, y + self.cell - 1 - inset

    def _outlines(self) -> None:
        width = max(1, round(self.cell / 15))
        for cell in self.changed:
            if self.board["palette"]:
                self.draw_on.rectangle(self._box(cell, 1), outline=WHITE, width=2 * width)
            self.draw_on.rectangle(self._box(cell, 1 + width / 2), outline=CHANGED_LINE, width=width)

    def _lines(self) -> None:
        if self.is_plan:
            return
        width, height = self.columns * self.cell, self.rows * self.cell
        thin, thick = max(1, self.cell // 28), max(2, self.cell // 12)
        color = COLOR_MESH if self.board["kind"] == "colors" else MESH
        for is_thick, ink, thickness in ((False, color, thin), (True, FRAME, thick)):
            for row in range(1, self.rows):
                if (row in self.grid["ruled_rows"]) == is_thick:
                    y = self.top + row * self.cell - (thick // 2 if is_thick else 1)
                    self.draw_on.line((self.left, y, self.left + width, y), ink, thickness)
            for column in range(1, self.columns):
                if (column in self.grid["ruled_columns"]) == is_thick:
                    x = self.left + column * self.cell - (thick // 2 if is_thick else 1)
                    self.draw_on.line((x, self.top, x, self.top + height), ink, thickness)

    def _contents(self) -> None:
        for cell, symbol in enumerate(self.symbols):
            likely = self.candidates.get(str(cell))
            if likely and len(likely) > 1:
                self._small_symbols(cell, likely)
            elif self.is_plan:
                self._mark(cell, symbol)
            elif self.board["kind"] != "colors" and symbol != self.board["blank"]:
                self._symbol(cell, symbol)
            if cell in self.wrong and not likely:
                self._wrong(cell, symbol)

    def _symbol(self, cell: int, symbol: str) -> None:
        shown = symbol if can_draw(symbol) else self._number(symbol)
        shown = shown if len(shown) <= 7 else f"{shown[:6]}…"
        size = round(0.66 * self.cell)
        while size > 5 and text_width(shown, size) > 0.88 * self.cell:
            size -= 1
        color = self._ink(cell, symbol)
        x0, y0, x1, y1 = self._box(cell)
        # The height of a digit centers all symbols, so that they share a baseline.
        _, top, _, bottom = font(size).getbbox("5", anchor="ls")
        y = (y0 + y1) / 2 - (top + bottom) / 2
        self.sheet.text((x0 + x1) / 2, y, shown, size, color, "ms", bold=cell in self.given)

    def _ink(self, cell: int, symbol: str) -> str:
        if cell in self.wrong:
            return WRONG
        if cell in self.given or self.board["palette"].get(symbol) or not self.board["fills_in"]:
            return INK
        return RIGHT if self.look.is_right else MODEL

    def _number(self, symbol: str) -> str:
        known = list(self.board["palette"])
        return str(known.index(symbol) + 1) if symbol in known else "?"

    def _small_symbols(self, cell: int, likely: Sequence[tuple[str, int]]) -> None:
        x0, y0, _, _ = self._box(cell)
        is_sudoku = self.board["domain"] == "sudoku"
        places = self.columns if is_sudoku else max(4, len(likely))
        across = int(np.ceil(np.sqrt(places)))
        side = (self.cell - 2) / across
        for number, (symbol, share) in enumerate(likely):
            place = DIGITS.index(symbol) if is_sudoku else number
            x, y = x0 + 1 + (place % across) * side, y0 + 1 + (place // across) * side
            if self.board["kind"] == "colors":
                inset = 0.5 * side * (1 - 0.8 * float(np.sqrt(0.25 + 0.0075 * share)))
                box = (x + inset, y + inset, x + side - inset, y + side - inset)
                self.draw_on.rectangle(box, fill=self.board["palette"][symbol], outline=WHITE)
                continue
            size = max(4, round(0.95 * side / max(1, 0.6 * len(symbol))))
            color = mixed(INK, 0.35 + 0.0065 * share)
            self.sheet.text(
                x + side / 2, y + side / 2, symbol if can_draw(symbol) else "·", size, color, "mm"
            )

    def _mark(self, cell: int, symbol: str) -> None:
        if symbol == self.board["dot"]:
            color = WRONG if cell in self.wrong else RIGHT if self.look.is_right else MODEL
            self.draw_on.ellipse(self._box(cell, 0.2 * self.cell), fill=color)

    def _wrong(self, cell: int, symbol: str) -> None:
        width = max(2, round(self.cell / 12))
        x0, y0, x1, y1 = self._box(cell, 0.28 * self.cell)
        if self.board["kind"] == "symbols":
            left, _, right, bottom = self._box(cell)
            y = bottom - 0.12 * self.cell
            self.draw_on.line(
                (left + 0.2 * self.cell, y, right - 0.2 * self.cell, y), fill=WRONG, width=width
            )
        elif self.is_plan and symbol == self.board["blank"]:
            self.draw_on.ellipse(self._box(cell, 0.22 * self.cell), outline=WRONG, width=width)
        else:
            for color, extra in ((WHITE, width), (WRONG, 0)):
                for line in ((x0, y0, x1, y1), (x0, y1, x1, y0)):
                    self.draw_on.line(line, fill=color, width=width + extra)

    def _ends(self) -> None:
        """The two ends of a maze, which stay visible in large ones."""
        plain = (self.board["blank"], self.board["solid"], self.board["dot"])
        for cell, symbol in enumerate(self.symbols):
            if symbol in plain:
                continue
            x0, y0, x1, y1 = self._box(cell)
            middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
            half = max(self.cell / 2, max(self.rows, self.columns) * self.cell / 80)
            box = (middle_x - half, middle_y - half, middle_x + half, middle_y + half)
            self.draw_on.rounded_rectangle(box, radius=half / 4, fill=END)
            self.sheet.text(middle_x, middle_y, symbol, round(1.3 * half), WHITE, "mm", bold=True)
