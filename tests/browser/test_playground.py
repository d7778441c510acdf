"""The page of `hrm export --format html`, opened from a file: it solves puzzles with the command's answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .pages import WIDTHS, OpenedPage, OpenPage

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SMALL = "...43...2....1.."
MINUTES = 180_000


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, run_hrm: Callable[..., Any]) -> Path:
    path = tmp_path_factory.mktemp("playground") / "page.html"
    done = run_hrm("export", "--format", "html", path)
    assert done.status == 0, done.stderr
    return path


def verdict(opened: OpenedPage) -> str:
    opened.page.wait_for_selector("#verdict:not([hidden])", timeout=MINUTES)
    return str(opened.page.locator("#verdict").get_attribute("data-status"))


def shown_answer(opened: OpenedPage) -> str:
    """The grid of the player's last step, from its description for screen readers."""
    opened.page.locator(".hb-player").focus()
    opened.page.keyboard.press("End")
    return "".join(opened.page.locator("#player svg.hb-grid desc").first.text_content().split())


def command_answers(run_hrm: Callable[..., Any], folder: Path, puzzles: list[str]) -> list[str]:
    file = folder / "puzzles.txt"
    file.write_text("\n".join(puzzles) + "\n", encoding="utf-8")
    done = run_hrm("solve", file, "--json")
    return [
        "".join(str(cell) for row in json.loads(line)["answer"] for cell in row)
        for line in done.stdout.splitlines()
    ]


@pytest.mark.slow(seconds=30)
def test_a_typed_sudoku_is_solved_with_the_keyboard_alone(
    open_page: OpenPage, page: Path, run_hrm: Callable[..., Any], tmp_path: Path
) -> None:
    opened = open_page(page)
    opened.page.get_by_role("button", name="Clear").click()
    opened.page.locator(".cell").first.focus()
    opened.page.keyboard.type(PUZZLE)
    opened.page.keyboard.press("Enter")
    assert verdict(opened) == "solved"
    assert shown_answer(opened) == command_answers(run_hrm, tmp_path, [PUZZLE])[0]
    opened.expect_no_errors()


@pytest.mark.slow(seconds=30)
def test_answers_are_those_of_the_command(
    open_page: OpenPage, page: Path, run_hrm: Callable[..., Any], tmp_path: Path
) -> None:
    from hrm_cli.puzzles.sudoku.generator import generate

    opened = open_page(page)
    for size, model, count in ((4, "sudoku-4x4", 10), (6, "sudoku-6x6", 10), (9, "sudoku-any-size", 2)):
        cells, _ = next(generate(size, count, np.random.default_rng(5)))
        puzzles = ["".join(str(cell) if cell else "." for cell in row) for row in cells]
        found = opened.page.evaluate(
            "async ([name, puzzles]) => { const all = []; for (const one of puzzles)"
            " all.push(await hrmPlayground.solve(name, one)); return all; }",
            [model, cells.tolist()],
        )
        assert {one["status"] for one in found} == {"solved"}
        answers = ["".join(map(str, one["answer"])) for one in found]
        assert answers == command_answers(run_hrm, tmp_path, puzzles)
    opened.expect_no_errors()


@pytest.mark.slow(seconds=20)
def test_a_drawn_maze_is_solved(open_page: OpenPage, page: Path) -> None:
    opened = open_page(page)
    opened.page.get_by_role("button", name="Maze 10×10").click()
    opened.page.get_by_role("button", name="Clear").click()
    opened.page.locator(".cell").first.focus()
    for key in ("s", "ArrowRight", "#", "ArrowDown", "#", "ArrowDown", "g"):
        opened.page.keyboard.press(key)
    opened.page.keyboard.press("Enter")
    assert verdict(opened) in ("solved", "multiple", "unsolved")
    opened.page.get_by_role("button", name="short").click()
    opened.page.wait_for_selector("#verdict[data-status=solved]:not([hidden])", timeout=MINUTES)
    opened.expect_no_errors()


def test_wrong_puzzles_are_refused_with_the_reason(open_page: OpenPage, page: Path) -> None:
    opened = open_page(page)
    opened.page.get_by_role("button", name="Sudoku 4×4").click()
    opened.page.get_by_role("button", name="Clear").click()
    opened.page.locator(".cell").first.focus()
    opened.page.keyboard.type("11")
    assert opened.page.locator(".cell.conflict").count() == 2
    opened.page.keyboard.press("Enter")
    assert verdict(opened) == "invalid"
    assert "Row 1 contains 1 more than once" in opened.page.locator("#verdict").inner_text()
    opened.page.get_by_text("Paste a puzzle, keys").click()
    opened.page.get_by_label("puzzle as text").fill("123")
    opened.page.get_by_role("button", name="Read the text").click()
    assert "found 3 cells" in opened.page.locator("#error").inner_text()
    opened.page.get_by_label("puzzle as text").fill(SMALL)
    opened.page.get_by_role("button", name="Read the text").click()
    opened.page.get_by_role("button", name="Solve").click()
    assert verdict(opened) == "solved"
    opened.expect_no_errors()


@pytest.mark.slow(seconds=30)
def test_a_puzzle_that_one_pass_does_not_solve_is_searched_and_can_be_stopped(
    open_page: OpenPage, page: Path
) -> None:
    opened = open_page(page)
    opened.page.get_by_role("button", name="Sudoku 6×6").click()
    opened.page.evaluate("hrmPlayground.data.models.find((one) => one.name === 'sudoku-6x6').max_steps = 1")
    opened.page.get_by_role("button", name="hard", exact=True).click()
    assert verdict(opened) == "solved"
    assert "search of" in opened.page.locator("#verdict").inner_text()
    opened.page.get_by_role("button", name="Sudoku 9×9").click()
    # In one call, because a pointer's click may come when the puzzle is already solved.
    opened.page.evaluate(
        """() => new Promise((done) => {
            [...document.querySelectorAll("button")].find((one) => one.textContent.trim() === "hard").click();
            const press = () => {
                const stop = document.querySelector("#stop");
                if (stop && stop.checkVisibility()) { stop.click(); done(); } else requestAnimationFrame(press);
            };
            press();
        })"""
    )
    opened.page.get_by_role("button", name="Stop").wait_for(state="hidden")
    assert opened.page.locator("#verdict").is_hidden()
    opened.expect_no_errors()


@pytest.mark.slow(seconds=20)
def test_a_maze_that_one_pass_does_not_solve_is_searched(open_page: OpenPage, page: Path) -> None:
    opened = open_page(page)
    opened.page.get_by_role("button", name="Maze 10×10").click()
    # The search has nodes of 24 steps even so.
    opened.page.evaluate("hrmPlayground.data.models.find((one) => one.domain === 'maze').max_steps = 1")
    opened.page.get_by_role("button", name="with loops").click()
    assert verdict(opened) == "solved"
    assert "search of" in opened.page.locator("#verdict").inner_text()
    tree = opened.page.locator("#player .hb-tree").inner_text()
    assert "puzzle" in tree
    assert "= #" in tree
    opened.expect_no_errors()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_width(open_page: OpenPage, page: Path, width: int, scheme: str) -> None:
    opened = open_page(page, width=width, scheme=scheme)
    opened.page.get_by_role("button", name="Sudoku 4×4").click()
    opened.page.get_by_role("button", name="easy").click()
    assert verdict(opened) == "solved"
    assert opened.overflow() <= 0
    assert opened.without_name() == []
    opened.screenshot(f"playground-{width}-{scheme}")
    opened.expect_no_errors()
