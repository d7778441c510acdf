"""The inputs of people's bug reports, if they are next to the checkout; `test_text_kinds` has their kinds without."""

from __future__ import annotations

import pytest

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.arc.tasks import read_tasks
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.reading import read_puzzles
from hrm_cli.puzzles.sudoku.domain import SudokuDomain

WELL_KNOWN = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
PUZZLES = {
    "F01_gap_first_column_4x4.txt": [".42...34.312.2.."],
    "F01_gap_first_column_9x9.txt": [
        ".................1..2..3.4......56....7...83...9.1.......9...7..1..4.....5....3.."
    ],
    "F02_bracket_heading.txt": [WELL_KNOWN],
    "F02_leetcode.txt": [WELL_KNOWN],
    "F02_numpy.txt": [WELL_KNOWN],
    "F03_csv_hash_ids.csv": [WELL_KNOWN],
    "F05_heading_Sudoku.txt": [WELL_KNOWN],
    "F05_simple_sudoku_clipboard.txt": [
        ".3.4.....9.28.63.1.......2.8...6.7...6.2.5.9...3.4...8.7.......4.89.25.6.....8.3."
    ],
    "F06_title_and_puzzle_one_line.txt": ["1.3..4.12.4.4..2", "...43...2....1..", "..12....4..3...."],
    "F09_gap_indented.txt": [WELL_KNOWN],
    "F10_commas81.txt": [WELL_KNOWN],
    "F11_dash_first_row.txt": [
        "...........91......754.....36..2....8.......2....6..47.....516......83..924.1...."
    ],
    "F13_heavy_box.txt": [WELL_KNOWN],
    "F13_nbsp.txt": [WELL_KNOWN],
}


@pytest.mark.parametrize("name", PUZZLES)
def test_every_case_is_read(shared, name):
    items = list(read_puzzles(shared / "cases" / name))
    assert all(isinstance(item, Puzzle) for item in items), items
    assert [SudokuDomain(len(item.grid)).text(item.grid) for item in items] == PUZZLES[name]


def test_a_file_of_ruled_lines_only_holds_no_puzzle(shared):
    with pytest.raises(PuzzleError, match="contains no puzzle"):
        list(read_puzzles(shared / "cases/F02_only_rules.txt"))


def test_a_grid_of_16_rows_is_one_puzzle(shared):
    file = shared / "cases/F12_16x16.txt"
    (puzzle,) = read_puzzles(file)
    assert SudokuDomain(16).text(puzzle.grid) == "".join(file.read_text().split())


@pytest.mark.parametrize(("size", "count"), [(12, 100), (16, 100), (25, 10)])
def test_large_puzzles_are_read_with_their_answers(shared, size, count):
    items = list(read_puzzles(shared / f"data/sudoku/large_{size}.csv"))
    assert len(items) == count
    domain = SudokuDomain(size)
    assert all(domain.verify(item.grid, item.solution).ok for item in items)


@pytest.mark.parametrize(("name", "count"), [("F08_bom_task.json", 1), ("arc-agi_test_challenges.json", 2)])
def test_arc_cases_are_read(shared, name, count):
    assert len(read_tasks(shared / "cases" / name)) == count
