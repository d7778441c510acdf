"""The page of `hrm solve --html` in a browser: slider, keys, toggles, several puzzles, widths and themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hrm_cli.views.web.boards import board_of
from hrm_cli.views.web.page import solutions_page

from ..views.web.test_boards import own_solution, solved_sudoku  # noqa: TID252
from .pages import WIDTHS, OpenPage


@pytest.fixture(scope="module")
def solve_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evil = "<img src=x onerror=alert(1)>"
    boards = [board_of(*solved_sudoku(9)), board_of(*own_solution((evil, "b")))]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(solutions_page(boards), encoding="utf-8")
    return path


def caption(page: Any) -> str:
    text: str = page.locator(".hb-caption").inner_text()
    return text


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_width_in_both_themes(
    open_page: OpenPage, solve_page: Path, width: int, scheme: str
) -> None:
    opened = open_page(solve_page, width=width, scheme=scheme)
    assert opened.overflow() <= 0
    assert opened.without_name() == []
    opened.screenshot(f"solve-{width}-{scheme}")
    opened.expect_no_errors()


def test_keys_buttons_and_slider_move_through_the_steps(open_page: OpenPage, solve_page: Path) -> None:
    opened = open_page(solve_page)
    page = opened.page
    assert caption(page).startswith("step 2")
    for key, beginning in (
        ("ArrowLeft", "step 1"), ("ArrowLeft", "puzzle"), ("ArrowLeft", "puzzle"), ("End", "step 2"),
        ("Home", "puzzle"), ("ArrowRight", "step 1"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert caption(page).startswith(beginning), key
    page.get_by_role("button", name="next step").click()
    assert caption(page).startswith("step 2")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert caption(page).startswith("step 1"), "a key on the slider is one step, not two"
    assert slider.input_value() == "1"
    opened.expect_no_errors()


def test_playing_ends_at_the_answer_and_a_key_stops_it(open_page: OpenPage, solve_page: Path) -> None:
    opened = open_page(solve_page)
    page = opened.page
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    page.locator(".hb-caption", has_text="step 2").wait_for()
    page.get_by_role("button", name="play", exact=True).wait_for()
    page.keyboard.press("Space")
    page.get_by_role("button", name="pause").wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="play", exact=True).wait_for()
    opened.expect_no_errors()


def test_marks_do_not_need_color_and_grids_have_descriptions(open_page: OpenPage, solve_page: Path) -> None:
    opened = open_page(solve_page)
    page = opened.page
    page.keyboard.press("ArrowLeft")
    grid = page.locator(".hb-stage svg.hb-grid").first
    assert "step 1" in grid.get_attribute("aria-label")
    assert grid.get_attribute("role") == "img"
    assert grid.locator(".hb-under").count() == 1, "wrong digits are underlined"
    page.keyboard.press("ArrowRight")
    assert page.locator(".hb-stage svg.hb-grid .hb-changed").first.get_attribute("d") != ""
    rows = page.locator(".hb-stage svg.hb-grid desc").first.text_content()
    assert len(rows.splitlines()) == 9
    opened.expect_no_errors()


def test_another_puzzle_can_be_chosen_and_its_texts_stay_text(open_page: OpenPage, solve_page: Path) -> None:
    opened = open_page(solve_page)
    page = opened.page
    page.get_by_role("combobox", name="puzzle").select_option(index=1)
    assert "answered" in page.locator(".hb-player h2").inner_text()
    assert page.locator("img").count() == 0
    assert page.locator(".hb-stage figure").count() == 3, "input, answer and expected output"
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Light").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    opened.expect_no_errors()
