"""Pictures: well-formed SVG that shows what happened."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.views.pictures import MAX_STEPS, solve_picture

SVG = "{http://www.w3.org/2000/svg}"


def a_solution(size: int, steps: int, *, verified: bool = True) -> tuple[SudokuDomain, Solution]:
    domain = SudokuDomain(size)
    cells = [[(row * domain.layout.box_columns + row // domain.layout.box_rows + column) % size + 1
              for column in range(size)] for row in range(size)]  # fmt: skip
    answer = np.array(cells, np.uint8)
    puzzle = domain.parse("".join("." if i % 3 else symbol for i, symbol in enumerate(domain.text(answer))))
    trace = []
    for number in range(1, steps + 1):
        grid = answer.copy()
        grid[0, : steps - number] = number % size + 1
        trace.append(TraceStep(number, grid, number - 3.0))
    return domain, Solution(
        1, "", "solved" if verified else "unsolved", "" if verified else "a < b & c", puzzle, answer, verified,
        steps, 1, 0.1, answer, tuple(trace),
    )  # fmt: skip


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("size", [4, 6, 9])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_picture_shows_the_puzzle_some_steps_and_the_verified_answer(size: int, steps: int) -> None:
    domain, solution = a_solution(size, steps)
    svg = solve_picture(domain, solution)
    said = texts(svg)
    labels = [text for text in said if text == "puzzle" or text.startswith("step ")]
    assert labels[0] == "puzzle"
    assert labels[1] == "step 1"
    assert labels[-1] == f"step {steps}"
    assert len(labels) == 1 + min(steps, MAX_STEPS)
    assert "✓ verified" in said
    assert solution.answer is not None
    greens = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.get("class") == "cell right"]
    assert len(greens) >= size * size - -(-size * size // 3), "every cell that the model filled in is shown"


def test_texts_are_escaped_so_that_a_reason_cannot_break_the_picture() -> None:
    svg = solve_picture(*a_solution(4, 2, verified=False))
    assert "a &lt; b &amp; c" in svg
    assert any("a < b & c" in text for text in texts(svg))
    assert "✗ breaks a rule" in texts(svg)


def test_changes_are_marked_against_the_grid_shown_before_because_steps_between_are_left_out() -> None:
    domain, solution = a_solution(9, 7)
    root = ElementTree.fromstring(solve_picture(domain, solution))
    assert [e for e in root.iter(f"{SVG}rect") if e.get("class") == "changedbox"]
    steady = replace(
        solution, trace=tuple(replace(step, grid=solution.trace[-1].grid) for step in solution.trace)
    )
    root = ElementTree.fromstring(solve_picture(domain, steady))
    assert not [e for e in root.iter(f"{SVG}rect") if e.get("class") == "changedbox"]


def test_everything_lies_inside_the_picture() -> None:
    root = ElementTree.fromstring(solve_picture(*a_solution(9, 7)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    rectangles = list(root.iter(f"{SVG}rect"))
    assert len(rectangles) > 81
    for rectangle in rectangles:
        assert 0 <= float(rectangle.get("x", 0)) <= width - float(rectangle.get("width", 0))
        assert 0 <= float(rectangle.get("y", 0)) <= height - float(rectangle.get("height", 0))


def test_same_solution_gives_the_same_picture_so_that_it_can_be_committed() -> None:
    assert solve_picture(*a_solution(9, 5)) == solve_picture(*a_solution(9, 5))
