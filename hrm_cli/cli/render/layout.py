"""Fits tables and paragraphs to a terminal: columns wrap at words, move below their row, or are dropped in order.

Names and numbers are never cut. If a table does not fit otherwise, each row is printed as a separate block.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

GAP = 2
"""Number of spaces between two columns."""
_INDENT = 4
"""Indentation of text below its row."""
_READABLE = 30
"""Smallest width of a column for running text."""
_FOLDED = 16
"""Smallest width of a wrapped column, if its text is that long."""
_LONGEST_LINE = 100
"""Largest width of a line of a paragraph, for readability."""


@dataclass(frozen=True)
class Layout:
    """The lines of a table."""

    head: list[str]
    body: list[str]
    dropped: list[str] = field(default_factory=list)
    """Names of the columns that had to be left out."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table, and which of them may wrap, move or be dropped."""

    names: Sequence[str]
    right: Sequence[bool]
    """Whether each column is right-aligned."""
    folds: Collection[str] = ()
    """Columns whose text may wrap at words."""
    drops: Sequence[str] = ()
    """Columns that may be left out, the first of them first."""
    prose: bool = False
    """Whether the last column is running text, which may stand below its row."""

    def without(self, dropped: Collection[str]) -> list[int]:
        """The indices of the remaining columns."""
        return [i for i, name in enumerate(self.names) if name not in dropped]


def fit(
    columns: Columns, rows: Sequence[Sequence[str]], width: int, measure: Callable[[str], int] = len
) -> Layout:
    """Lays out the table within `width` characters; `measure` returns the terminal width of a text."""
    table = _Table(columns, rows, width, measure)
    everything = columns.without(())
    if table.natural_width(everything) <= width:
        return table.side_by_side(everything, [table.natural(i) for i in everything])
    for count in range(len(columns.drops) + 1):
        dropped = list(columns.drops[:count])
        kept = columns.without(dropped)
        if (widths := table.folded(kept)) is not None:
            return table.side_by_side(kept, widths, dropped)
        if columns.prose and (widths := table.folded(kept[:-1])) is not None:
            return table.side_by_side(kept[:-1], widths, dropped, below=kept[-1])
    return table.stacked(everything)


class _Table:
    def __init__(
        self, columns: Columns, rows: Sequence[Sequence[str]], width: int, measure: Callable[[str], int]
    ) -> None:
        self._columns, self._rows, self._width, self._measure = columns, rows, width, measure

    def natural(self, i: int) -> int:
        return max(map(self._measure, (self._columns.names[i], *(row[i] for row in self._rows))))

    def natural_width(self, kept: list[int]) -> int:
        return sum(map(self.natural, kept)) + GAP * (len(kept) - 1)

    def _least(self, i: int) -> int:
        cells = [row[i] for row in self._rows]
        is_prose = self._columns.prose and i == len(self._columns.names) - 1
        if not is_prose and self._columns.names[i] not in self._columns.folds:
            return max(map(self._measure, [*self._columns.names[i].split(), *cells]), default=0)
        words = [word for text in (self._columns.names[i], *cells) for word in text.split()]
        wanted = _READABLE if is_prose else _FOLDED
        return max([min(self.natural(i), wanted), *map(self._measure, words)])

    def folded(self, kept: list[int]) -> list[int] | None:
        """Column widths that fit the terminal; None if words or numbers would be cut."""
        widths = [self._least(i) for i in kept]
        left = self._width - sum(widths) - GAP * (len(kept) - 1)
        if left < 0:
            return None
        # Give the remaining width to the columns that wrap most.
        while left and (
            short := [
                (self.natural(i) - widths[n], n) for n, i in enumerate(kept) if self.natural(i) > widths[n]
            ]
        ):
            widths[max(short)[1]] += 1
            left -= 1
        return widths

    def side_by_side(
        self, kept: list[int], widths: list[int], dropped: Sequence[str] = (), below: int | None = None
    ) -> Layout:
        head = self._row([self._columns.names[i] for i in kept], kept, widths)
        body = []
        for row in self._rows:
            body += self._row([row[i] for i in kept], kept, widths)
            if below is not None:
                body += wrapped(row[below], self._width - _INDENT, " " * _INDENT)
        return Layout(head, body, list(dropped))

    def _row(self, cells: list[str], kept: list[int], widths: list[int]) -> list[str]:
        parts = [self._cell(text, width) for text, width in zip(cells, widths, strict=True)]
        height = max(map(len, parts), default=0)
        lines = []
        for number in range(height):
            texts = [part[number] if number < len(part) else "" for part in parts]
            lines.append((" " * GAP).join(
                self._padded(text, width, right=self._columns.right[i])
                for text, width, i in zip(texts, widths, kept, strict=True)
            ).rstrip())  # fmt: skip
        return lines

    def _cell(self, text: str, width: int) -> list[str]:
        return [text] if self._measure(text) <= width else wrapped(text, width) or [""]

    def _padded(self, text: str, width: int, *, right: bool) -> str:
        space = " " * max(width - self._measure(text), 0)
        return space + text if right else text + space

    def stacked(self, kept: list[int]) -> Layout:
        """One block per row: the first cell, and below it the other cells with their column names."""
        names = [self._columns.names[i] for i in kept]
        label = max(map(self._measure, names[1:]), default=0)
        body: list[str] = []
        for row in self._rows:
            body += [row[kept[0]]] if row[kept[0]] else []
            for name, i in zip(names[1:], kept[1:], strict=True):
                if row[i]:
                    begin = f"{' ' * GAP}{name}{' ' * (label - self._measure(name) + GAP)}"
                    text = wrapped(row[i], max(self._width - len(begin), 1), " " * len(begin))
                    body += [begin + text[0].lstrip(), *text[1:]] if text else [begin.rstrip()]
        return Layout([], body)


_NO_BREAK = "\N{NO-BREAK SPACE}"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` characters, each starting with `indent`; words are never cut."""
    return [indent + line for line in _wrap(text, max(width, 1))]


def fitting_lines(text: str, width: int, indent: int = 0, *, hanging: int = 0) -> list[str]:
    """The text in lines of at most `width` characters, broken between words only."""
    columns = min(max(width, 40), _LONGEST_LINE)
    return _wrap(text, columns, " " * indent, " " * (indent + hanging))


def _wrap(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Lines broken between words only, each with its indentation; a number keeps its %."""
    joined = text.replace(" %", _NO_BREAK + "%")
    lines = textwrap.wrap(
        joined, width, initial_indent=first, subsequent_indent=later,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(_NO_BREAK, " ") for line in lines]


def fitting_text(text: str, width: int) -> str:
    """The text with every line that is longer than `width` broken at words, at its own indentation."""
    fitted: list[str] = []
    for line in text.split("\n"):
        content = line.lstrip(" ")
        indent = len(line) - len(content)
        hanging = 2 if indent else 0
        fitted += [line] if len(line) <= width else fitting_lines(content, width, indent, hanging=hanging)
    return "\n".join(fitted)


def right_aligned(cells: list[str]) -> list[str]:
    """The cells of a column, including its heading, padded on the left to the same width."""
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def fitting_markdown(text: str, width: int) -> str:
    """Breaks the prose of a Markdown text at words. Tables, code and front matter stay whole, to be copied."""
    lines: list[str] = []
    is_code = is_front = False
    for number, line in enumerate(text.split("\n")):
        if line == "---" and (number == 0 or is_front):
            is_front = not is_front
        elif line.startswith("```"):
            is_code = not is_code
        whole = is_code or is_front or line.startswith("|")
        lines.append(line if whole else fitting_text(line, width))
    return "\n".join(lines)
