"""Classifies one line of a Sudoku file: a row of a grid, a complete puzzle, a rule, a heading, or an ambiguous line.

A line by itself is often ambiguous: `---------` is a rule or a row of blanks, and a row with spaces for blanks does not
determine its columns. So a `Line` stores every possible reading, and `grid_text.py` decides once it has the whole grid.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from hrm_cli.puzzles.sudoku.domain import BLANKS
from hrm_cli.puzzles.sudoku.layout import SYMBOLS

Kind = Literal["blank", "comment", "rule", "row", "puzzle", "section", "words", "long"]

DIGITS = "123456789"
FROM_ZERO = "0" + SYMBOLS[:-1]
"""The digits of puzzles that count from 0, such as 0 to F at 16×16."""
WRITTEN = BLANKS + "-"
"""Characters for a blank cell. A dash counts as blank only in a grid that has dashes among its digits."""

_CELLS = frozenset(SYMBOLS + WRITTEN)
_BARS = "|:!"
_NO_BARS = str.maketrans(dict.fromkeys(_BARS, " "))
_NO_SEPARATORS = str.maketrans("", "", " \t\f\v" + _BARS)
_LIST = str.maketrans(dict.fromkeys("[](){}'\"`", " "))
_LEAST_LARGE = 10
"""The smallest size whose digits need letters."""
_SHORTEST_PUZZLE = 10
"""Shortest word that is taken for a puzzle if it cannot be a row."""
LONGEST_LINE = 10_000
"""Largest number of characters in a line: 625 quoted cells with separators need fewer."""
_LONGEST_TITLE = 80
_LONGEST_LABEL = 3
"""Largest number of digits of a puzzle number on its own line above the puzzle."""

# Repetitions are possessive (`*+`) if the next one could match the same characters. Otherwise a malicious line could
# cause catastrophic backtracking.
_RULE = frozenset("-=~#+*.:'`|!_ \t\f\v")
_LABEL = re.compile(
    r"(grid|puzzle|sudoku|game|no\.?|nr\.?)?\s*+#?+\s*+(\d{1,2}+\s*+[x×]\s*+\d{1,2}+|\d{0,4}+)\s*+[:.)]?",
    re.IGNORECASE,
)
_SECTION = re.compile(r"\[([^\[\]]*)\]")
_NUMBERED = re.compile(
    r"""\s*+(?:(?:no\.?|nr\.?|\#)?\s*+\d{1,4}+\s*+[.):]\s++)?["'`]?([1-9.0_*\-]+)["'`]?(?=[\s,;]|$)""",
    re.IGNORECASE,
)
_WORD_ENDS = re.compile(r"[\s,;:|\"'`]+")
_LIST_OPENING = re.compile(r"\s*+(?:\w++\s*+=\s*+)?(?:(?:np\.|numpy\.)?array\(\s*+)?(?=[\[({])")
_NOTHING = re.compile(r"\b(?:None|null|nan|NaN)\b")
_ANY_CELL = re.compile(r"[0-9.,;_*\-|:!+=~#\[\](){}'\"\t]")
"""Characters of which every line except text has at least one. This test rejects most lines that are not puzzles."""
_LETTERS = re.compile(r"[^\W\d_]{3}")


def _drawing_characters() -> dict[int, str]:
    """Maps box-drawing characters to bars, `=` for horizontal lines, and `+` for corners and crossings."""
    drawn = dict.fromkeys(range(0x2500, 0x2580), "+")
    drawn.update(dict.fromkeys(map(ord, "│┃┆┇┊┋╎╏║╵╷╹╻╽╿¦❘❙❚▌▐▏▕█"), "|"))
    drawn.update(dict.fromkeys(map(ord, "─━┄┅┈┉╌╍═╴╶╸╺╼╾▀▄"), "="))
    drawn.update(dict.fromkeys(map(ord, "·•∙⋅◦○□▢☐"), "."))
    drawn.update(dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"))
    drawn.update(dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"), ""))
    return drawn


_DRAWING = _drawing_characters()


_NO_ROW = frozenset({1, 2, 3, 5, 7})
"""Numbers of cells that no row of a Sudoku has, such as those of `9x9` and `16x16`."""
_MARK = re.compile(r"[?xX]")
_NO_MARKUP = str.maketrans("", "", " \t\r\n\f\v,;" + _BARS + "[](){}'\"`+")


def plain(text: str) -> str:
    """Replaces Unicode variants and marks by ASCII digits and dots; every character keeps its column."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_DRAWING))
    return _marks_as_dots(text) if _MARK.search(text) else text


def _marks_as_dots(text: str) -> str:
    """Replaces `?`, or `x` and `X`, by dots in a line of digits that has no other blanks.

    In other lines they are text (`Size: 16x16`, `easy?`), or a mistake among blanks of another kind.
    """
    cells = text.translate(_NO_MARKUP).replace("X", "x")
    marks = set(cells) - set(DIGITS)
    if len(cells) in _NO_ROW or len(marks) != 1 or not marks <= {"?", "x"}:
        return text
    if len(set(cells)) == 1 and len(cells) > len(SYMBOLS):
        return text  # a line of crosses
    return _MARK.sub(".", text)


@dataclass(frozen=True)
class Line:
    """A line of a file and its possible readings."""

    kind: Kind
    text: str
    """The text of the line in plain characters."""
    where: str = ""
    cells: str = ""
    """The cells of a row or a puzzle, blanks as written in the file."""
    numbers: str = ""
    """The cells of a row of numbers, if some have two digits; these become letters."""
    separated: tuple[str, ...] = ()
    """The cells between commas, semicolons or tabs; empty ones are blanks."""
    maybe: str = ""
    """The character of a line that is a rule or spacer in some grids and a row of blanks in others; a space if the line
    has only bars."""
    name: str = ""
    """The name of a section."""

    @property
    def outline(self) -> str:
        """The positions of cells, bars and spaces, regardless of the cells' values."""
        return "".join(c if c in _BARS or c.isspace() else "x" for c in self.text.strip())

    @property
    def has_gaps(self) -> bool:
        """Whether the line has only digits, bars and spaces, so that spaces may be blanks."""
        return not self.separated and not any(c in WRITTEN for c in self.cells)


def read_line(text: str, where: str, sizes: Collection[int]) -> Line:
    """Classifies a line. `sizes` are the puzzle sizes to look for."""
    if len(text) > LONGEST_LINE:
        return Line("long" if _ANY_CELL.search(text) else "words", text, where)
    text = plain(text)
    line = text.strip()
    if not line:
        cells = text.strip(" \r\n").split("\t")
        if len(cells) in sizes and not any(cells):
            return Line("row", text, where, cells="." * len(cells), separated=tuple(cells))
        return Line("blank", text, where)
    if not _ANY_CELL.search(text):
        return Line("words", text, where)
    lengths = {size * size for size in sizes}
    if text.startswith("#") and not _is_rule(line):
        return Line("comment", text, where, cells=_puzzle_in(line[1:], lengths))
    listed = _list_of_cells(line)
    if listed is not None and (found := _as_list(text, listed, where, sizes, lengths)):
        return found
    if section := _SECTION.fullmatch(line):
        return Line("section", text, where, name=section[1].strip())
    if (cells := _separated(text.strip(" \r\n"))) and (
        found := _of_cells(text, cells, where, sizes, lengths)
    ):
        return found
    joined = line.translate(_NO_SEPARATORS)
    if not joined:
        return Line("row", text, where, maybe=" ") if len(text) > 1 else Line("rule", text, where)
    if len(set(joined)) == 1 and joined[0] in "-_*":
        is_blank_row = len(joined) in sizes
        return Line("row" if is_blank_row else "rule", text, where, cells=joined, maybe=joined[0])
    if _is_rule(line):
        return Line("rule", text, where)
    return _row_or_puzzle(text, joined, where, sizes, lengths)


def _row_or_puzzle(
    text: str, joined: str, where: str, sizes: Collection[int], lengths: Collection[int]
) -> Line:
    line = text.strip()
    is_row_length = len(joined) in sizes
    if (
        len(line) <= _LONGEST_TITLE
        and _LABEL.fullmatch(line)
        and not line.isdecimal()
        and not (is_row_length and _are_cells(joined))
    ):
        return Line("words", text, where)
    if len(line.split()) > 1 and (puzzle := _puzzle_in(line, lengths)):
        return Line("puzzle", text, where, cells=puzzle)
    numbers = _numbers(line, sizes, lengths)
    if not numbers and len(joined) in lengths and not is_row_length and _are_cells(joined):
        return Line("puzzle", text, where, cells=joined.upper())
    if numbers and len(numbers) not in sizes:
        return Line("puzzle", text, where, cells=numbers)
    is_large = is_row_length and len(joined) >= _LEAST_LARGE
    has_bar = "|" in line
    without_letters = joined.translate(_NO_LETTERS) == joined
    is_row = _are_cells(joined) and (without_letters or is_large or has_bar)
    if is_row or numbers or (has_bar and _CELLS.issuperset(joined)):
        cells = joined.upper() if is_large else joined
        if len(joined) <= max(sizes) or numbers:
            return Line("row", text, where, cells=cells, numbers=numbers)
    if puzzle := _puzzle_in(line, lengths):
        return Line("puzzle", text, where, cells=puzzle)
    first = _WORD_ENDS.split(line.translate(_NO_BARS).strip(), maxsplit=1)[0]
    for word in (first, joined):
        if len(word) >= _SHORTEST_PUZZLE and _is_nearly_cells(word):
            return Line("puzzle", text, where, cells=word)
    mostly_cells = 3 * sum(c in DIGITS + WRITTEN for c in joined) >= 2 * len(joined)
    if mostly_cells and not _LETTERS.search(line):
        return Line("row", text, where, cells=joined)
    return Line("words", text, where)


def _is_rule(line: str) -> bool:
    """Whether a line is drawn from corners, dashes and the like, and cannot be a row of blanks."""
    characters = set(line)
    if not _RULE.issuperset(characters):
        return False
    return not characters.isdisjoint("+=~#") or ("--" in line and not characters.isdisjoint(".'`:*"))


_NO_LETTERS = str.maketrans("", "", SYMBOLS[9:] + SYMBOLS[9:].lower())


def _are_cells(text: str) -> bool:
    """Whether every character may be a cell. Letters alone count as a word."""
    return _CELLS.issuperset(text.upper()) and any(c in DIGITS + WRITTEN for c in text)


def _is_nearly_cells(word: str) -> bool:
    cells, without_letters = (sum(c in known for c in word) for known in (_CELLS, DIGITS + WRITTEN))
    return 5 * cells >= 4 * len(word) and 5 * without_letters >= 2 * len(word)


def _puzzle_in(line: str, lengths: Collection[int]) -> str:
    """The puzzle among the words of a line (after a number, in quotes, after a name), or an empty string."""
    match = _NUMBERED.match(line)
    words: Iterable[str] = _WORD_ENDS.split(line)
    for word in [match[1], *words] if match else words:
        if len(word) in lengths and _are_cells(word) and any(c in SYMBOLS for c in word):
            has_blanks = any(c in WRITTEN for c in word)
            if has_blanks or word.isdecimal():
                return word.upper()
    return ""


def _list_of_cells(line: str) -> str | None:
    """The text between the brackets of a list, or None if the line has no list."""
    if not any(c in line for c in "[]{}\"'"):
        return None
    if opening := _LIST_OPENING.match(line):
        line = line[opening.end() :]
    line = line.rstrip(" ,;)")
    inner, _, kind = line.rpartition("dtype")
    if kind.lstrip().startswith("="):
        line = inner.rstrip(" ,")
    return _NOTHING.sub(".", line).translate(_LIST).strip()


def _as_list(
    text: str, listed: str, where: str, sizes: Collection[int], lengths: Collection[int]
) -> Line | None:
    if any(separator in listed for separator in ",;\t"):
        return _of_cells(text, _separated(listed), where, sizes, lengths)
    words = listed.split()
    joined = "".join(words)
    if not words or any(len(word) != 1 for word in words):
        joined = _numbers(listed, sizes, lengths) or (joined if len(words) == 1 else "")
    if not joined or not _are_cells(joined):
        return None
    if len(joined) in lengths and len(joined) not in sizes:
        return Line("puzzle", text, where, cells=joined)
    is_row = len(joined) in sizes and ("[" in text or "]" in text or "{" in text)
    return Line("row", text, where, cells=joined, separated=tuple(joined)) if is_row else None


def _of_cells(
    text: str, cells: list[str], where: str, sizes: Collection[int], lengths: Collection[int]
) -> Line | None:
    """The row or puzzle formed by separated cells, or None if their number fits neither."""
    joined = "".join(cell or "." for cell in cells)
    count = len(cells)
    if count in lengths and count not in sizes:
        return Line("puzzle", text, where, cells=joined)
    # A separator after the last cell, or a tab before the first, adds one empty field.
    if count - 1 in lengths and count - 1 not in sizes and (cells[0] == "") != (cells[-1] == ""):
        return Line("puzzle", text, where, cells=joined[:-1] if cells[-1] == "" else joined[1:])
    if count in sizes or count - 1 in sizes:
        return Line("row", text, where, cells=joined, separated=tuple(cells))
    return None


def _separated(line: str) -> list[str]:
    """The cells between separators; empty if a field is not a cell."""
    for separator in ",;\t":
        if separator in line:
            pieces = [piece.strip() for piece in line.split(separator)]
            cells = [_cell(piece) for piece in pieces]
            return cells if all(cell or not piece for cell, piece in zip(cells, pieces, strict=True)) else []
    return []


def _cell(text: str) -> str:
    """A cell as one character; empty if the text is not a cell."""
    if len(text) <= 1:
        return "." if text == "-" else text if text in _CELLS else ""
    if len(text) == 2 and text.isdecimal() and _LEAST_LARGE <= int(text) <= len(SYMBOLS):
        return SYMBOLS[int(text) - 1]
    return ""


def _numbers(line: str, sizes: Collection[int], lengths: Collection[int]) -> str:
    """The cells of a row or puzzle of space-separated numbers, at least one of which has two digits."""
    words = line.translate(_NO_BARS).split()
    if len(words) < _LEAST_LARGE or (len(words) not in sizes and len(words) not in lengths):
        return ""
    if not any(len(word) == 2 for word in words):
        return ""
    cells = [_cell(word) for word in words]
    return "" if "" in cells else "".join(cells)


def counts_from_zero(cells: str, size: int) -> bool | None:
    """Whether the digits of an N×N puzzle are from 0 on (0 to F at 16×16); None if that is contradictory.

    In sizes above 9, 0 is a digit if blanks are written differently.
    """
    if size < _LEAST_LARGE or "0" not in cells or set(WRITTEN).isdisjoint(set(cells) - {"0"}):
        return False
    return None if SYMBOLS[size - 1] in cells.upper() else True


def is_label(line: Line) -> bool:
    """Whether a row-like line may be a puzzle number above a puzzle, such as `12` at the start of the line."""
    return line.text.rstrip().isdecimal() and len(line.text.strip()) <= _LONGEST_LABEL
