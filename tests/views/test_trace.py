"""Traces: what is marked at each step, in colors and without."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hrm_cli.config.arch import ArchConfig
from hrm_cli.models.registry import build_model
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.solving.solver import solve_puzzles
from hrm_cli.views.drawing import draw
from hrm_cli.views.pictures import solve_picture
from hrm_cli.views.trace import (
    Frame,
    frames,
    given_cells,
    halt_probability,
    plain_lines,
    rich_frame,
)
from hrm_cli.views.web.boards import board_of

ANSWER = "3214143223414123"


@pytest.fixture
def traced(domain: SudokuDomain) -> Solution:
    """Three steps: cell 0 wrong, then another wrong digit there, then right."""
    right = domain.parse(ANSWER).grid
    steps = []
    for number, digit in enumerate((1, 4, 3), 1):
        grid = right.copy()
        grid[0, 0] = digit
        steps.append(TraceStep(number, grid, -2.0 + number))
    puzzle = domain.parse("..1..4...3....2.", "file:1")
    return Solution(
        1, "file:1", "solved", puzzle=puzzle, answer=right, verified=True, steps=3, attempts=1, truth=right,
        trace=tuple(steps),
    )  # fmt: skip


@pytest.mark.parametrize("size", [4, 6, 9])
def test_a_drawn_grid_has_every_cell_and_the_lines_between_boxes(size: int) -> None:
    domain = SudokuDomain(size)
    grid = (np.arange(size * size, dtype=np.uint8) % (size + 1)).reshape(size, size)
    drawing = draw(domain, grid)
    assert "".join(drawing.symbols) == domain.text(grid)
    box_rows, box_columns = domain.layout.box_rows, domain.layout.box_columns
    assert drawing.ruled_rows == list(range(box_rows, size, box_rows))
    assert drawing.ruled_columns == list(range(box_columns, size, box_columns))


def test_frames_mark_what_changed_since_the_step_before_and_what_differs_from_the_solution(
    domain: SudokuDomain, traced: Solution
) -> None:
    found = list(frames(domain, traced))
    assert [frame.changed for frame in found] == [set(), {0}, {0}]
    assert [frame.wrong for frame in found] == [{0}, {0}, set()]
    assert [frame.title for frame in found] == [
        "step 1: halt 27%, first answer, 1 wrong",
        "step 2: halt 50%, 1 cell changed, 1 wrong",
        "step 3: halt 73%, 1 cell changed",
    ]


def test_without_a_single_solution_only_altered_givens_are_known_to_be_wrong(domain: SudokuDomain) -> None:
    puzzle = domain.parse("123.......4.....")
    answer = puzzle.grid.copy()
    answer[0, 0], answer[3, 3] = 4, 4
    solution = Solution(1, "", "multiple", puzzle=puzzle, trace=(TraceStep(1, answer, 0.0),))
    assert next(frames(domain, solution)).wrong == {0}


def test_a_plain_trace_marks_changed_cells_with_a_star_and_uses_no_control_codes(
    domain: SudokuDomain, traced: Solution
) -> None:
    _, second, _ = frames(domain, traced)
    lines = plain_lines(second)
    assert lines == [second.title, "  4*2 | 1 4", "  1 4 | 3 2", "  ----+----", "  2 3 | 4 1", "  4 1 | 2 3"]


def test_a_star_after_the_last_cell_of_a_row_is_kept(domain: SudokuDomain) -> None:
    drawing = draw(domain, domain.parse(ANSWER).grid)
    assert plain_lines(Frame(2, drawing, {3, 1}, set(), 0.5))[1] == "  3 2*| 1 4*"


def shown(frame: Frame, given: set[int], *, colors: bool) -> str:
    from rich.console import Console

    stream = io.StringIO()
    system: Any = "standard" if colors else None
    Console(file=stream, force_terminal=colors, color_system=system, width=80).print(rich_frame(frame, given))
    return stream.getvalue()


def test_terminal_shows_givens_bold_changed_cells_on_yellow_and_wrong_ones_red(
    domain: SudokuDomain, traced: Solution
) -> None:
    assert traced.puzzle is not None
    given = given_cells(domain, traced.puzzle.grid)
    assert given == {2, 5, 9, 14}
    _, second, third = frames(domain, traced)
    assert "\x1b[1;31;43m4\x1b[0m" in shown(second, given, colors=True)
    assert "\x1b[30;43m3\x1b[0m" in shown(third, given, colors=True)
    assert "\x1b[1m1\x1b[0m" in shown(third, given, colors=True)


@pytest.mark.parametrize(("halting", "name"), [("certain", "confidence"), ("settle", "settledness")])
def test_a_model_without_a_q_head_shows_no_halt_probability(
    domain: SudokuDomain, traced: Solution, halting: Any, name: str
) -> None:
    said = ArchConfig(halting=halting).halt_name
    assert said == name
    solution = replace(traced, halt_name=said)
    assert next(iter(frames(domain, solution))).title.startswith(f"step 1: {name} 27%")
    assert board_of(domain, solution)["halt_name"] == name
    picture = solve_picture(domain, solution)
    assert f"{name} 27%" in picture
    assert "halt" not in re.sub(r"<style>.*?</style>", "", picture, flags=re.DOTALL)


def test_what_the_models_own_halt_value_is_reaches_the_solution() -> None:
    for changes, name in (({"halting": "settle"}, "settledness"), ({}, "halt probability")):
        arch = ArchConfig(hidden_size=8, num_heads=1, H_layers=1, L_layers=1, pos_encodings="rope", **changes)
        model = build_model(arch, 6, 16, 1)
        small = SudokuDomain(4)
        (solution,) = solve_puzzles(model, small, [small.parse("..1..4...3....2.")], max_steps=2, trace=True)
        assert solution.halt_name == name


@pytest.mark.parametrize(("value", "probability"), [(-1000.0, 0.0), (0.0, 0.5), (1000.0, 1.0)])
def test_halt_probability_does_not_overflow(value: float, probability: float) -> None:
    assert halt_probability(value) == probability


def test_puzzle_whose_source_is_unknown_can_be_traced(domain: SudokuDomain) -> None:
    puzzle = Puzzle(domain.parse(ANSWER).grid)
    solution = Solution(1, "", "solved", puzzle=puzzle, trace=(TraceStep(1, puzzle.grid, float("nan")),))
    assert "halt nan%" in plain_lines(next(frames(domain, solution)))[0]
