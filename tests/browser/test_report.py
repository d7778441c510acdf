"""The pages of `hrm report` and `hrm analyze`, opened from files in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .pages import WIDTHS, OpenPage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_hrm: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs") / "four"
    settings = ("train.max_steps=12", "train.log_interval=4", "data.num_train=300", "data.num_test=40")
    done = run_hrm(
        "train", "--preset", "demo", "-o", folder, "-q", "--report", "arch.hidden_size=32", *settings
    )
    assert done.status == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def analysis(run: Path, run_hrm: Any) -> Path:
    page = run / "analysis.html"
    assert run_hrm("analyze", run, "--sample", "8", "-o", page, "-q").status == 0
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_both_pages_open_without_faults(
    open_page: OpenPage, run: Path, analysis: Path, width: int, scheme: str
) -> None:
    for page in (run / "report.html", analysis):
        opened = open_page(page, width=width, scheme=scheme)
        opened.screenshot(f"{page.stem}-{width}-{scheme}")
        assert opened.overflow() <= 0
        assert opened.without_name() == []
        opened.expect_no_errors()


def test_the_slider_of_a_failure_moves_by_mouse_and_keyboard(open_page: OpenPage, run: Path) -> None:
    opened = open_page(run / "report.html")
    page = opened.page
    caption = page.locator("#player .hb-caption")
    assert caption.inner_text().startswith("step 8")
    page.locator("#player input[type=range]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert caption.inner_text().startswith("step 1")
    page.get_by_label("last step").click()
    assert caption.inner_text().startswith("step 8")
    opened.expect_no_errors()


def test_another_failure_is_shown_at_a_click(open_page: OpenPage, run: Path) -> None:
    opened = open_page(run / "report.html")
    buttons = opened.page.locator(".choices button")
    assert buttons.count() == 4
    assert buttons.nth(0).get_attribute("aria-pressed") == "true"
    before = opened.page.locator("#player svg").first.inner_html()
    buttons.nth(2).click()
    assert buttons.nth(2).get_attribute("aria-pressed") == "true"
    assert buttons.nth(0).get_attribute("aria-pressed") == "false"
    assert opened.page.locator("#player svg").first.inner_html() != before
    opened.expect_no_errors()


def test_numbers_below_a_chart_unfold(open_page: OpenPage, run: Path) -> None:
    opened = open_page(run / "report.html", width=360)
    table = opened.page.locator("#scores details table").first
    assert not table.is_visible()
    opened.page.locator("#scores .plot summary").first.click()
    assert opened.page.locator("#scores .plot details table").first.is_visible()
    assert opened.overflow() <= 0
