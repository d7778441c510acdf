"""GIF and PNG files: every domain and size, bounded, and without fonts of the system."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.solving.solution import CellChances, Solution, TraceStep
from hrm_cli.views import raster
from hrm_cli.views.raster_pictures import (
    MOST_FRAMES,
    SHORTEST_MS,
    TRACE_MS,
    chosen_steps,
    gif,
    png,
)
from hrm_cli.views.web.boards import Board, board_of

from .web.test_boards import own_solution, solved_sudoku

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra pictures)")


def opened(contents: bytes) -> PIL.Image:
    return PIL.open(io.BytesIO(contents))


def maze_board(side: int, steps: int) -> Board:
    puzzle = np.ones((side, side), np.uint8)
    puzzle[side // 2, 1:] = 0
    puzzle[0, 0], puzzle[-1, -1] = 2, 3
    trace = []
    for step in range(1, steps + 1):
        grid = puzzle.copy()
        grid[1 : 1 + (side - 2) * step // steps, 0] = 4
        trace.append(TraceStep(step, grid, 0.1 * step))
    solution = Solution(
        1, "", "unsolved", "the path is cut", Puzzle(puzzle), trace[-1].grid, steps=steps, attempts=1, truth=puzzle,
        trace=tuple(trace),
    )  # fmt: skip
    return board_of(MazeDomain(side, side), solution)


def arc_board() -> Board:
    grids = [np.full((rows, rows), color, np.uint8) for rows, color in ((2, 0), (3, 1), (30, 9))]
    solution = Solution(
        1, "", "unsolved", puzzle=Puzzle(grids[0]), answer=grids[1], truth=grids[2], steps=2,
        trace=(TraceStep(1, np.zeros((0, 0), np.uint8), 0.0), TraceStep(2, grids[1], 0.0)),
        demonstrations=((grids[0], grids[1]), (grids[0], grids[2])),
    )  # fmt: skip
    return board_of(ArcDomain(), solution)


@pytest.mark.parametrize("size", [4, 9, 16, 25])
def test_a_gif_has_the_puzzle_and_every_step_and_shows_the_answer_longest(size: int) -> None:
    with opened(gif(board_of(*solved_sudoku(size)))) as picture:
        assert picture.n_frames == 3
        durations, colors = [], []
        for frame in range(picture.n_frames):
            picture.seek(frame)
            durations.append(picture.info["duration"])
            colors.append({color for _, color in picture.convert("RGB").getcolors(1 << 20)})
        assert durations[-1] == max(durations)
        assert picture.info["loop"] == 0
    assert all((255, 255, 255) in found for found in colors), "white stays white"
    wrong, right, changed = (raster.rgb(color) for color in (raster.WRONG, raster.RIGHT, raster.CHANGED))
    assert wrong not in colors[0]
    assert wrong in colors[1]
    assert changed in colors[2]
    assert right in colors[2]


def test_a_still_shows_the_puzzle_some_steps_and_the_answer() -> None:
    domain, solution = solved_sudoku(9)
    many = replace(solution, trace=tuple(replace(solution.trace[0], step=step) for step in range(1, 40)))
    few = replace(solution, trace=())
    sizes = [opened(png(board_of(domain, one))).size for one in (many, few)]
    assert sizes[0][0] > sizes[1][0]
    assert max(sizes[0]) < 4000


def test_every_domain_is_drawn_as_gif_and_png() -> None:
    boards = [arc_board(), maze_board(9, 3), board_of(*own_solution(("🐈", "mouse")))]
    boards.append(board_of(*own_solution(tuple(f"word{number}" for number in range(40)))))
    for board in boards:
        for heat in (False, True):
            assert opened(gif(board, heat=heat)).n_frames == 1 + len(board["steps"])
            assert opened(png(board, heat=heat)).format == "PNG"


@pytest.mark.slow(seconds=20)
def test_a_long_trace_on_a_large_maze_stays_small_and_short() -> None:
    board = maze_board(100, MOST_FRAMES + 10)
    contents = gif(board)
    with opened(contents) as picture:
        assert picture.n_frames <= MOST_FRAMES
        assert max(picture.size) <= 700
        total = 0
        for frame in range(picture.n_frames):
            picture.seek(frame)
            total += picture.info["duration"]
        assert total <= TRACE_MS + MOST_FRAMES * SHORTEST_MS
    assert len(contents) < 3_000_000


def test_of_a_long_trace_evenly_spaced_steps_are_shown_with_the_first_and_the_last() -> None:
    assert chosen_steps(3, 4) == [0, 1, 2]
    assert chosen_steps(0, 4) == []
    chosen = chosen_steps(1000, 120)
    assert (len(chosen), chosen[0], chosen[-1]) == (120, 0, 999)
    assert {after - before for before, after in pairwise(chosen)} == {8, 9}


def test_candidates_take_the_place_of_uncertain_answers_and_heat_shades_them() -> None:
    domain, solution = solved_sudoku(4)
    tokens = np.tile(np.array([2, 3, 4], np.uint8), (16, 1))
    uncertain = CellChances(tokens, np.tile(np.array([0.4, 0.3, 0.3]), (16, 1)))
    certain = CellChances(tokens, np.tile(np.array([1.0, 0.0, 0.0]), (16, 1)))
    pictures = {}
    for name, chances in (("uncertain", uncertain), ("certain", certain)):
        trace = (replace(solution.trace[1], chances=chances),)
        board = board_of(domain, replace(solution, trace=trace, verified=False))
        pictures[name] = [opened(png(board, heat=heat)).convert("RGB") for heat in (False, True)]
    assert pictures["uncertain"][0].tobytes() != pictures["certain"][0].tobytes()
    assert pictures["certain"][0].tobytes() == pictures["certain"][1].tobytes(), "nothing to shade"
    assert pictures["uncertain"][0].tobytes() != pictures["uncertain"][1].tobytes()


def test_symbols_that_the_font_lacks_become_numbers_and_signs_become_plain_ones() -> None:
    assert raster.can_draw("word9")
    assert not raster.can_draw("🐈")
    assert raster.drawable("9×9 Sudoku → 🐈") == "9x9 Sudoku -> ?"


def test_same_solution_gives_the_same_files_so_that_they_can_be_committed() -> None:
    board = board_of(*solved_sudoku(9))
    assert gif(board) == gif(board)
    assert png(board) == png(board)


def test_without_pillow_one_line_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        ConfigError, match=r"^--gif: Pillow is not installed: pip install 'hrm-cli\[pictures\]'$"
    ):
        raster.check_pillow("--gif")
