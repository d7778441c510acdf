"""A real browser for the tests of pages: finds it, opens pages in it, and keeps what the pages complain about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLE = "HRM_TEST_BROWSER"
"""Environment variable that names another Chromium or Chrome, or `none` to skip these tests."""
SCREENSHOTS = "HRM_SCREENSHOTS"
"""Environment variable that names a folder for the screenshots; without it they go to the test's own folder."""
WIDTHS = {360: 740, 768: 1024, 1280: 800}
"""Window sizes: a phone, a tablet, a laptop."""
LOCAL = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "http://localhost:")


def browser_program() -> Path | None:
    """The Chromium or Chrome of this machine."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named) if named != "none" and Path(named).is_file() else None
    found = (shutil.which(name) for name in BROWSERS)
    return next((Path(path) for path in found if path), None)


def why_not() -> str | None:
    """The reason why pages cannot be opened in a browser here, or None."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed (it is part of the extra dev)"
    if browser_program() is None:
        return f"there is no Chromium here: install one (Debian: apt-get install chromium), or name it in {VARIABLE}"
    return None


@dataclass
class OpenedPage:
    """A page in the browser, and everything that it reported as wrong."""

    page: Any
    """The playwright `Page`: click, fill, keyboard, locator, evaluate, …"""
    errors: list[str] = field(default_factory=list)
    """Errors on the console, exceptions that no code caught, and requests that failed."""
    outside: list[str] = field(default_factory=list)
    """Addresses outside this machine that the page asked for; the requests were refused."""
    folder: Path = Path()

    def expect_no_errors(self) -> None:
        """Fails if the page reported an error, or asked for anything outside this machine."""
        assert self.errors == []
        assert self.outside == []

    def screenshot(self, name: str, *, whole: bool = True) -> Path:
        """A picture of the page; a whole page if `whole`, else what the window shows."""
        path = self.folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path), full_page=whole)
        return path

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def without_name(self) -> list[str]:
        """Visible controls that a screen reader could not name."""
        return list(self.page.evaluate(_WITHOUT_NAME))


_WITHOUT_NAME = """() => [...document.querySelectorAll('button, input, select, textarea, [role=slider], a[href]')]
  .filter(one => one.getClientRects().length && one.type !== 'hidden')
  .filter(one => !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.title
    || (one.labels && [...one.labels].some(label => label.textContent.trim())) || one.textContent.trim()))
  .map(one => one.outerHTML.slice(0, 120))"""

OpenPage = Callable[..., OpenedPage]


def opened_in(context: Any, address: str | Path, folder: Path) -> OpenedPage:
    """Opens a page (a URL or a file) in a browser context and waits until it has loaded."""
    opened = OpenedPage(context.new_page(), folder=folder)

    def guard(route: Any) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            opened.outside.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    page = opened.page
    page.on("console", lambda said: opened.errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("requestfailed", lambda request: opened.errors.append(f"{request.url}: {request.failure}"))
    url = address.resolve().as_uri() if isinstance(address, Path) else address
    page.goto(url, wait_until="load")
    return opened
