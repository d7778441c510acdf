"""What `hrm solve` shows of ARC tasks on a terminal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hrm_cli.cli import console
from hrm_cli.cli.render.solutions import Report
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.solving.solution import Solution, TraceStep

GRID = np.array([[0, 1], [2, 3]], np.uint8)
ANSWER = np.array([[0, 1], [2, 4]], np.uint8)
SOLUTION = Solution(
    1, "file.json: task t, test 1", "unsolved", "differs from the solution in the file", Puzzle(GRID, domain="arc"),
    ANSWER, False, 2, 21, 0.1, GRID, (TraceStep(1, GRID, 0.0), TraceStep(2, ANSWER, 0.0)), attempt=4, how="votes",
    demonstrations=((GRID, GRID[::-1]),), second=GRID,
)  # fmt: skip


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(console, "is_plain", lambda stream: False)
    made = Report(json=False, trace=True)
    made.begin(are_few=True, are_tasks=True)
    return made


def test_demonstrations_are_shown_once_for_each_task_and_the_traced_copy_is_named(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, where in enumerate(("task t, test 1", "task t, test 2", "task u, test 1"), start=1):
        report.show(ArcDomain(), replace(SOLUTION, index=index, where=f"file.json: {where}"))
    shown = capsys.readouterr().out
    assert shown.count("demonstration 1, 2×2") == 2
    assert shown.count("test input, 2×2") == 3
    assert shown.count("answer, 2×2: 1 of 4 wrong") == 3
    assert shown.count("second answer, 2×2: right") == 3
    assert "puzzle 1 (file.json: task t, test 1, copy 4 of 21)" in shown
    assert "attempt" not in shown
    assert " 2x4" in shown


def test_a_task_without_an_answer_is_drawn_with_what_is_known_of_it(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = replace(SOLUTION, answer=None, second=None, trace=(), attempt=0, attempts=0, steps=0)
    report.show(ArcDomain(), unseen)
    shown = capsys.readouterr().out
    for text in ("demonstration 1", "test input", "expected, 2×2"):
        assert text in shown
    assert "answer" not in shown
