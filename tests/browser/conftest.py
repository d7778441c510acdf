"""Fixtures for tests in a real browser. They are skipped, with the reason, where there is none.

    def test_a_report_opens_from_a_file(open_page, report: Path) -> None:
        opened = open_page(report, width=360, scheme="dark")
        opened.page.keyboard.press("ArrowRight")
        opened.screenshot("report-360-dark")
        opened.expect_no_errors()

Screenshots are kept in the folder that HRM_SCREENSHOTS names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .pages import SCREENSHOTS, VARIABLE, WIDTHS, OpenedPage, OpenPage, browser_program, opened_in, why_not


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium (playwright's `Browser`)."""
    if reason := why_not():
        if os.environ.get(VARIABLE, "none") != "none":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    # Containers mostly run as root, for whom Chromium has no sandbox. The tests open only this project's own pages.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(browser_program()), args=arguments)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[OpenPage]:
    """`open_page(url_or_path, width=1280, scheme="light")` opens a page in a window of its own."""
    folder = Path(os.environ.get(SCREENSHOTS) or tmp_path)
    contexts = []

    def open_one(
        address: str | Path,
        *,
        width: int = 1280,
        height: int | None = None,
        scheme: str = "light",
        touch: bool = False,
        forced_colors: str = "none",
    ) -> OpenedPage:
        contexts.append(
            browser.new_context(
                viewport={"width": width, "height": height or WIDTHS.get(width, 800)},
                color_scheme=scheme,
                has_touch=touch,
                forced_colors=forced_colors,
                locale="en-US",
            )
        )
        contexts[-1].set_default_timeout(60_000)  # machines may be busy
        return opened_in(contexts[-1], address, folder)

    yield open_one
    for context in contexts:
        context.close()
