"""Lines that make patterns try every way to share their characters: each is told apart quickly all the same."""

from __future__ import annotations

import time

import pytest

from hrm_cli.puzzles.sudoku.line_text import LONGEST_LINE, read_line

PIECES = (
    "-.", ".", "1 | 2 ", "a", "-", "1,", "[", "(", "] ", "]", "--.", "1 - 3 - ", "1]]] , ", "#", "_*", ".. ", "np.",
    ", ",
    "dtype=", "\t", "|", "| ", "'1", "1 . ", ",  ", "no ", "5",
)  # fmt: skip
FRAMES = (
    ("", ""),
    ("grid", "x"),
    ("[[[", ""),
    ("]", "x"),
    ("", "["),
    ("np.array(", ""),
    ("", "x"),
    ("no", "[x"),
)


@pytest.mark.parametrize("piece", [*PIECES, " "])
def test_a_long_line_of_repetitions_takes_no_time(piece: str) -> None:
    for start, end in FRAMES:
        line = start + piece * ((LONGEST_LINE - 20) // len(piece)) + end
        started = time.process_time()
        read_line(line, "x:1", (4, 6, 9, 16, 25))
        assert time.process_time() - started < 2, f"{line[:10]} … {line[-10:]}"


def test_a_line_too_long_for_any_puzzle_is_told_apart_from_text() -> None:
    assert read_line("1" * (LONGEST_LINE + 1), "x:1", (9,)).kind == "long"
    assert read_line("a" * (LONGEST_LINE + 1), "x:1", (9,)).kind == "words"
