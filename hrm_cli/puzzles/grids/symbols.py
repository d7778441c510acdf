"""Parses and writes grids of any symbols as text and as JSON.

A grid is a list of rows, and a row is a list of symbols. In text, `/` or line ends separate rows. Every character of a
row is a symbol, or symbols are separated by spaces or commas (`words`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from hrm_cli.errors import PuzzleError
from hrm_cli.json_text import parse_json
from hrm_cli.printable import counted, cut

Cells = list[list[str]]

LARGEST_SIDE = 64
"""Largest number of rows and columns of a grid."""
MOST_SYMBOLS = 1_000
LONGEST_SYMBOL = 64
"""Largest number of characters of a symbol."""

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_BETWEEN_WORDS = re.compile(r"\s*,\s*|\s+")
_WORDS = re.compile(r"[^\s,][\s,]+[^\s,]")
_JOINER = "\u200d"


def graphemes(text: str) -> list[str]:
    """Splits text into user-perceived characters: an emoji with its modifiers, a letter with its accents."""
    found: list[str] = []
    joins = False
    for character in text:
        extends = bool(found) and (
            joins
            or character == _JOINER
            or unicodedata.combining(character) != 0
            or "\ufe00" <= character <= "\ufe0f"
            or "\U0001f3fb" <= character <= "\U0001f3ff"
            or "\U000e0020" <= character <= "\U000e007f"
            or unicodedata.category(character) in ("Mn", "Me")
            or (_is_flag_letter(character) and len(found[-1]) == 1 and _is_flag_letter(found[-1]))
        )
        if extends:
            found[-1] += character
        else:
            found.append(character)
        joins = character == _JOINER
    return found


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def holds_words(text: str) -> bool:
    """Whether a text separates its symbols by spaces or commas."""
    stripped = text.strip()
    return not stripped.startswith("[") and any(_WORDS.search(row) for row in _rows(stripped))


def _rows(text: str) -> list[str]:
    return _LINE_ENDS.split(text) if _LINE_ENDS.search(text) else text.split("/")


def cells_of_text(text: str, *, words: bool) -> Cells:
    """Parses a grid from text. Raises PuzzleError if it is not a grid."""
    stripped = text.strip("\r\n") if not words else text.strip()
    if stripped.lstrip().startswith("["):
        try:
            value = parse_json(stripped)
        except ValueError as error:
            raise PuzzleError(f"begins with [ but is not a JSON list ({error})") from None
        return cells_of_json(value, words=words)
    rows = _rows(stripped)
    cells = [_BETWEEN_WORDS.split(row.strip()) if words else graphemes(row) for row in rows]
    return checked_cells(cells)


def cells_of_json(value: Any, *, words: bool) -> Cells:
    """Parses a grid from a JSON value: a list of lists, a list (one row), a number, or a string."""
    if isinstance(value, str):
        return cells_of_text(value, words=words)
    if not isinstance(value, list):
        return checked_cells([[_symbol(value)]])
    nested = [isinstance(row, list) for row in value]
    if any(nested) and not all(nested):
        at = nested.index(False) + 1
        raise PuzzleError(
            f"row {at}: found {cut(json.dumps(value[at - 1]), 40)}; expected a list, as in the other rows"
        )
    rows = value if any(nested) else [value]
    return checked_cells([[_symbol(cell) for cell in row] for row in rows])


def _symbol(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        return value
    raise PuzzleError(f"a cell is {cut(json.dumps(value), 40)}; expected a whole number or a string")


def checked_cells(cells: Cells) -> Cells:
    """Returns the cells unchanged. Raises PuzzleError if they do not form a grid within the limits."""
    width = len(cells[0]) if cells else 0
    if not width:
        raise PuzzleError("an empty grid; expected at least one cell")
    for at, row in enumerate(cells, start=1):
        if len(row) != width:
            raise PuzzleError(
                f"rows differ in length: row {at} has {counted(len(row), 'cell')}, the rows above have {width:,}"
            )
    if len(cells) > LARGEST_SIDE or width > LARGEST_SIDE:
        raise PuzzleError(
            f"{len(cells):,}×{width:,} cells; at most {LARGEST_SIDE}×{LARGEST_SIDE} are supported"
        )
    for at, row in enumerate(cells, start=1):
        for place, cell in enumerate(row, start=1):
            if not cell:
                raise PuzzleError(f"the cell in row {at}, column {place} is empty")
            if len(cell) > LONGEST_SYMBOL:
                raise PuzzleError(
                    f"the symbol in row {at}, column {place} has {len(cell):,} characters; at most "
                    f"{LONGEST_SYMBOL} are supported"
                )
    return cells


def is_plain(symbols: Sequence[str], *, words: bool) -> bool:
    """Whether grids of these symbols can be written as text and parsed back without change."""
    if any(re.search(r"[/\s\[]", symbol) for symbol in symbols):
        return False
    return (
        not any("," in symbol for symbol in symbols)
        if words
        else all(len(graphemes(s)) == 1 for s in symbols)
    )


def text_of(cells: Sequence[Sequence[str | None]], *, words: bool, plain: bool) -> str:
    """Writes a grid on one line: `012/345`, `red blue/blue red`, or JSON if the text would be ambiguous.

    None is a cell without a symbol. A grid with such cells is written as JSON, with null.
    """
    if not plain or not cells or any(cell is None for row in cells for cell in row):
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
    lines = [(" " if words else "").join(cell for cell in row if cell is not None) for row in cells]
    text = "/".join(lines)
    # Adjacent symbols may merge into one character, such as the two halves of a flag.
    if cells_of_text(text, words=words) != [list(row) for row in cells]:
        return json.dumps(cells, ensure_ascii=False, separators=(",", ":"))
    return text
