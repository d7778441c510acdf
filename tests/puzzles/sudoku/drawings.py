"""Random Sudoku puzzles written in every style that people use, and what editors and mails do to such a text."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hrm_cli.puzzles.sudoku.layout import BOXES, SYMBOLS
from hrm_cli.puzzles.sudoku.symmetry import sample

Rows = list[str]
"""A puzzle's rows, `.` for blanks."""


def random_puzzle(rng: random.Random, size: int) -> Rows:
    """A random part of a random solution, often with empty rows, columns or bands."""
    height, width = BOXES[size]
    solution = [[(r * width + r // height + c) % size for c in range(size)] for r in range(size)]
    cells = np.array(solution, np.uint8).reshape(1, -1)
    if size <= 9:
        cells = sample(size, np.random.default_rng(rng.randrange(2**32)), 1).apply(cells + 2) - 2
    share = rng.uniform(0.2, 0.6)
    grid = [
        [SYMBOLS[cells[0, r * size + c]] if rng.random() < share else "." for c in range(size)]
        for r in range(size)
    ]
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        line = rng.choice((0, size - 1, rng.randrange(size)))
        for other in range(size):
            if rng.random() < 0.5:
                grid[line] = ["."] * size
            else:
                grid[other][line] = "."
    if rng.random() < 0.1:
        grid[:height] = [["."] * size for _ in range(height)]
    # Nothing but blanks is not a puzzle.
    if all(cell == "." for row in grid for cell in row):
        grid[rng.randrange(size)][rng.randrange(size)] = rng.choice(SYMBOLS[:size])
    return ["".join(row) for row in grid]


def boxes(row: str) -> list[str]:
    """The cells of a row by box."""
    width = BOXES[len(row)][1]
    return [row[i : i + width] for i in range(0, len(row), width)]


def banded(rows: Rows, lines: Sequence[str], rule: str | None, frame: str | None) -> list[str]:
    """Lines with rules between the bands and around them."""
    height = BOXES[len(rows)][0]
    out = [] if frame is None else [frame]
    for number, line in enumerate(lines, start=1):
        out.append(line)
        if number == len(lines):
            out += [] if frame is None else [frame]
        elif number % height == 0 and rule is not None:
            out.append(rule)
    return out


def compact(rows: Rows) -> list[str]:
    return list(rows)


def spaced(rows: Rows) -> list[str]:
    return [" ".join(row) for row in rows]


def wide(rows: Rows) -> list[str]:
    return ["  ".join(row) for row in rows]


def gaps_between_boxes(rows: Rows) -> list[str]:
    return ["  ".join(boxes(row)) for row in rows]


def spaced_with_gaps(rows: Rows) -> list[str]:
    return ["   ".join(" ".join(box) for box in boxes(row)) for row in rows]


def bars(rows: Rows) -> list[str]:
    lines = ["|".join(boxes(row)) for row in rows]
    return banded(rows, lines, "+".join("-" * len(box) for box in boxes(rows[0])), None)


def bars_and_spaces(rows: Rows) -> list[str]:
    lines = [" | ".join(" ".join(box) for box in boxes(row)) for row in rows]
    rule = "-+-".join("-" * (2 * len(box) - 1) for box in boxes(rows[0]))
    return banded(rows, lines, rule, None)


def bars_alone(rows: Rows) -> list[str]:
    return [" | ".join(" ".join(box) for box in boxes(row)) for row in rows]


def framed(rows: Rows) -> list[str]:
    lines = ["| " + " | ".join(" ".join(box) for box in boxes(row)) + " |" for row in rows]
    rule = "+" + "+".join("-" * (2 * len(box) + 1) for box in boxes(rows[0])) + "+"
    return banded(rows, lines, rule, rule)


def framed_compact(rows: Rows) -> list[str]:
    lines = ["|" + "|".join(boxes(row)) + "|" for row in rows]
    between = "|" + "+".join("-" * len(box) for box in boxes(rows[0])) + "|"
    frame = "*" + "-" * (len(between) - 2) + "*"
    return banded(rows, lines, between, frame)


def every_cell(rows: Rows) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "+" + "---+" * len(rows)
    return [rule, *(line for row in lines for line in (row, rule))]


def every_cell_open(rows: Rows) -> list[str]:
    return [" | ".join(row) for row in rows]


def _unicode(corners: str, between: str, bar: str, line: str) -> Callable[[Rows], list[str]]:
    def draw(rows: Rows) -> list[str]:
        lines = [f"{bar} " + f" {bar} ".join(" ".join(box) for box in boxes(row)) + f" {bar}" for row in rows]
        parts = [line * (2 * len(box) + 1) for box in boxes(rows[0])]
        top, bottom, middle = (a + b.join(parts) + c for a, b, c in (corners[:3], corners[3:6], between))
        return [top, *banded(rows, lines, middle, None), bottom]

    return draw


def commas(rows: Rows) -> list[str]:
    return [",".join(row) for row in rows]


def commas_and_ends(rows: Rows) -> list[str]:
    return ["".join(f"{cell}," for cell in row) for row in rows]


def semicolons(rows: Rows) -> list[str]:
    return ["; ".join(row) for row in rows]


def tabs(rows: Rows) -> list[str]:
    return ["\t".join(row) for row in rows]


def list_of_lists(rows: Rows) -> list[str]:
    inner = [f"[{', '.join(row)}]" for row in rows]
    return [f"[{inner[0]},", *(f" {row}," for row in inner[1:-1]), f" {inner[-1]}]"]


def quoted_list(rows: Rows) -> list[str]:
    inner = ["[" + ",".join(f'"{cell}"' for cell in row) + "]" for row in rows]
    return [f"board = [{','.join(inner)}]"]


def numpy_print(rows: Rows) -> list[str]:
    inner = [f"[{' '.join(row)}]" for row in rows]
    return [f"[{inner[0]}", *(f" {row}" for row in inner[1:-1]), f" {inner[-1]}]"]


def one_line(rows: Rows) -> list[str]:
    return ["".join(rows)]


def one_line_with_commas(rows: Rows) -> list[str]:
    return [",".join("".join(rows))]


WITH_WRITTEN_BLANKS = {
    "one line": one_line, "one line with commas": one_line_with_commas, "compact": compact, "spaced": spaced,
    "gaps between boxes": gaps_between_boxes, "spaced with gaps": spaced_with_gaps, "bars": bars,
    "bars and spaces": bars_and_spaces, "bars alone": bars_alone, "framed": framed,
    "framed compact": framed_compact, "every cell": every_cell, "every cell open": every_cell_open,
    "light box": _unicode("┌┬┐└┴┘", "├┼┤", "│", "─"), "heavy box": _unicode("┏┳┓┗┻┛", "┣╋┫", "┃", "━"),
    "double box": _unicode("╔╦╗╚╩╝", "╠╬╣", "║", "═"), "rounded box": _unicode("╭┬╮╰┴╯", "├┼┤", "│", "─"),
    "mixed box": _unicode("╔╤╗╚╧╝", "╟┼╢", "║", "═"), "commas": commas, "commas and ends": commas_and_ends,
    "semicolons": semicolons, "tabs": tabs, "list of lists": list_of_lists, "quoted list": quoted_list,
    "numpy": numpy_print,
}  # fmt: skip
"""Styles in which a blank has a character of its own."""

WITH_SPACES = {
    name: WITH_WRITTEN_BLANKS[name]
    for name in (
        "compact", "spaced", "gaps between boxes", "spaced with gaps", "bars", "bars and spaces", "bars alone",
        "framed", "framed compact", "every cell", "every cell open", "light box", "heavy box", "double box",
        "rounded box", "mixed box",
    )
} | {"wide": wide}  # fmt: skip
"""Styles in which a blank may be a space."""

WITH_NOTHING = {
    name: WITH_WRITTEN_BLANKS[name] for name in ("commas", "commas and ends", "semicolons", "tabs")
}
"""Styles in which a blank may be nothing at all."""

TITLES = [
    "Sudoku", "Puzzle", "Quiz", "Puzzle 12", "Grid 01", "[Easy]", "[Puzzle 3]", "Monday, easy", "The Daily No. 1,234",
    "Fiendish", "12.", "No. 7", "Sudoku of the day: hard, 25 points", "# a comment", "7", "Level 3: S G o",
]  # fmt: skip


def trim_right(lines: list[str], rng: random.Random) -> list[str]:
    return [line.rstrip() for line in lines]


def trim_both(lines: list[str], rng: random.Random) -> list[str]:
    return [line.strip() for line in lines]


def dedent(lines: list[str], rng: random.Random) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


def indent(lines: list[str], rng: random.Random) -> list[str]:
    margin = " " * rng.randint(1, 8)
    return [margin + line for line in lines]


def indent_by_tab(lines: list[str], rng: random.Random) -> list[str]:
    return ["\t" + line for line in lines]


def pad_right(lines: list[str], rng: random.Random) -> list[str]:
    width = max(map(len, lines)) + rng.randint(0, 3)
    return [line.ljust(width) for line in lines]


def no_break_spaces(lines: list[str], rng: random.Random) -> list[str]:
    return [line.replace(" ", "\u00a0") for line in lines]


def other_bars(lines: list[str], rng: random.Random) -> list[str]:
    bar = rng.choice("│┃║!:¦")
    return [line.replace("|", bar) for line in lines]


def full_width(lines: list[str], rng: random.Random) -> list[str]:
    return [line.translate({ord(d): ord(d) + 0xFEE0 for d in "123456789"}) for line in lines]


EDITS = [
    trim_right,
    trim_both,
    dedent,
    indent,
    indent_by_tab,
    pad_right,
    no_break_spaces,
    other_bars,
    full_width,
]


@dataclass(frozen=True)
class Drawn:
    """A text and the puzzles in it."""

    text: bytes
    puzzles: list[Rows]
    style: str
    edits: list[str]


def draw(rng: random.Random) -> Drawn:
    """One or two random puzzles in a random style with random edits."""
    size = rng.choice((4, 6, 9, 9, 9, 9, 16))
    kinds = "....00_*-    ??xX" if size <= 9 else "....00_*-    "
    blank = rng.choice(kinds) if rng.random() < 0.9 else ""
    styles = {" ": WITH_SPACES, "": WITH_NOTHING}.get(blank, WITH_WRITTEN_BLANKS)
    style = rng.choice(sorted(styles))
    edits = rng.sample(EDITS, rng.choice((0, 1, 1, 2, 3)))
    names = [edit.__name__ for edit in edits]
    bands_apart = rng.random() < 0.15
    with_title = rng.random() < 0.3
    puzzles = [random_puzzle(rng, size) for _ in range(rng.choice((1, 1, 2, 3)))]
    between = rng.choice(("\n", "\n\n", "\n---------\n", "") if blank not in (" ", "") else ("\n", "\n\n"))
    if bands_apart:
        between = "\n"
    parts: list[str] = []
    for rows in puzzles:
        lines = styles[style]([row.replace(".", blank or "\0") for row in rows])
        lines = [line.replace("\0", "") for line in lines]
        if bands_apart and style in ("compact", "spaced", "bars alone", "commas"):
            height = BOXES[size][0]
            lines = [
                line
                for n, row in enumerate(lines)
                for line in ([""] if n and n % height == 0 else []) + [row]
            ]
            names.append("bands apart")
        for edit in edits:
            lines = edit(lines, rng)
        if with_title:
            lines = [rng.choice(TITLES), *([""] if rng.random() < 0.5 else []), *lines]
            names.append("title")
        parts.append("\n".join(lines) + "\n")
    text = between.join(parts)
    if rng.random() < 0.1:
        text = text.rstrip("\n")
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    data = text.replace("\n", end).encode()
    if rng.random() < 0.2:
        data = b"\xef\xbb\xbf" + data
    return Drawn(data, puzzles, f"{size} {style} {blank!r}", names)
