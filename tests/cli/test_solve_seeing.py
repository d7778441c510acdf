"""`hrm solve --live`, `--gif`, `--png`, `--html` and `--heatmap`."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hrm_cli.cli.render import live
from hrm_cli.puzzles.arc.domain import ArcDomain
from hrm_cli.puzzles.domain import Puzzle
from hrm_cli.puzzles.maze.domain import MazeDomain
from hrm_cli.puzzles.sudoku.domain import SudokuDomain
from hrm_cli.solving.solution import CellChances, Solution, TraceStep
from hrm_cli.views.heat import heat_lines

EASY = "1.3..4...3....2."
OTHER = "....41.....33.4."
pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra pictures)")


@pytest.mark.slow(seconds=5)
def test_all_pictures_are_written_and_the_answers_are_printed_as_always(run_hrm, tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(f"{EASY}\n{OTHER}\n")
    files = {name: tmp_path / f"a.{name}" for name in ("gif", "png", "html")}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    done = run_hrm("solve", tmp_path / "two.txt", *options, "--picture", tmp_path / "a.svg", cwd=tmp_path)
    assert done.status == 0
    assert done.stdout == run_hrm("solve", tmp_path / "two.txt").stdout
    assert files["gif"].read_bytes().startswith(b"GIF89a")
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    page = files["html"].read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    boards = json.loads(found[1])["boards"]
    assert [board["status"] for board in boards] == ["solved", "solved"]
    assert [board["puzzle"]["symbols"] for board in boards] == [EASY, OTHER]
    assert all(len(step["confidence"]) == 16 for board in boards for step in board["steps"])
    assert str(tmp_path) not in page


def test_wrong_requests_are_refused_before_anything_is_solved(run_hrm, tmp_path: Path) -> None:
    for options, message in (
        (("--gif", "a.png"), "--gif a.png: expected a name that ends in .gif"),
        (("--html", "missing/a.html"), "does not exist"),
        (("--live", "--json"), "--live: not with --json"),
        (("--heatmap", "--json"), "--heatmap: --json prints nothing but records"),
    ):
        done = run_hrm("solve", EASY, *options, cwd=tmp_path)
        assert done.status == 2
        assert message in done.stderr
        assert done.stdout == ""


def test_without_a_terminal_live_prints_every_step_and_says_why(run_hrm) -> None:
    done = run_hrm("solve", EASY, "--live")
    assert "--live: the output is not a terminal, so every step is printed" in done.stderr
    assert done.stdout == run_hrm("solve", EASY, "--trace").stdout
    assert "--live" not in run_hrm("solve", EASY, "--live", "--quiet").stderr


def test_without_colors_the_confidence_is_a_grid_of_percentages(run_hrm) -> None:
    done = run_hrm("solve", EASY, "--heatmap")
    lines = done.stdout.splitlines()
    title = next(number for number, line in enumerate(lines) if line.startswith("confidence of each cell"))
    cells = [line.split() for line in lines[title + 1 : title + 5]]
    assert [cell == "." for row in cells for cell in row] == [symbol != "." for symbol in EASY]
    assert all(0 <= int(cell) <= 99 for row in cells for cell in row if cell != ".")


def test_wide_grids_show_tens_of_percents() -> None:
    from hrm_cli.views.drawing import draw

    drawing = draw(MazeDomain(4, 30), np.ones((4, 30), np.uint8))
    lines = heat_lines(drawing, [100, 95, 9, *[50] * 117], {3})
    assert lines[0].startswith("990.55")
    assert len(lines[0]) == 30


def traced(steps: int = 3) -> tuple[SudokuDomain, Solution]:
    domain = SudokuDomain(9)
    answer = np.array(
        [[(row % 3 * 3 + row // 3 + column) % 9 + 1 for column in range(9)] for row in range(9)], np.uint8
    )
    puzzle = answer.copy()
    puzzle.flat[1::2] = 0
    trace = []
    for step in range(1, steps + 1):
        grid = answer.copy()
        grid.flat[(2 * step + 1) % 80] = 1
        chances = CellChances(np.full((81, 1), 3, np.uint8), np.full((81, 1), 0.5))
        trace.append(TraceStep(step, grid, float(step), chances))
    return domain, Solution(
        1, "x:1", "solved", puzzle=Puzzle(puzzle), answer=answer, truth=answer, trace=tuple(trace)
    )


def screen(width: int = 80, height: int = 24, **options: object) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        color_system="truecolor",
        **options,
    )  # type: ignore[arg-type]


def played(terminal: Console, solution: Solution, domain: SudokuDomain, *, heat: bool = False) -> str:
    live.play(terminal, domain, solution, heat=heat)
    return terminal.file.getvalue()  # type: ignore[attr-defined]


def test_steps_are_played_in_one_place_and_the_cursor_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(live.time, "sleep", pauses.append)
    domain, solution = traced(3)
    shown = played(screen(), solution, domain)
    assert [f"step {step}: " in shown for step in (1, 2, 3)] == [True] * 3
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert "\x1b[1A" in shown, "the cursor moves up to the place of the step before"
    assert pauses == [live.STEP_SECONDS] * 3
    pauses.clear()
    played(screen(), traced(1000)[1], domain)
    assert sum(pauses) <= 1000 * live.SHORTEST_SECONDS


def test_heat_colors_cells_and_no_color_marks_changes_with_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    domain, solution = traced(3)
    assert "48;2;249;115;22" in played(screen(), solution, domain, heat=True)
    plain = played(screen(no_color=True), solution, domain)
    assert "48;2" not in plain
    assert "*" in plain


def test_a_grid_that_does_not_fit_leaves_its_title_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    domain, solution = traced(2)
    shown = played(screen(width=70, height=9), solution, domain)
    assert "needs a terminal of 21×14; this one has 70×9" in shown
    assert "step 2" in shown
    assert shown.count("\n") < 40


def test_the_steps_on_an_arc_task_are_played_in_its_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    grids = [np.zeros((0, 0), np.uint8), np.full((2, 3), 4, np.uint8)]
    trace = tuple(TraceStep(number, grid, 0.0) for number, grid in enumerate(grids, 1))
    solution = Solution(1, "", "unsolved", puzzle=Puzzle(grids[1]), answer=grids[1], trace=trace)
    terminal = screen()
    live.play(terminal, ArcDomain(), solution, heat=True)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "(no grid)" in shown
    assert "48;2;255;220;0" in shown


def test_an_interrupt_leaves_the_cursor_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live.time, "sleep", interrupted)
    terminal = screen()
    domain, solution = traced(3)
    with pytest.raises(KeyboardInterrupt):
        live.play(terminal, domain, replace(solution))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


@pytest.mark.slow(seconds=10)
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_ctrl_c_during_the_steps_still_prints_the_answer(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "hrm_cli", "solve", EASY, "--live", "--halt", "full"],
        stdin=subprocess.DEVNULL, stdout=child, stderr=subprocess.PIPE,
        env=environment | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(child)
    shown, is_sent, deadline = b"", False, time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            more = os.read(parent, 65536)
        except OSError:
            break
        shown += more
        if b"step 2" in shown and not is_sent:
            process.send_signal(signal.SIGINT)
            is_sent = True
    os.close(parent)
    assert is_sent
    assert process.wait(60) == 130
    assert process.stderr is not None
    process.stderr.close()
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert "1 solved in" in text
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h")
