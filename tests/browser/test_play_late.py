"""`hrm play` in a real browser: answers of the server that come late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .pages import OpenPage, why_not
from .playing import Playing, cells, playing, ready

pytestmark = pytest.mark.slow(seconds=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Playing]:
    if reason := why_not():
        pytest.skip(reason)
    with playing() as running:
        yield running


def test_an_example_that_comes_late_does_not_replace_the_size_chosen_meanwhile(
    open_page: OpenPage, server: Playing
) -> None:
    opened = open_page(server.url)
    page: Any = opened.page
    ready(page)
    late: list[Any] = []

    def keep(route: Any) -> None:
        late.append(route)

    page.route("**/api/example", keep)
    page.click("#example")
    page.select_option("#sizes select", "16")
    while not late:
        page.wait_for_timeout(50)
    with page.expect_response("**/api/example"):
        late[0].continue_()
    page.wait_for_selector("body[aria-busy=false]")
    assert page.locator("#editor .cell").count() == 256
    assert set(cells(page)) == {"."}
    opened.expect_no_errors()
