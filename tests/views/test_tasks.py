"""ARC tasks on terminals and in pictures: what is shown, and that it can be seen."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from hrm_cli.puzzles.arc.domain import PALETTE, ArcDomain
from hrm_cli.puzzles.domain import Grid, Puzzle
from hrm_cli.solving.solution import Solution, TraceStep
from hrm_cli.views.colored import needs_digits, painted
from hrm_cli.views.drawing import changed_cells, draw
from hrm_cli.views.pictures import solve_picture
from hrm_cli.views.tasks import task_picture, task_view
from hrm_cli.views.trace import frames, given_cells, plain_lines, plain_trace, wrong_cells

ARC = ArcDomain()
SVG = "{http://www.w3.org/2000/svg}"


def grid(*rows: str) -> Grid:
    return np.array([list(map(int, row)) for row in rows], np.uint8)


def a_solution(answer: Grid, truth: Grid | None, *, second: Grid | None = None) -> Solution:
    asked = grid("012", "345")
    trace = (TraceStep(1, grid("0"), -1.0), TraceStep(2, answer, 1.0))
    return Solution(
        1, "folder/file.json: task t, test 1", "unsolved", "reason", Puzzle(asked, domain="arc"), answer,
        truth is not None and np.array_equal(answer, truth), 2, 8, 0.1, truth, trace, attempt=3, how="votes",
        demonstrations=((grid("00", "09"), grid("11")), (grid("5"), grid("6"))), second=second,
    )  # fmt: skip


def printed(solution: Solution, width: int, *, has_digits: bool) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(
        task_view(ARC, solution, width, has_digits=has_digits)
    )
    return stream.getvalue()


def test_color_0_can_be_seen_on_a_black_terminal_and_every_digit_on_its_color() -> None:
    text = painted(draw(ARC, grid("0123456789")), has_digits=True)
    assert text.plain == " . 1 2 3 4 5 6 7 8 9"
    styles = [str(span.style) for span in text.spans]
    assert [style.rpartition(" ")[2] for style in styles] == list(PALETTE)
    for style in styles:
        ink, _, color = style.partition(" on ")
        assert abs(_light(ink) - _light(color)) > 100, style
    assert painted(draw(ARC, grid("07"))).plain == " .  ", "a dot where there are colors too"


def _light(color: str) -> float:
    return sum(int(color[i : i + 2], 16) * part for i, part in ((1, 0.299), (3, 0.587), (5, 0.114)))


def test_differences_are_seen_with_colors_with_digits_and_in_narrow_grids() -> None:
    drawing = draw(ARC, grid("07", "12"))
    assert painted(drawing, {1}).plain == " .><\n    "
    assert painted(drawing, {1}, has_digits=True).plain == " .x7\n 1 2"
    assert painted(drawing, {1}, has_digits=True, is_narrow=True).plain == ".x\n12"
    assert painted(draw(ARC, np.zeros((0, 0), np.uint8))).plain == "(no grid)"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"color_system": "truecolor"}, False),
        ({"color_system": "256"}, False),
        ({"color_system": "standard"}, True),
        ({"color_system": None}, True),
        ({"color_system": "truecolor", "no_color": True}, True),
    ],
)
def test_digits_are_shown_where_colors_do_not_tell_cells_apart(
    settings: dict[str, object], wanted: bool
) -> None:
    console = Console(force_terminal=True, **settings)  # type: ignore[arg-type]
    assert needs_digits(console) is wanted


def test_grids_of_different_sizes_are_compared_cell_by_cell_from_the_same_corner() -> None:
    small, large = draw(ARC, grid("12", "30")), draw(ARC, grid("129", "340"))
    assert changed_cells(small, large) == {2, 4, 5}
    assert changed_cells(large, small) == {3}
    assert given_cells(ARC, grid("12")) == set(), "an input is no part of its answer"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_terminal_shows_demonstrations_test_input_both_answers_and_the_expected_grid(width: int) -> None:
    shown = printed(a_solution(grid("11", "20"), grid("11", "22"), second=grid("1")), width, has_digits=True)
    for text in (
        "demonstration 1, 2×2",
        "output, 1×2",
        "demonstration 2, 1×1",
        "test input, 2×3",
        "expected, 2×2",
    ):
        assert text in shown
    assert "answer, 2×2: 1 of 4 " in shown
    assert "second answer, 1×1: wrong size, not 2×2" in shown
    assert " 1 1" in shown
    assert " 2x." in shown
    assert " 2x2" in shown, "the expected grid marks the cell too"
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())


def test_an_answer_that_cannot_be_compared_is_not_called_wrong() -> None:
    shown = printed(a_solution(grid("11"), None), 80, has_digits=True)
    assert "answer, 1×2\n" in shown
    assert "expected" not in shown
    assert "wrong" not in shown


def test_a_grid_wider_than_the_terminal_takes_one_column_a_cell() -> None:
    wide = np.ones((1, 30), np.uint8)
    shown = printed(a_solution(wide, wide), 40, has_digits=True)
    assert "1" * 30 in shown


def test_the_trace_of_a_task_marks_changes_even_if_the_size_changes() -> None:
    first, last = frames(ARC, a_solution(grid("11", "20"), grid("11", "22")))
    assert plain_lines(first)[1:] == ["  ."]
    assert last.title == "step 2: halt 73%, 4 cells changed, 1 wrong"
    assert plain_lines(last)[1:] == ["  1*1*", "  2*.*"]


def test_a_picture_shows_the_task_and_marks_differences() -> None:
    svg = solve_picture(ARC, a_solution(grid("11", "20"), grid("11", "22"), second=grid("1")))
    root = ElementTree.fromstring(svg)
    said = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert said[:2] == ["ARC task t, test 1: not solved in 2 reasoning steps", "reason"]
    assert "folder" not in svg, "the path of the file is not shown"
    for text in (
        "demonstration 1, 2×2", "output, 1×2", "test input, 2×3", "answer, 2×2: 1 of 4 wrong",
        "second answer, 1×1: wrong size, not 2×2", "expected, 2×2", "step 1", "step 2, 1 wrong", "halt 73%",
        "Reasoning steps of copy 3 of 8, the first that gave the answer",
    ):  # fmt: skip
        assert text in said
    crosses = [e for e in root.iter(f"{SVG}path") if e.get("class") == "cross"]
    assert len(crosses) == 3, "in the answer, the expected grid and the step of their size"
    boxes = [e for e in root.iter(f"{SVG}rect") if e.get("fill")]
    assert len(boxes) == 4 + 2 + 1 + 1 + 6 + 4 + 1 + 4 + 1 + 4
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for box in boxes:
        assert float(box.get("x", 0)) + float(box.get("width", 0)) <= width
        assert float(box.get("y", 0)) + float(box.get("height", 0)) <= height


def test_a_picture_of_an_empty_answer_can_be_drawn() -> None:
    empty = np.zeros((0, 0), np.uint8)
    svg = solve_picture(ARC, replace(a_solution(empty, None), reason="a < b"))
    assert "(no grid)" in svg
    ElementTree.fromstring(svg)


def test_an_answer_of_another_size_has_no_marked_cells() -> None:
    solution = a_solution(grid("11", "20"), grid("111", "222", "333"))
    shown = printed(solution, 100, has_digits=True)
    assert "answer, 2×2: wrong size, not 3×3" in shown
    assert "x" not in shown.replace("expected", "")
    assert not wrong_cells(ARC, solution, draw(ARC, grid("11", "20")))


@pytest.mark.parametrize("width", [60, 65, 80, 120, 130])
def test_the_largest_grids_can_be_read_from_60_columns_up(width: int) -> None:
    large = np.arange(900).reshape(30, 30).astype(np.uint8) % 10
    answer = large.copy()
    answer[3, 4] = 0
    asked = replace(
        a_solution(answer, large), puzzle=Puzzle(large, domain="arc"), demonstrations=((large, large),)
    )
    shown = printed(asked, width, has_digits=True)
    assert all(len(line.rstrip()) <= width for line in shown.splitlines())
    assert "answer, 30×30: 1 of 900 wrong" in shown
    row = "".join("." if cell == 0 else str(cell) for cell in large[0])
    is_narrow = 65 <= width < 125
    assert (f"{row}     {row}" in shown) is is_narrow
    assert (" ".join(row) in shown) is not is_narrow


def test_a_plain_trace_of_a_task_has_few_grids_and_every_step() -> None:
    steps = tuple(TraceStep(n, grid(str(min(n, 9)) * 3), 0.0) for n in range(1, 17))
    lines = list(plain_trace(list(frames(ARC, replace(a_solution(grid("111"), None), trace=steps)))))
    assert sum(line.startswith("step ") for line in lines) == 16
    assert len(lines) == 16 + 6 + 1
    assert lines[-1].startswith("10 steps without the grid")
    same = tuple(TraceStep(n, grid("12"), 0.0) for n in range(1, 4))
    assert (
        len(list(plain_trace(list(frames(ARC, replace(a_solution(grid("12"), None), trace=same))))))
        == 3 + 1 + 1
    )


def test_long_titles_of_a_picture_do_not_overlap() -> None:
    large, other = np.full((30, 30), 4, np.uint8), np.full((30, 30), 5, np.uint8)
    solution = a_solution(large, grid("012345678"), second=other)
    picture = task_picture(ARC, solution)
    titles = re.findall(r'<text class="small" x="([0-9.]+)" y="([0-9.]+)">([^<]+)</text>', picture)
    title = next(found for found in titles if found[2] == "second answer, 30×30: wrong size, not 1×9")
    (right,) = [float(x) for x, y, text in titles if text.startswith("expected") and y == title[1]]
    assert right > float(title[0]) + 6.5 * len(title[2])  # measured in a browser: 6.5 pixels a character
