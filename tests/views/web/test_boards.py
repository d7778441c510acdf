"""Boards: the drawing model of every page in a browser, for all domains."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_cli.evaluation.search import SearchNode
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.solution import CellChances, Solution, TraceStep
from hrm_cli.views.web import boards
from hrm_cli.views.web.boards import board_of, embedded, empty_board, script, style

SIZES = (4, 6, 8, 9, 10, 12, 15, 16, 20, 25)


def solved_sudoku(size: int) -> tuple[SudokuDomain, Solution]:
    """A solution with two steps; the second corrects cell 1."""
    domain = SudokuDomain(size)
    rows, columns = domain.layout.box_rows, domain.layout.box_columns
    answer = np.array(
        [
            [(row % rows * columns + row // rows + column) % size + 1 for column in range(size)]
            for row in range(size)
        ],
        np.uint8,
    )
    puzzle = answer.copy()
    puzzle.flat[1::2] = 0
    first = answer.copy()
    first.flat[1] = first.flat[0]
    trace = (TraceStep(1, first, -2.0), TraceStep(2, answer, 3.0))
    return domain, Solution(
        1, "folder/puzzles.txt:3", "solved", puzzle=Puzzle(puzzle), answer=answer, verified=True, steps=2, attempts=1,
        truth=answer, trace=trace,
    )  # fmt: skip


def own_solution(symbols: tuple[str, ...]) -> tuple[GridsDomain, Solution]:
    domain = GridsDomain(3, 3, symbols)
    given, answer, expected = (
        np.array(rows, np.uint8) for rows in ([[0, 1]], [[1, 0], [0, 1]], [[1, 1], [0, 1]])
    )
    return domain, Solution(
        1, "own.jsonl:1", "answered", puzzle=Puzzle(given), answer=answer, steps=1, attempts=1, truth=expected,
        trace=(TraceStep(1, answer, 0.0),),
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_a_sudoku_of_every_size_has_its_givens_steps_changes_mistakes_and_thick_lines(size: int) -> None:
    domain, solution = solved_sudoku(size)
    board = board_of(domain, solution)
    assert (board["kind"], board["fills_in"], board["status"]) == ("symbols", True, "solved")
    assert board["where"] == "puzzles.txt:3", "without the folder"
    assert board["given"] == list(range(0, size * size, 2))
    first, second = board["steps"]
    assert (first["rows"], first["columns"], len(first["symbols"])) == (size, size, size * size)
    assert first["wrong"] == [1]
    assert {0, 1} <= set(first["conflicts"])
    assert (second["changed"], second["wrong"], second["conflicts"]) == ([1], [], [])
    assert second["symbols"] == domain.text(solution.answer)
    assert second["halt"] == pytest.approx(0.9526, abs=1e-3)
    assert board["puzzle"]["symbols"].count(".") == size * size // 2
    box_rows, box_columns = domain.layout.box_rows, domain.layout.box_columns
    assert second["ruled_rows"] == list(range(box_rows, size, box_rows))
    assert second["ruled_columns"] == list(range(box_columns, size, box_columns))


def test_a_maze_is_a_plan_even_of_180_cells_a_side() -> None:
    domain = MazeDomain(180, 180)
    puzzle = np.ones((180, 180), np.uint8)
    puzzle[5] = 0
    puzzle[0, 0], puzzle[0, 9] = 2, 3
    answer = puzzle.copy()
    answer[0, 1:9] = 4
    solution = Solution(
        1, "", "solved", puzzle=Puzzle(puzzle), answer=answer, verified=True, steps=1, attempts=1, truth=answer,
        trace=tuple(TraceStep(step, answer, 0.0) for step in range(1, 17)),
    )  # fmt: skip
    board = board_of(domain, solution)
    assert (board["kind"], board["solid"], board["dot"], board["blank"]) == ("plan", "#", "o", ".")
    assert board["steps"][0]["symbols"][:10] == "SooooooooG"
    assert board["steps"][0]["ruled_rows"] == []
    assert len(embedded(board)) < 20 * 180 * 180, "a character for each cell of each step, and little more"


def test_an_arc_task_has_its_demonstrations_colors_and_answers_of_other_sizes() -> None:
    domain = ArcDomain()
    grids = [np.full((rows, rows), color, np.uint8) for rows, color in ((2, 0), (3, 1), (4, 9))]
    solution = Solution(
        1, "", "unsolved", puzzle=Puzzle(grids[0]), answer=grids[1], second=grids[2], truth=grids[2], steps=1,
        trace=(TraceStep(1, grids[0][:0], 0.0), TraceStep(2, grids[1], 0.0)), demonstrations=((grids[0], grids[1]),),
    )  # fmt: skip
    board = board_of(domain, solution)
    assert (board["kind"], board["fills_in"], board["given"]) == ("colors", False, [])
    assert set(board["palette"]) == set(".123456789")
    assert board["demonstrations"][0]["output"]["symbols"] == "1" * 9
    assert board["second"]["rows"] == 4
    empty, answer = board["steps"]
    assert (empty["rows"], empty["symbols"]) == (0, "")
    assert answer["changed"] == list(range(9)), "cells that did not exist before"
    assert answer["wrong"] == [], "nothing says which cells of another size are wrong"
    named = board_of(domain, replace(solution, where="mine/a.json: task a, test 2"))
    assert (named["title"], named["where"]) == ("ARC task a, test 2", "a.json")


def test_own_puzzles_keep_words_and_emoji_and_their_dots_are_symbols() -> None:
    board = board_of(*own_solution(("🐈", "mouse")))
    assert board["puzzle"]["symbols"] == ["🐈", "mouse"]
    assert (board["kind"], board["blank"], board["solid"], board["with_symbols"]) == (
        "symbols",
        None,
        None,
        True,
    )
    assert board["steps"][0]["symbols"] == ["mouse", "🐈", "🐈", "mouse"]
    assert board["steps"][0]["wrong"] == [1], "the file gives a different output"
    assert set(board["palette"]) == {"🐈", "mouse"}
    board = board_of(*own_solution(("#", "o")))
    assert (board["kind"], board["puzzle"]["symbols"]) == ("symbols", "#o"), (
        "a drawing by characters looks like a maze"
    )
    many = GridsDomain(3, 3, tuple(str(number) for number in range(40)))
    assert empty_board(many, np.array([[0, 39]], np.uint8))["palette"] == {}, "too many colors to tell apart"


def test_without_a_trace_the_answer_is_the_only_step() -> None:
    domain, solution = solved_sudoku(4)
    (step,) = board_of(domain, replace(solution, trace=()))["steps"]
    assert (step["step"], step["halt"], step["confidence"]) == (2, None, None)
    assert board_of(domain, replace(solution, trace=(), answer=None))["steps"] == []


def test_probabilities_become_the_confidence_of_cells_and_candidates_of_uncertain_ones() -> None:
    domain, solution = solved_sudoku(4)
    tokens = np.tile(np.array([2, 3, 1], np.uint8), (16, 1))  # digits 1 and 2, and the blank
    probabilities = np.tile(np.array([0.6, 0.39, 0.01]), (16, 1))
    probabilities[3] = [1, 0, 0]
    step = replace(solution.trace[0], chances=CellChances(tokens, probabilities))
    (shown,) = board_of(domain, replace(solution, trace=(step,)))["steps"]
    assert shown["confidence"][:4] == [60, 60, 60, 100]
    assert shown["candidates"]["1"] == [("1", 60), ("2", 39)]
    assert "3" not in shown["candidates"], "the model is certain of this cell"
    assert "0" not in shown["candidates"], "this cell is given"


def test_probabilities_of_a_field_are_those_of_the_grid_at_its_corner() -> None:
    domain = ArcDomain()
    probabilities = np.arange(900).reshape(900, 1) / 900
    chances = CellChances(np.full((900, 1), 2, np.uint8), probabilities)
    step = TraceStep(1, np.zeros((2, 3), np.uint8), 0.0, chances)
    shown = boards.shown_chances(domain, step)
    assert shown is not None
    assert (shown.probabilities[:, 0] * 900).round().astype(int).tolist() == [0, 1, 2, 30, 31, 32]


def test_the_search_tree_names_pinned_symbols_and_stays_bounded() -> None:
    domain, solution = solved_sudoku(4)
    tree = [SearchNode(0, None, None, None, 1.0, order=1, violations=3)]
    tree += [SearchNode(number, 0, 1, 2, 0.5) for number in range(1, 2000)]
    tree.append(SearchNode(2000, 0, 1, 5, 0.25, order=2, violations=0))
    search = board_of(domain, replace(solution, tree=tuple(tree)))["search"]
    assert len(search["nodes"]) == boards.MOST_NODES
    assert search["left_out"] == 2001 - boards.MOST_NODES
    assert search["nodes"][-1] | {"probability": 0} == {
        "number": 2000, "parent": 0, "cell": 1, "symbol": "4", "probability": 0, "order": 2, "violations": 0,
        "refuted": False,
    }  # fmt: skip
    assert search["nodes"][1]["symbol"] == "1"


def test_a_diverged_model_gives_no_number_that_json_lacks() -> None:
    domain, solution = solved_sudoku(4)
    step = replace(solution.trace[0], q_halt=float("nan"))
    board = board_of(domain, replace(solution, trace=(step,)))
    assert json.loads(embedded(board))["steps"][0]["halt"] is None


def test_no_text_can_end_the_script_element_or_hide_control_characters() -> None:
    domain, solution = own_solution(("</script><script>alert(1)", "\u202e"))
    solution = replace(solution, reason="</script>\x1b[2J", where="<b>/a\x07.txt")
    text = embedded(board_of(domain, solution))
    assert "<" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    stored: dict[str, Any] = json.loads(text)
    assert stored["puzzle"]["symbols"][0] == "</script><script>alert(1)"


def test_script_and_style_need_no_network_and_write_no_html() -> None:
    for text in (script(), style()):
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "@import" not in text
        assert "</" not in text, "they stand inside elements of a page"
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert unsafe not in script()
