"""Puzzle files of every format, and everything that can be wrong with them."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import Puzzle, Unreadable
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
ROWS = [PUZZLE[i : i + 9] for i in range(0, 81, 9)]
GRID = SudokuDomain(9).parse(PUZZLE).grid


def read(text: str | bytes, **options) -> list[Puzzle | Unreadable]:
    stream = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    return list(read_puzzles(stream, **options))


def the_puzzles(items: list[Puzzle | Unreadable]) -> int:
    """How many there are, having checked that nothing else came and that all are the known one."""
    assert all(isinstance(item, Puzzle) and (item.grid == GRID).all() for item in items), items
    return len(items)


def boxed(rule: str, bar: str, join: str) -> str:
    lines = [rule]
    for number, row in enumerate(ROWS, start=1):
        lines.append(bar + bar.join(join + join.join(row[i : i + 3]) + join for i in (0, 3, 6)) + bar)
        if number % 3 == 0:
            lines.append(rule)
    return "\n".join(lines)


FORMATS = {
    "one a line": (f"{PUZZLE}\n{PUZZLE}", 2),
    "zeros, underscores, stars": ("\n".join(PUZZLE.replace(".", c) for c in "0_*"), 3),
    "comments and blank lines": (f"# mine\n\n{PUZZLE}\n\n# another\n{PUZZLE}\n\n", 2),
    "ratings behind": (f"{PUZZLE} 25\n{PUZZLE};7.1;x\n{PUZZLE},{ANSWER}\n{PUZZLE}\t# easy", 4),
    "spaces between": (" ".join(PUZZLE), 1),
    "nine lines": ("\n".join(ROWS), 1),
    "grids behind blank lines": ("\n\n".join(["\n".join(ROWS)] * 3), 3),
    "grids back to back": ("\n".join(ROWS * 2), 2),
    "labeled grids": ("\n".join(["Grid 01", *ROWS, "Grid 02", *ROWS]), 2),
    "drawn": (boxed("+-------+-------+-------+", "|", " "), 1),
    "drawn without spaces": (boxed("+---+---+---+", "|", ""), 1),
    "our own drawing": ("\n".join(SudokuDomain(9).lines(GRID)), 1),
    "simple sudoku": (boxed("*-----------*", "|", "").replace("|---", "*---"), 1),
    "blanks as spaces in boxes": (boxed("+-------+-------+-------+", "|", " ").replace(".", " "), 1),
    "blanks as spaces without a frame": ("\n".join(row.replace(".", " ") for row in ROWS), 1),
    "every cell between bars": (
        "\n".join(
            line for row in ROWS for line in ("-" * 37, "| " + " | ".join(row.replace(".", " ")) + " |")
        ),
        1,
    ),
    "dashes for blanks": ("\n".join(row.replace(".", "-") for row in ROWS), 1),
    "dashes for blanks in boxes": (boxed("+-------+-------+-------+", "|", " ").replace(".", "-"), 1),
    "bands apart": ("\n\n".join("\n".join(ROWS[i : i + 3]) for i in (0, 3, 6)), 1),
    "commas, empty cells blank": ("\n".join(",".join(c.strip(".") for c in row) for row in ROWS), 1),
    "semicolons": ("\n".join(";".join(row.replace(".", "0")) for row in ROWS), 1),
    "lists of numbers": ("[" + ",\n ".join(f"[{', '.join(row.replace('.', '0'))}]" for row in ROWS) + "]", 1),
    "titles above": ("The Daily, Sudoku No. 1,234\nFiendish\n\n" + "\n".join(ROWS), 1),
    "numbered and quoted": (f'1. {PUZZLE}\n2) {PUZZLE}\n"{PUZZLE}"', 3),
    "unicode bars": (boxed("├───────┼───────┼───────┤", "│", " "), 1),
    "sadman": (
        "\n".join(["#ARuud", "#DRandom", "[Puzzle]", *ROWS, "[State]", *ROWS, "[PencilMarks]", "1,2"]),
        1,
    ),
    "grid and list mixed": ("\n".join([*ROWS, PUZZLE, *ROWS]), 3),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dress", ["plain", "CRLF", "BOM", "CR", "Latin-1"])
def test_every_format_is_read_with_any_encoding_and_line_ends(name, dress):
    text, count = FORMATS[name]
    data = text.encode()
    if dress == "CRLF":
        data = data.replace(b"\n", b"\r\n")
    elif dress == "BOM":
        data = b"\xef\xbb\xbf" + data
    elif dress == "CR":
        data = data.replace(b"\n", b"\r")
    elif dress == "Latin-1":
        data = b"# caf\xe9\n" + data
    assert the_puzzles(read(data)) == count


def test_smaller_sizes_are_recognized():
    items = read(
        "1..4\n....\n....\n4..1\n\n"
        + "1"
        + "." * 15
        + "\n"
        + "6"
        + "." * 35
        + "\n"
        + "\n".join(["1....."] * 6)
    )
    assert [item.grid.shape for item in items if isinstance(item, Puzzle)] == [(4, 4), (4, 4), (6, 6), (6, 6)]


SMALL = {
    4: ["1..4", "..1.", ".1..", "4..1"],
    6: ["1..4..", ".5..2.", "..3..6", "6..3..", ".2..5.", "..4..1"],
}


@pytest.mark.parametrize("size", SMALL)
def test_small_grids_with_spaces_for_blanks_are_read_as_those_with_dots(size):
    rows, half = SMALL[size], size // 2
    dotted = "\n".join(rows)
    boxes = "\n".join(" | ".join(" ".join(row[i : i + half]) for i in (0, half)) for row in rows).replace(
        ".", " "
    )
    cells = "\n".join("| " + " | ".join(row.replace(".", " ")) + " |" for row in rows)
    (wanted,) = read(dotted)
    for text in (boxes, cells):
        (found,) = read(text)
        assert isinstance(found, Puzzle), found
        assert (found.grid == wanted.grid).all()


def test_a_file_of_words_alone_holds_no_puzzle_and_its_lines_are_named():
    with pytest.raises(PuzzleError, match="contains no puzzle in 2 lines of text; expected Sudoku digits"):
        read("Sudoku of the day\nhard, 12 points\n")


def test_a_drawing_that_fits_no_layout_is_refused_as_a_whole():
    lines = boxed("+-------+-------+-------+", "|", " ").replace(".", " ").splitlines()
    lines[1] = lines[1].replace("5 3", " 53")
    (problem,) = read("\n".join(lines))
    assert isinstance(problem, Unreadable)
    assert "a grid of 9 rows with spaces for blanks" in problem.reason


def test_csv_columns_are_found_by_name():
    text = f"Rating, Answer ,note,QUESTION,source\n3.5,{ANSWER},hi,{PUZZLE},me\n,,,{PUZZLE},\n"
    first, second = read(text)
    assert isinstance(first, Puzzle)
    assert isinstance(second, Puzzle)
    assert (first.grid == GRID).all()
    assert first.solution is not None
    assert SudokuDomain(9).text(first.solution) == ANSWER
    assert (first.rating, first.source) == (3.5, "me")
    assert (second.solution, second.rating, second.source) == (None, None, "")


@pytest.mark.parametrize("header", ["quizzes,solutions", "puzzle;solution", "quiz\tanswer"])
def test_other_names_and_delimiters_are_known(header):
    delimiter = next(c for c in header if not c.isalpha())
    items = read(f"\n# a comment\n{header}\n{PUZZLE}{delimiter}{ANSWER}\n")
    assert the_puzzles(items) == 1
    assert items[0].where.endswith(":4")


def test_a_csv_without_puzzles_says_which_columns_it_has():
    with pytest.raises(PuzzleError, match=r"columns name, age.*question"):
        read("name,age\nada,36\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{PUZZLE[:80]},{ANSWER}", "80 characters"),
        (f"{PUZZLE},{ANSWER[:80]}", "answer: 80 characters"),
        (f"{PUZZLE},{PUZZLE}", "answer: has blank cells"),
        (f'{PUZZLE},"{ANSWER},x', "answer: 82"),
    ],
)
def test_bad_csv_rows_are_named(row, reason):
    items = read(f"question,answer\n{PUZZLE},{ANSWER}\n{row}\n")
    assert isinstance(items[0], Puzzle)
    assert isinstance(items[1], Unreadable)
    assert items[1].where == "standard input:3"
    assert reason in items[1].reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (PUZZLE[:80], "80 characters"),
        (PUZZLE + "1", "82 characters"),
        ("x" + PUZZLE[1:], "'x' at position 1"),
        ("\n".join(ROWS[:8]), "9 columns that ends after row 8"),
        ("\n".join([*ROWS[:4], "53..7...", *ROWS[5:]]), "8 characters in row 5"),
    ],
)
def test_a_bad_puzzle_is_named_and_reading_continues(tmp_path, bad, reason):
    file = tmp_path / "list.txt"
    file.write_text(f"{PUZZLE}\n\n{bad}\n\n{PUZZLE}\n")
    before, problem, after = read_puzzles(file)
    assert isinstance(problem, Unreadable)
    assert reason in problem.reason
    assert problem.where.startswith(f"{file}:")
    assert the_puzzles([before, after]) == 2


def test_a_size_refuses_the_others():
    (item,) = read(PUZZLE, domain="sudoku", size=4)
    assert isinstance(item, Unreadable)
    assert "16" in item.reason


def test_unknown_domain_and_size_are_refused():
    with pytest.raises(ConfigError, match="did you mean sudoku"):
        read(PUZZLE, domain="sudoko")
    with pytest.raises(ConfigError, match="4, 6, 8, 9"):
        read(PUZZLE, size=7)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only\n# comments\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(data):
    with pytest.raises(PuzzleError, match="contains no puzzle"):
        read(data)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0", PUZZLE.encode("utf-16"), bytes(range(256)) * 9])
def test_a_binary_file_is_an_error(data):
    with pytest.raises(PuzzleError, match="binary"):
        read(data)


def test_a_line_that_is_too_long_is_named_and_reading_continues():
    before, problem, after = read(f"{PUZZLE}\n{'1' * 3_000_000}\r\n{PUZZLE}\r")
    assert isinstance(problem, Unreadable)
    assert problem.where.endswith(":2")
    assert problem.reason == "a line of 3,000,000 characters; puzzles have at most 1,048,576"
    assert the_puzzles([before, after]) == 2


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(PuzzleError, match=r"nowhere\.txt: no such file"):
        next(read_puzzles(tmp_path / "nowhere.txt"))
    with pytest.raises(PuzzleError, match="is a folder"):
        next(read_puzzles(tmp_path))


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PuzzleError, match=r"locked\.txt: may not be read"):
        next(read_puzzles(tmp_path / "locked.txt"))


def test_text_streams_are_read_too():
    assert the_puzzles(list(read_puzzles(io.StringIO(PUZZLE + "\n")))) == 1
    strict = io.TextIOWrapper(io.BytesIO(b"# caf\xe9\n" + PUZZLE.encode()), encoding="utf-8")
    assert the_puzzles(list(read_puzzles(strict))) == 1


@given(
    st.binary(max_size=400) | st.text("123456789.0_*|+-=#[]Pzle,;\"'\n\r \t", max_size=600).map(str.encode)
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_junk_raises_nothing_but_puzzle_errors(data):
    with contextlib.suppress(PuzzleError):
        assert all(item.where for item in read(data))


def test_long_files_are_read_in_bounded_memory():
    lines = 30_000

    class Endless(io.RawIOBase):
        left = lines

        def readable(self):
            return True

        def readinto(self, buffer):
            self.left -= 1
            line = (PUZZLE + "\n").encode() if self.left >= 0 else b""
            buffer[: len(line)] = line
            return len(line)

    tracemalloc.start()
    try:
        count = sum(1 for _ in read_puzzles(Endless()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == lines
    assert peak < 2_000_000


def test_the_real_csv_is_read_whole(shared):
    items = list(read_puzzles(shared / "data/sudoku/test.csv"))
    assert len(items) == 1996
    assert all(
        isinstance(item, Puzzle) and item.solution is not None and item.rating is not None for item in items
    )
    assert len(np.unique([item.where for item in items])) == 1996
