"""Files of mazes: drawn line by line, one a line, CSV; junk ends in a message."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Puzzle, Unreadable
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.reading import read_puzzles

DRAWN = "#####\n#S G#\n#####\n"
SQUARE = "####S  G####    "


def read(text: str, **options):
    return list(read_puzzles(io.StringIO(text), **options))


def texts(items) -> list[str]:
    assert all(isinstance(item, Puzzle) and item.domain == "maze" for item in items), items
    return [MazeDomain(*item.grid.shape).text(item.grid) for item in items]


def test_blank_lines_separate_mazes_of_any_shape():
    items = read(f"\n\n{DRAWN}\n\nS \n G\n")
    assert texts(items) == ["######S G######", "S  G"]
    assert [item.where for item in items] == ["standard input:3", "standard input:8"]


def test_rows_of_walls_are_not_comments_but_lines_with_words_are():
    assert texts(read(f"# two mazes\n{DRAWN}\n# the second:\n{DRAWN}")) == ["######S G######"] * 2


def test_a_row_of_spaces_belongs_to_its_maze_when_it_is_as_long():
    assert texts(read("S #\n   \n# G\n")) == ["S #   # G"]


def test_dots_are_free_cells_because_editors_cut_spaces_at_line_ends():
    assert texts(read("S..\n##.\nG..\n")) == ["S  ## G  "]


def test_a_square_maze_may_stand_in_one_line_as_answers_are_written():
    assert texts(read(f"{SQUARE}\n\n{SQUARE}\n")) == [SQUARE, SQUARE]


def test_mazes_on_one_line_each_need_no_blank_lines():
    items = read(f"{SQUARE}\n{SQUARE}\n{SQUARE}\n\n{DRAWN}")
    assert texts(items) == [SQUARE, SQUARE, SQUARE, "######S G######"]
    assert [item.where for item in items[:3]] == ["standard input:1", "standard input:2", "standard input:3"]


def test_a_wide_drawn_maze_whose_first_row_has_both_ends_stays_one_maze():
    assert texts(read(f"{SQUARE}\n{' ' * 16}\n")) == [SQUARE + " " * 16]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_files_without_a_header(delimiter):
    answer = "####SooG####    "
    rows = [delimiter.join([SQUARE, *more]) for more in ([answer, "mine"], ["mine", "3"], [""])]
    items = read("\n".join(rows) + "\n")
    assert texts(items) == [SQUARE] * 3
    assert [item.solution is not None for item in items] == [True, False, False]
    assert MazeDomain(4, 4).text(items[0].solution) == answer


def test_a_csv_file_without_a_header_is_checked_for_the_size():
    (bad,) = read(f"{SQUARE},\n", domain="maze", size=3)
    assert (bad.where, bad.reason) == ("standard input:1", "4×4 cells; expected mazes of 3×3")


@pytest.mark.parametrize("header", ["source,question,answer,rating", "question"])
def test_csv_cells_keep_the_spaces_at_their_ends(header):
    answer = "####SooG####    "
    row = {"question": SQUARE, "source": "mine", "answer": answer, "rating": "3"}
    (item,) = read(f"{header}\n" + ",".join(row[name] for name in header.split(",")) + "\n")
    assert texts([item]) == [SQUARE]
    if "answer" in header:
        assert MazeDomain(4, 4).text(item.solution) == answer
        assert (item.rating, item.source) == (3, "mine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#####\n#S G\n#####\n", r"row 2 \(standard input:2\) has 4 characters, the first 5"),
        ("#####\n#SxG#\n#####\n", "'x' in row 2, column 3"),
        ("#####\n#S  #\n#####\n", "no G"),
        ("#####\n#G S#\n#S###\n", r"2 cells with S \(row 2, column 4 and row 3, column 2\)"),
        ("#####\n#SoG#\n#####\n", "'o' in row 2, column 3 marks a path"),
        ("question\n#S G#\n", r"5 characters; a maze on one line is square: 4 \(2×2\) or 9 \(3×3\)"),
        (f"question,answer\n{SQUARE},#########\n", "answer: 3×3 cells; the maze has 4×4"),
    ],
)
def test_what_is_not_a_maze_is_reported_by_row_and_column_and_reading_continues(text, reason):
    following = SQUARE if text.startswith("question") else f"\n{DRAWN}"
    bad, good = read(text + following)
    assert isinstance(bad, Unreadable)
    assert re.search(reason, bad.reason)
    assert isinstance(good, Puzzle)


def test_one_size_can_be_asked_for():
    (item,) = read(DRAWN, domain="maze", size=4)
    assert item.reason == "3×5 cells; expected mazes of 4×4"


def test_sudoku_files_with_a_line_of_hashes_stay_sudoku():
    (item,) = read(f"#########\n{'.' * 80}1\n")
    assert item.domain == "sudoku"


@given(
    st.text(alphabet='# SGo.x\n,"\t\r1', max_size=120),
    st.sampled_from(["", "question\n", "question,answer\n"]),
)
@settings(max_examples=200)
def test_junk_raises_nothing_but_puzzle_errors(text, header):
    try:
        for item in read(header + text, domain="maze"):
            assert isinstance(item, Unreadable | Puzzle)
    except PuzzleError:
        pass


@given(st.binary(max_size=80))
@settings(max_examples=100)
def test_bytes_raise_nothing_but_puzzle_errors(data):
    with contextlib.suppress(PuzzleError):
        list(read_puzzles(io.BytesIO(b"#S G#\n" + data)))
