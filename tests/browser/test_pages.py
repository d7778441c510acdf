"""The browser of the tests: it reports what a page does wrong, and opens the pages that the commands write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .pages import WIDTHS, OpenPage, browser_program, why_not


def page_of(folder: Path, script: str, body: str = "") -> Path:
    path = folder / "page.html"
    path.write_text(f"<!doctype html><title>A page</title>{body}<script>{script}</script>", encoding="utf-8")
    return path


def test_a_page_without_faults_has_none(open_page: OpenPage, tmp_path: Path) -> None:
    opened = open_page(page_of(tmp_path, "document.title = 'ran'", "<button>Go</button>"))
    assert opened.page.title() == "ran"
    assert opened.overflow() <= 0
    assert opened.without_name() == []
    opened.expect_no_errors()
    assert opened.screenshot("plain").stat().st_size > 0


@pytest.mark.parametrize(
    ("script", "reported"),
    [
        ("console.error('a message')", "a message"),
        ("nothing_of_this_name()", "nothing_of_this_name is not defined"),
        ("new Image().src = 'missing.png'", "missing.png"),
    ],
)
def test_errors_of_a_page_are_kept(open_page: OpenPage, tmp_path: Path, script: str, reported: str) -> None:
    opened = open_page(page_of(tmp_path, script))
    assert any(reported in error for error in opened.errors)
    with pytest.raises(AssertionError):
        opened.expect_no_errors()


def test_a_request_to_another_machine_is_refused_and_kept(open_page: OpenPage, tmp_path: Path) -> None:
    opened = open_page(page_of(tmp_path, "fetch('https://example.org/font.woff2').catch(() => 0)"))
    opened.page.wait_for_timeout(200)
    assert opened.outside == ["https://example.org/font.woff2"]


def test_a_page_that_is_too_wide_and_a_button_without_a_name_are_noticed(
    open_page: OpenPage, tmp_path: Path
) -> None:
    opened = open_page(page_of(tmp_path, "", "<button></button><div style='width:500px'>x</div>"), width=360)
    assert opened.overflow() > 100
    assert len(opened.without_name()) == 1


def test_a_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRM_TEST_BROWSER", "none")
    assert browser_program() is None
    assert why_not()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_hrm_inspect_opens_from_a_file(
    open_page: OpenPage, run_hrm: Callable[..., Any], tmp_path: Path, width: int
) -> None:
    puzzles, page = tmp_path / "puzzles.txt", tmp_path / "inspected.html"
    puzzles.write_text("1.3..4.12.4.4..2\n...43...2....1..\n", encoding="utf-8")
    assert run_hrm("inspect", puzzles, "--html", page).status == 0
    opened = open_page(page, width=width)
    opened.screenshot(f"inspect-{width}")
    assert opened.overflow() <= 0
    assert opened.without_name() == []
    opened.expect_no_errors()
