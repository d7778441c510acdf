"""`hrm play` in a real browser."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .pages import WIDTHS, OpenPage, why_not
from .playing import Playing, cells, playing, ready, solve, warm_up

PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"

pytestmark = pytest.mark.slow(seconds=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Playing]:
    if reason := why_not():
        pytest.skip(reason)
    with playing() as running:
        warm_up(running)
        yield running
    assert [line for line in running.errors if "Error" in line] == []


@pytest.fixture
def opened(open_page: OpenPage, server: Playing) -> Any:
    one = open_page(server.url)
    ready(one.page)
    return one


def answer_on(page: Any) -> str:
    return "".join(page.locator(".hb-player svg.hb-grid").first.locator("desc").text_content().split())


def test_a_sudoku_typed_with_the_keyboard_alone_gets_solved(opened: Any) -> None:
    page = opened.page
    page.click("#clear")  # puts the focus on the first cell
    page.keyboard.type(PUZZLE)
    assert cells(page) == PUZZLE
    page.keyboard.press("Enter")
    page.wait_for_selector(".hb-status", timeout=120_000)
    assert page.inner_text(".hb-status") == "solved"
    assert answer_on(page) == SOLVED
    assert opened.without_name() == []
    opened.expect_no_errors()


def test_everything_is_reached_by_tab(opened: Any) -> None:
    page = opened.page
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("document.activeElement.id || document.activeElement.getAttribute('role') || ''")
        )
    assert {
        "theme",
        "example",
        "level",
        "clear",
        "gridcell",
        "moves",
        "model",
        "other",
        "solve",
        "hint",
    } <= seen


def test_arrows_move_and_backspace_erases(opened: Any) -> None:
    page = opened.page
    page.click("#clear")
    page.uncheck("#moves")
    page.locator("#editor .cell").nth(0).focus()
    for key in (
        "5",
        "ArrowRight",
        "3",
        "ArrowDown",
        "7",
        "End",
        "9",
        "Home",
        "1",
        "Delete",
        "ArrowUp",
        "ArrowUp",
        "Backspace",
    ):
        page.keyboard.press(key)
    assert cells(page)[:18] == ".3......." + ".7......9"
    page.keyboard.press("Control+z")
    assert cells(page)[:2] == "53"
    opened.expect_no_errors()


def test_the_slider_and_the_arrow_keys_step_through_the_reasoning(opened: Any) -> None:
    page = opened.page
    page.select_option("#level", "hard")
    page.click("#example")
    page.wait_for_selector("body[aria-busy=false]")
    solve(page)
    slider = page.locator(".hb-controls input[type=range]")
    last = int(slider.get_attribute("max"))
    assert last >= 1
    assert slider.input_value() == str(last)
    slider.focus()
    page.keyboard.press("Home")
    assert page.inner_text(".hb-caption") == "puzzle"
    assert answer_on(page) == cells(page)
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".hb-caption").startswith("step 1: halt probability")
    page.keyboard.press("End")
    assert "verified" in page.inner_text(".hb-caption")
    slider.fill("0")
    assert page.inner_text(".hb-caption") == "puzzle"
    page.click(".hb-play")
    page.wait_for_timeout(900)
    assert page.inner_text(".hb-caption") != "puzzle"
    opened.expect_no_errors()


def test_a_hint_fills_in_one_cell_of_the_answer(opened: Any) -> None:
    page = opened.page
    page.click("#clear")
    page.keyboard.type(PUZZLE)
    page.click("#hint")
    page.wait_for_selector("#said:not([hidden])", timeout=120_000)
    assert "the model is" in page.inner_text("#said")
    now = cells(page)
    filled = [place for place in range(81) if now[place] != PUZZLE[place]]
    assert len(filled) == 1
    assert now[filled[0]] == SOLVED[filled[0]]
    assert "hint" in page.locator("#editor .cell").nth(filled[0]).get_attribute("aria-label")
    opened.expect_no_errors()


def test_a_contradiction_is_marked_while_typing_and_named_when_solving(opened: Any) -> None:
    page = opened.page
    page.click("#clear")
    page.keyboard.type("11")
    assert page.locator("#editor .conflict").count() == 2
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:not([hidden])", timeout=120_000)
    assert page.inner_text("#error") == "row 1 contains 1 more than once"
    opened.expect_no_errors()


def test_a_drawn_puzzle_is_pasted(opened: Any) -> None:
    page = opened.page
    page.click("#paste-part summary")
    page.fill(
        "#text",
        "+-----+-----+\n| 1 . | 3 . |\n| . 4 | . 1 |\n+-----+-----+\n| 2 . | 4 . |\n| 4 . | . 2 |\n+-----+-----+\n",
    )
    page.click("#read")
    page.wait_for_selector("#said:not([hidden])")
    assert cells(page) == "1.3..4.12.4.4..2"
    page.fill("#text", "<img src=x onerror=alert(1)>")
    page.click("#read")
    page.wait_for_selector("#error:not([hidden])")
    assert page.locator("#error img").count() == 0
    opened.expect_no_errors()


def test_ctrl_v_reads_a_puzzle_wherever_the_focus_is(opened: Any) -> None:
    page = opened.page
    page.locator("#editor .cell").first.focus()
    page.evaluate(
        "text => { const data = new DataTransfer(); data.setData('text', text);"
        " document.activeElement.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true})); }",
        f"{PUZZLE}\n{SOLVED}",
    )
    page.wait_for_selector("#several:not([hidden])")
    assert cells(page) == PUZZLE
    page.click("#later")
    assert cells(page) == SOLVED
    assert page.inner_text("#which") == "puzzle 2 of 2"
    opened.expect_no_errors()


def test_another_kind_can_be_chosen_while_an_example_is_generated(
    open_page: OpenPage, server: Playing
) -> None:
    opened = open_page(server.url)
    page = opened.page
    ready(page)
    page.route("**/api/example", lambda route: None)  # never answered
    page.click("#example")
    page.wait_for_selector("body[aria-busy=true]")
    page.unroute("**/api/example")
    page.click("#kinds button:has-text('Maze')")
    page.wait_for_selector("#editor .end")
    ready(page)
    assert page.get_attribute("#kinds button:has-text('Maze')", "aria-pressed") == "true"
    assert page.locator("#error:not([hidden])").count() == 0
    page.click("#kinds button:has-text('Sudoku')")
    page.wait_for_selector("#moves-label:not([hidden])")
    assert page.locator("#editor .cell").count() == 81


def test_escape_stops_a_solve_and_the_next_one_works(opened: Any) -> None:
    page = opened.page
    page.route("**/api/solve", lambda route: None)  # never answered
    page.click("#solve")
    page.wait_for_selector("#stop:not([hidden])")
    page.keyboard.press("Escape")
    page.wait_for_selector("#said:not([hidden])")
    assert page.inner_text("#said") == "Stopped."
    assert page.locator("#error").is_hidden()
    page.unroute("**/api/solve")
    solve(page)
    assert page.inner_text(".hb-status") == "solved"
    # The browser reports the request that was given up, sometimes only after the next one.
    opened.errors[:] = [error for error in opened.errors if not error.endswith("ERR_ABORTED")]
    opened.expect_no_errors()


def test_a_maze_is_drawn_with_the_mouse_and_solved(opened: Any) -> None:
    page = opened.page
    page.click("#kinds button:has-text('Maze')")
    ready(page)
    page.wait_for_selector("#editor .end")
    page.click("#clear")
    box = page.locator("#editor .cell").all()
    page.click("#palette button[aria-label=start]")
    box[0].click()
    page.click("#palette button[aria-label=goal]")
    box[99].click()
    page.click("#palette button[aria-label=wall]")
    first, last = box[20].bounding_box(), box[28].bounding_box()
    page.mouse.move(first["x"] + 5, first["y"] + 5)
    page.mouse.down()
    page.mouse.move(last["x"] + 5, last["y"] + 5, steps=40)
    page.mouse.up()
    assert page.locator("#editor .wall").count() == 9
    solve(page)
    assert page.inner_text(".hb-status") in ("solved", "not solved", "more than one solution")
    page.locator("#editor .cell").nth(50).focus()
    page.keyboard.press("#")
    assert page.locator("#editor .wall").count() == 10
    opened.expect_no_errors()


def test_two_models_are_compared_and_stepped_together(opened: Any) -> None:
    page = opened.page
    page.click("#clear")
    page.keyboard.type(PUZZLE)
    page.select_option("#model", "bundled:sudoku-9x9")
    page.select_option("#other", "bundled:sudoku-any-size")
    page.click("#solve")
    page.wait_for_selector(".result:nth-child(2) .hb-status", timeout=120_000)
    captions = page.locator(".hb-caption")
    page.locator(".hb-controls input[type=range]").first.focus()
    page.keyboard.press("Home")
    assert captions.all_inner_texts() == ["puzzle", "puzzle"]
    page.keyboard.press("ArrowRight")
    assert [text[:6] for text in captions.all_inner_texts()] == ["step 1", "step 1"]
    opened.screenshot("play-compared-1280")
    opened.expect_no_errors()


def test_the_largest_sudoku_scrolls_inside_its_frame_on_a_phone(open_page: OpenPage, server: Playing) -> None:
    opened = open_page(server.url, width=360)
    ready(opened.page)
    opened.page.select_option("#sizes select", "25")
    assert opened.page.locator("#editor .cell").count() == 625
    assert opened.overflow() <= 0
    frame = opened.page.evaluate(
        "() => { const grid = document.querySelector('.editor'), row = grid.querySelector('.editor-row');"
        " return row.getBoundingClientRect().right - grid.getBoundingClientRect().right; }"
    )
    assert frame <= 0
    opened.expect_no_errors()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_phones_tablets_and_laptops(
    open_page: OpenPage, server: Playing, width: int, scheme: str
) -> None:
    opened = open_page(server.url, width=width, scheme=scheme, touch=width == 360)
    ready(opened.page)
    assert opened.overflow() <= 0
    solve(opened.page)
    assert opened.overflow() <= 0
    assert opened.without_name() == []
    opened.screenshot(f"play-{width}-{scheme}")
    opened.expect_no_errors()


def test_the_browser_refuses_scripts_that_are_not_the_pages(opened: Any) -> None:
    ran = opened.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'window.ran = 1';"
        " document.body.append(one); return window.ran === 1; }"
    )
    assert ran is False


def test_another_page_cannot_use_the_server(open_page: OpenPage, server: Playing, tmp_path: Path) -> None:
    """Even one that knows the address: a file is another origin."""
    page = tmp_path / "other.html"
    page.write_text("<!doctype html><title>other</title>", encoding="utf-8")
    opened = open_page(page)
    for kind in ("application/json", "text/plain"):
        answer = opened.page.evaluate(
            "([url, kind]) => fetch(url + 'api/solve', {method: 'POST', headers: {'Content-Type': kind}, body: '{}'})"
            ".then(a => a.text(), error => 'refused')",
            [server.url, kind],
        )
        assert answer == "refused"
    read = opened.page.evaluate("url => fetch(url).then(a => a.text(), error => 'refused')", server.url)
    assert read == "refused"
    framed = opened.page.evaluate(
        "url => new Promise(done => { const frame = document.createElement('iframe'); frame.src = url;"
        " frame.onload = () => { try { done(frame.contentDocument ? frame.contentDocument.title : 'closed'); }"
        " catch (error) { done('closed'); } }; document.body.append(frame); })",
        server.url,
    )
    assert framed != "hrm play"


def test_a_wrong_token_and_another_host_are_refused(open_page: OpenPage, server: Playing) -> None:
    opened = open_page(server.url.replace(server.token, "x" * len(server.token)))
    assert "no valid token" in opened.page.content()
    assert opened.page.locator("#solve").count() == 0
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", f"/{server.token}/", headers={"Host": "example.org"})
    assert connection.getresponse().status == 403


def test_ctrl_c_closes_the_server_and_the_page_says_so(open_page: OpenPage) -> None:
    with playing("bundled:sudoku-4x4") as running:
        opened = open_page(running.url)
        ready(opened.page)
        assert running.interrupt() == 130
        assert running.process.stdout is not None
        assert "Traceback" not in "".join(running.errors)
        opened.page.click("#solve")
        opened.page.wait_for_selector("#error:not([hidden])")
        assert "Is it still running?" in opened.page.inner_text("#error")


COPY = '{"copy": {"train": [{"input": [[1, 2]], "output": [[1, 2]]}], "test": [{"input": [[1, 2], [2, 1]]}]}}'


def test_arc_tasks_and_own_puzzles_are_edited_and_answered(
    open_page: OpenPage, arc_checkpoint: Path, own_checkpoint: Path
) -> None:
    with playing(arc_checkpoint, own_checkpoint) as running:
        opened = open_page(running.url, width=768)
        page = opened.page
        ready(page)
        page.click("#paste-part summary")
        page.fill("#text", COPY)
        page.click("#read")
        page.wait_for_selector("#said:not([hidden])")
        test = page.locator("[aria-label='test input'] .cell")
        test.first.focus()
        page.keyboard.type("34")
        assert test.all_inner_texts() == ["3", "4", "2", "1"]
        page.click("#palette button[aria-label='8, sky blue']")
        test.nth(3).click()
        solve(page)
        answer = page.locator(".hb-player .hb-boards.hb-two svg desc").nth(1).text_content()
        assert answer.split() == ["3", "4", "2", "8"]
        rows = page.locator("input[aria-label='test input: rows']")
        rows.fill("3")
        rows.press("Tab")
        assert page.locator("[aria-label='test input'] .cell").count() == 6
        page.click("button:has-text('Add a demonstration')")
        assert page.locator("fieldset").count() == 3
        page.click("#hint")
        page.wait_for_selector("#error:not([hidden])")
        assert "no hint, because there is no verified answer" in page.inner_text("#error")
        opened.screenshot("play-arc-768")

        page.click("#kinds button:has-text('Own puzzle')")
        ready(page)
        page.locator("#editor .cell").first.focus()
        page.keyboard.type("ab<ba<")
        assert page.locator("#editor .cell").all_inner_texts() == ["a", "b", "<c>", "b", "a", "<c>"]
        page.keyboard.press("Enter")
        page.wait_for_selector(".hb-status")
        assert page.inner_text(".hb-status") == "answered"
        page.click("#hint")
        page.wait_for_selector("#said:not([hidden])")
        assert "Not verified" in page.inner_text("#said")
        assert opened.overflow() <= 0
        assert opened.without_name() == []
        opened.expect_no_errors()
