"""Texts that people wrote around their puzzles: headings, lists, CSV of every kind, long lines, and what is skipped."""

from __future__ import annotations

import io
import time
import tracemalloc

import pytest

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.domain import Puzzle, Unreadable
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.text_lines import SkippedLines

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ROWS = [PUZZLE[i : i + 9] for i in range(0, 81, 9)]
GRID = "\n".join(ROWS)


def read(text: str) -> tuple[list[Puzzle | Unreadable], SkippedLines]:
    skipped = SkippedLines()
    return list(read_puzzles(io.BytesIO(text.encode()), skipped=skipped)), skipped


def cells(items: list[Puzzle | Unreadable]) -> list[str]:
    assert all(isinstance(item, Puzzle) for item in items), items
    domains = {"sudoku": lambda grid: SudokuDomain(len(grid)), "maze": lambda grid: MazeDomain(*grid.shape)}
    return [domains[item.domain](item.grid).text(item.grid) for item in items]


@pytest.mark.parametrize(
    "heading", ["[Easy]", "[1]", "[ Grid 12 ]", "[State]", "[]", "[Easy] [2]", "(hard)", "{x}"]
)
@pytest.mark.parametrize("puzzle", [PUZZLE, GRID])
def test_a_heading_in_brackets_loses_no_text_after_it(heading, puzzle):
    items, skipped = read(f"{heading}\n{puzzle}\n\n{heading}\n{puzzle}\n")
    assert cells(items) == [PUZZLE] * 2
    assert skipped.count == 2


@pytest.mark.parametrize(
    "heading",
    ["Sudoku", "Puzzle", "Quiz", "Question", "Maze", "Solution", "Sudoku, easy", "hard, 12", "Easy, medium"],
)
@pytest.mark.parametrize("gap", ["\n", "\n\n"])
@pytest.mark.parametrize("form", [GRID, "\n".join(",".join(row) for row in ROWS), f"{PUZZLE}\n"])
def test_a_heading_of_words_that_are_columns_elsewhere_is_a_heading(heading, gap, form):
    items, _ = read(f"{heading}{gap}{form}")
    assert cells(items) == [PUZZLE]


@pytest.mark.parametrize(
    "text",
    [
        f"id,puzzle\n#1,{PUZZLE}\n#2,{PUZZLE}\n",
        f"#,puzzle\n1,{PUZZLE}\n2,{PUZZLE}\n",
        f"#id;puzzle\n#1;{PUZZLE}\n#2;{PUZZLE}\n",
        f"# by hand\nid,puzzle\n#1,{PUZZLE}\n#2,{PUZZLE}\n",
        f'puzzle,note\n{PUZZLE},"two\nlines"\n{PUZZLE},\n',
        f'puzzle,note\n{PUZZLE},6" wide\n{PUZZLE},\n',
        f'note,puzzle\n#,"{GRID}"\n,{PUZZLE}\n',
    ],
)
def test_no_row_of_a_csv_file_is_a_comment_or_is_lost(text):
    items, skipped = read(text)
    assert cells(items) == [PUZZLE] * 2
    assert skipped.count == 0


def test_mazes_with_walls_around_are_read_from_csv_and_text_under_titles():
    maze = ["#####", "#S  #", "# # #", "#  G#", "#####"]
    joined = "".join(maze)
    assert cells(read(f"id,maze\n#1,{joined}\n#2,{joined}\n")[0]) == [joined] * 2
    drawn = "\n".join(maze)
    items, skipped = read(f"Maze 1\n{drawn}\nMaze 2\n\n{drawn}\n")
    assert cells(items) == [joined] * 2
    assert str(skipped) == "2 lines are not puzzles: 1, 7"
    assert cells(read("\n".join(f"   {row}" for row in maze))[0]) == [joined]


@pytest.mark.parametrize(
    "text",
    [
        str([[int(c.replace(".", "0")) for c in row] for row in ROWS]),
        ",\n".join(str([c if c != "." else None for c in row]) for row in ROWS),
        "grid = np.array(["
        + ",\n  ".join(str([int(c.replace(".", "0")) for c in row]) for row in ROWS)
        + "], dtype=int)",
        "\n".join("{" + ", ".join(row.replace(".", "0")) + "}," for row in ROWS),
    ],
)
def test_lists_of_digits_are_grids(text):
    assert cells(read(text)[0]) == [PUZZLE]


