"""The page of `hrm solve --html`: everything inside, bounded, nothing that a text could break."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from hrm_cli.views.web import page
from hrm_cli.views.web.boards import board_of
from hrm_cli.views.web.page import solutions_page

from .test_boards import own_solution, solved_sudoku


def data_of(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_page_holds_all_boards_the_script_and_the_style() -> None:
    boards = [board_of(*solved_sudoku(9)), board_of(*own_solution(("a", "b")))]
    text = solutions_page(boards, heat=True)
    assert data_of(text)["boards"] == json.loads(json.dumps(boards))
    assert data_of(text)["heat"] is True
    assert "<title>2 puzzles, 1 solved: reasoning steps</title>" in text
    assert "{{" not in text
    assert text.count("hrmBoard.player(") >= 1
    assert not re.search(r'(?:src|href)="', text), "nothing is loaded from elsewhere"


def test_texts_of_a_puzzle_cannot_break_out_of_the_page() -> None:
    evil = "</script><script>alert(1)</script>"
    domain, solution = own_solution((evil, "<!--"))
    text = solutions_page([board_of(domain, replace(solution, reason=evil, where=f"{evil}.txt"))])
    assert evil not in text
    assert data_of(text)["boards"][0]["reason"] == evil


def test_markers_in_a_text_are_not_filled_in() -> None:
    domain, solution = own_solution(("{{script}}", "{{style}}"))
    text = solutions_page([board_of(domain, solution)])
    assert data_of(text)["boards"][0]["puzzle"]["symbols"] == ["{{script}}", "{{style}}"]


def test_a_page_leaves_out_steps_rather_than_growing_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_SYMBOLS", 81 * 10)
    domain, solution = solved_sudoku(9)
    steps = tuple(replace(solution.trace[0], step=step) for step in range(1, 101))
    board = board_of(domain, replace(solution, trace=steps))
    kept = [step["step"] for step in data_of(solutions_page([board]))["boards"][0]["steps"]]
    assert len(kept) <= 10
    assert (kept[0], kept[-1]) == (1, 100)
    assert len(board["steps"]) == 100, "the board itself is not changed"
