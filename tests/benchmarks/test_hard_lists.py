"""benchmarks/hard_lists.py and benchmarks/famous.py: the tables behind benchmarks/results."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from hrm_cli.puzzles.domain import make_domain

from ..running import Finished, run_script  # noqa: TID252

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def run(script: str, *arguments: object) -> Finished:
    return run_script(BENCHMARKS / script, *arguments)


def test_every_collection_and_level_is_counted(tmp_path: Path) -> None:
    puzzles, table = tmp_path / "puzzles.csv", tmp_path / "table.txt"
    puzzles.write_text("source,question\na,..1..4...3....2.\nb,..3.....2......1\nb,....41.....33.4.\n")
    done = run("hard_lists.py", puzzles, "--model", "bundled:sudoku-4x4", "--save", table)
    assert done.status == 0, done.stderr
    assert table.read_text() == done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert rows["a"][0] == "1"
    assert rows["b"][0] == "2"
    assert rows["together"][0] == "3"
    counts = [int(rows["together"][place]) for place in (1, 4, 7)]
    assert counts == sorted(counts)
    assert counts[-1] >= 2
    assert list(rows).index("pass") < list(rows).index("steps-32") < list(rows).index("high")


def test_hard_lists_are_skipped_where_the_lists_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["hard_lists.py"])
    found = runpy.run_path(str(BENCHMARKS / "hard_lists.py"))
    monkeypatch.setitem(found["main"].__globals__, "PUZZLES", tmp_path / "absent.csv")
    found["main"]()
    assert "absent; name a file of puzzles" in capsys.readouterr().out


def test_the_famous_puzzles_have_one_solution_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    famous = runpy.run_path(str(BENCHMARKS / "famous.py"))["FAMOUS"]
    sudoku = make_domain("sudoku", size=9)
    assert len(set(famous.values())) == 10
    assert [sudoku.diagnose(sudoku.parse(text).grid).solutions for text in famous.values()] == [1] * 10


@pytest.mark.slow(seconds=10)
def test_one_line_says_how_each_famous_puzzle_was_solved(tmp_path: Path) -> None:
    results = (BENCHMARKS / "results" / "famous.txt").read_text().splitlines()
    assert len(results) == 14
    assert all(" solved " in line for line in results[3:13])
    training = tmp_path / "training.txt"
    # The AI Escargot, its digits 1 and 2 exchanged.
    training.write_text("2....7.9..3..1...8..96..5....53..9...2..8...16....4...3......2..4......7..7...3..\n")
    names = ("AI Escargot", "Inkala 2012", "Red Dwarf")
    done = run("famous.py", "--effort", "low", "--training", training, "--only", *names)
    assert done.status == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "also in the training file" in line] == [
        line for line in done.stdout.splitlines() if line.startswith("AI Escargot")
    ]
    found = re.search(r"solved and verified: (\d) of 3", done.stdout)
    assert found is not None
    assert int(found[1]) >= 2