@pytest.mark.parametrize("size", [12, 16, 25])
def test_numbers_above_9_are_read_as_letters_are(size):
    numbers = [[(r * 7 + c) % size + 1 if (r + c) % 3 else 0 for c in range(size)] for r in range(size)]
    letters = "\n".join("".join(".123456789ABCDEFGHIJKLMNOP"[n] for n in row) for row in numbers)
    (wanted,) = cells(read(letters)[0])
    for separator in (" ", ", ", "\t"):
        assert cells(read("\n".join(separator.join(map(str, row)) for row in numbers))[0]) == [wanted]


def test_everything_that_is_skipped_is_counted_and_named():
    items, skipped = read(
        f"The Times\n{PUZZLE}\n\nby A. Setter\n# {PUZZLE}\n# a note\n---\n{GRID}\nthe end\n"
    )
    assert cells(items) == [PUZZLE] * 2
    assert str(skipped) == "4 lines are not puzzles: 1, 4, 5, 17"
    assert (skipped.document()["count"], skipped.document()["lines"]) == (4, [1, 4, 5, 17])


def test_a_text_without_a_puzzle_is_measured_and_its_lines_are_not_listed():
    with pytest.raises(PuzzleError, match="contains no puzzle in 1 line of text; expected"):
        read("dear diary,\n")
    with pytest.raises(PuzzleError, match="contains no puzzle in 300 lines of text; expected"):
        read("dear diary,\n" * 300)


@pytest.mark.parametrize(
    "text", ["question,answer\n", "---------\n", "| | |\n", "Sudoku\n", "[Easy]\n", f"# {PUZZLE}\n"]
)
def test_a_file_without_a_puzzle_is_an_error(text):
    with pytest.raises(PuzzleError, match="contains no puzzle"):
        read(text)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["4|2 ", "|34", "3|12", "2|"], "are not aligned"),
        (
            [
                "53  7",
                "6  195",
                "98    6",
                "8   6   3",
                "4  8 3  1",
                "7   2   6",
                "6    28",
                "4 19  5",
                "8  79",
            ],
            "",
        ),
    ],
)
def test_a_drawing_that_lost_its_leading_spaces_is_refused(rows, reason):
    (item,) = read("\n".join(rows))[0]
    assert isinstance(item, Unreadable)
    assert reason in item.reason


@pytest.mark.parametrize(
    "line",
    [
        "1" * 200_000,
        "-" * 200_000,
        "] " * 100_000 + "x",
        "[" + " " * 200_000 + "x",
        "|" * 200_000,
        ". " * 100_000,
    ],
)
def test_long_lines_are_named_at_once_and_reading_continues(line):
    started = time.process_time()
    items, _ = read(f"{PUZZLE}\n{line}\n{PUZZLE}\n")
    assert time.process_time() - started < 5
    assert cells([items[0], items[-1]]) == [PUZZLE] * 2
    assert len(items) == 3
    assert items[1].where.endswith(":2")


@pytest.mark.parametrize(
    "line", ["hello world\n", "53..7\n", "53..7\n\n", "# no\n", "---------\n", "         \n"]
)
def test_many_lines_before_the_first_puzzle_take_no_memory(line):
    class Lines(io.RawIOBase):
        left = 3_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            self.left -= 1
            data = (
                line.encode() * 10 if self.left > 0 else f"\n{PUZZLE}\n".encode() if self.left == 0 else b""
            )
            buffer[: len(data)] = data
            return len(data)

    tracemalloc.start()
    try:
        found = [item for item in read_puzzles(Lines()) if isinstance(item, Puzzle)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cells(found) == [PUZZLE]
    assert peak < 2_000_000


@pytest.mark.parametrize("mark", list("?xX0_*-"))
def test_every_usual_mark_of_a_blank_is_read(mark: str) -> None:
    rows = [row.replace(".", mark) for row in ROWS]
    spaced = [" ".join(row) for row in rows]
    for text in (
        PUZZLE.replace(".", mark), "\n".join(rows), "\n".join(spaced), ",".join(PUZZLE.replace(".", mark)),
        f"Sudoku 9x9, easy?\n\n{GRID.replace('.', mark)}\n", f"question,answer\n{PUZZLE.replace('.', mark)},\n",
    ):  # fmt: skip
        assert cells(read(text)[0]) == [PUZZLE], text


@pytest.mark.parametrize("text", ["16x16", "9x9", "Size: 9x9?", "fax 555", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"])
def test_crosses_in_other_lines_are_text(text: str) -> None:
    items, skipped = read(f"{text}\n\n{GRID}\n")
    assert cells(items) == [PUZZLE]
    assert skipped.count <= 1


def test_a_cross_among_other_blanks_is_a_mistake() -> None:
    (item,), _ = read(f"{PUZZLE[:40]}x{PUZZLE[41:]}\n")
    assert isinstance(item, Unreadable)
    assert "character 'x' at position 41" in item.reason
