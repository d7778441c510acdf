"""The Sudoku domain: sizes, tokens, text, rules, diagnosis."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrm_cli.errors import ConfigError, PuzzleError
from hrm_cli.puzzles.domain import infer_domain, make_domain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.puzzles.sudoku.layout import BOXES

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
ANSWER = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
SIZES = (4, 6, 9)


@pytest.fixture(scope="module")
def nine() -> SudokuDomain:
    return SudokuDomain(9)


def changed(grid: np.ndarray, row: int, column: int, value: int) -> np.ndarray:
    other = grid.copy()
    other[row, column] = value
    return other


def test_importing_the_domain_interface_does_not_import_numba():
    code = "import sys, hrm_cli.puzzles.domain, hrm_cli.puzzles.sudoku.domain; print('numba' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize("size", SIZES)
def test_vocabulary_and_length_follow_from_the_size_and_tell_it_again(size):
    domain = make_domain("sudoku", size=size)
    assert (domain.vocab_size, domain.seq_len) == (size + 2, size * size)
    inferred = infer_domain(domain.vocab_size, domain.seq_len)
    assert inferred is not None
    assert inferred.facts() == {"size": size}


def test_no_domain_is_inferred_for_another_shape():
    assert infer_domain(11, 80) is None


@pytest.mark.parametrize("size", [0, 5, 7, 26, "9"])
def test_other_sizes_are_refused_with_the_choices(size):
    with pytest.raises(ConfigError, match="4, 6, 8, 9, 10"):
        SudokuDomain(size)


def test_tokens_are_blank_one_and_digit_plus_one(nine):
    tokens = nine.encode(nine.parse(PUZZLE).grid)
    assert tokens.dtype == np.uint8
    assert tokens[:5].tolist() == [6, 4, 1, 1, 8]


@given(st.data(), st.sampled_from(tuple(BOXES)))
def test_encoding_and_text_come_back(data, size):
    domain = SudokuDomain(size)
    cells = data.draw(st.lists(st.integers(0, size), min_size=size * size, max_size=size * size))
    grid = np.array(cells, np.uint8).reshape(size, size)
    assert (domain.decode(domain.encode(grid)) == grid).all()
    assert (domain.parse(domain.text(grid)).grid == grid).all()


def test_padding_and_unknown_tokens_decode_to_blanks(nine):
    assert not nine.decode(np.full(81, 0, np.uint8)).any()
    assert not nine.decode(np.full(81, 200, np.uint8)).any()


def test_every_blank_character_is_read(nine):
    for blank in ".0_*":
        assert (nine.parse(PUZZLE.replace(".", blank)).grid == nine.parse(PUZZLE).grid).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PUZZLE[:80], ["list.txt:3", "80", "81"]),
        (PUZZLE + "1", ["82", "81"]),
        (PUZZLE[:11] + "x" + PUZZLE[12:], ["'x'", "position 12", "row 2, column 3"]),
        ("é" + PUZZLE[1:], ["'é'", "position 1 "]),
        ("", ["0 characters"]),
    ],
)
def test_bad_text_is_named_with_place_and_expectation(nine, text, words):
    with pytest.raises(PuzzleError) as caught:
        nine.parse(text, "list.txt:3")
    for word in words:
        assert word in str(caught.value)


def test_a_digit_beyond_the_size_is_refused():
    with pytest.raises(PuzzleError, match="'5'"):
        SudokuDomain(4).parse("5" + "." * 15)


@given(st.text(max_size=100) | st.text("123456789.", min_size=81, max_size=81))
def test_any_text_parses_or_is_a_puzzle_error(text):
    with contextlib.suppress(PuzzleError):
        assert SudokuDomain(9).parse(text).grid.shape == (9, 9)


@pytest.mark.parametrize(
    "grid", [np.zeros((9, 8), int), np.full((9, 9), 10), np.full((9, 9), -1), np.zeros((9, 9))]
)
def test_grids_of_another_kind_do_not_encode(nine, grid):
    with pytest.raises(PuzzleError):
        nine.encode(grid)


def test_the_right_answer_passes_verification(nine):
    assert nine.verify(nine.parse(PUZZLE).grid, nine.parse(ANSWER).grid).ok


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        (0, 0, 3, "the given 5 at row 1, column 1 was changed to 3"),
        (1, 3, 0, "the given 1 at row 2, column 4 is missing"),
        (0, 2, 0, "row 1, column 3 is empty"),
        (0, 2, 12, "row 1, column 3 holds 12, not a digit from 1 to 9"),
        (0, 2, 6, "row 1 contains 6 more than once"),
    ],
)
def test_the_first_violated_rule_is_named(nine, row, column, value, reason):
    answer = changed(nine.parse(ANSWER).grid, row, column, value)
    verdict = nine.verify(nine.parse(PUZZLE).grid, answer)
    assert (verdict.ok, verdict.reason) == (False, reason)


def test_column_and_box_violations_are_named():
    four = SudokuDomain(4)
    blank = four.parse("." * 16).grid
    assert four.verify(blank, four.parse("1234" * 4).grid).reason == "column 1 contains 1 more than once"
    assert four.verify(blank, four.parse("1234234134124123").grid).reason == "box 1 contains 2 more than once"


def test_an_answer_of_another_size_is_no_answer(nine):
    assert "16 cells" in nine.verify(nine.parse(PUZZLE).grid, np.ones((4, 4), np.uint8)).reason


def test_a_proper_puzzle_has_one_solution_and_no_reason(nine):
    diagnosis = nine.diagnose(nine.parse(PUZZLE).grid)
    assert (diagnosis.solutions, diagnosis.reason, diagnosis.difficulty) == (1, "", 0)


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        (0, 8, 5, "row 1 contains 5 more than once"),
        (8, 0, 4, "column 1 contains 4 more than once"),
        (1, 1, 8, "box 1 contains 8 more than once"),
    ],
)
def test_contradictory_givens_are_named(nine, row, column, value, reason):
    diagnosis = nine.diagnose(changed(nine.parse(PUZZLE).grid, row, column, value))
    assert (diagnosis.solutions, diagnosis.reason) == (0, reason)


def test_a_puzzle_without_solution_says_so(nine):
    diagnosis = nine.diagnose(changed(nine.parse(PUZZLE).grid, 0, 2, 1))
    assert diagnosis.solutions == 0
    assert "no solution" in diagnosis.reason


def test_solutions_are_shown_where_they_differ(nine):
    diagnosis = nine.diagnose(nine.parse("." * 81).grid)
    assert diagnosis.solutions == 2
    assert diagnosis.reason.startswith("more than one solution: row ")


def test_a_printed_grid_has_lines_between_boxes():
    assert SudokuDomain(6).lines(np.arange(36).reshape(6, 6) % 7)[:4] == [
        ". 1 2 | 3 4 5",
        "6 . 1 | 2 3 4",
        "------+------",
        "5 6 . | 1 2 3",
    ]
