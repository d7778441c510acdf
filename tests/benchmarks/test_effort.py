"""benchmarks/effort.py: a table of what each kind of effort reaches, saved as it was printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hrm_cli.data.request import BuildRequest, build_request

from ..running import Finished, run_script  # noqa: TID252

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "effort.py"


def run(*arguments: object) -> Finished:
    return run_script(SCRIPT, *arguments)


def test_every_kind_has_a_line_and_none_solves_less_than_the_pass(tmp_path: Path) -> None:
    (tmp_path / "puzzles.csv").write_text(
        "source,question\na,..1..4...3....2.\nb,123412..........\nb,....41.....33.4.\n"
    )
    done = run("bundled:sudoku-4x4", tmp_path / "puzzles.csv", "--save", tmp_path / "table.txt")
    assert done.status == 0, done.stderr
    lines = (tmp_path / "table.txt").read_text().splitlines()
    assert lines == done.stdout.splitlines()
    kinds = ["pass", "depth", "copies-8", "search-64", "search-64-rules"]
    kinds += ["restarts-8", "restarts-32", "search-512"]
    assert [line.split()[0] for line in lines[3:]] == kinds
    solved = [float(line.split()[1].rstrip("%")) for line in lines[3:]]
    assert min(solved) == solved[0] > 0
    assert all("b " in line for line in lines[3:])


def test_puzzles_of_another_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "puzzles.txt").write_text("1" + "." * 80)
    done = run("bundled:sudoku-4x4", tmp_path / "puzzles.txt")
    assert done.status == 2
    assert "no puzzle in it is one of 4×4 Sudoku" in done.stderr


def test_a_dataset_folder_is_measured_by_set_and_selectors_are_compared(tmp_path: Path) -> None:
    settings = {"size": 10, "min_path": 8, "num_train": 1, "num_test": 6}
    build_request(BuildRequest("maze", tmp_path / "mazes", settings))
    done = run("bundled:maze-any-size", tmp_path / "mazes", "--kinds", "pass,search-64", "--selectors", 2)
    assert done.status == 0, done.stderr
    *_, passed, search, selectors = done.stdout.splitlines()
    assert passed.split()[-2] == "all"
    assert search.split()[0] == "search-64"
    assert search.endswith("all 100.0%")
    found = re.fullmatch(
        r"selectors: 6 puzzles, 2 starts .* of (\d); picked: verify (\d), confidence (\d), q_halt (\d), "
        r"residual (\d), agreement (\d)",
        selectors,
    )
    assert found is not None, selectors
    among, verified, *others = map(int, found.groups())
    assert among == verified >= max(others) > 0


@pytest.mark.slow(seconds=9)
def test_an_interrupted_measurement_continues_and_another_one_is_refused(tmp_path: Path) -> None:
    puzzles, records = tmp_path / "puzzles.csv", tmp_path / "records.jsonl"
    puzzles.write_text("source,question\na,..1..4...3....2.\na,123412..........\na,.............4..\n")
    words = ("bundled:sudoku-4x4", puzzles, "--kinds", "depth,search-64,search-512", "--records", records)
    whole = run(*words)
    assert whole.status == 0, whole.stderr
    lines = records.read_text().splitlines(keepends=True)
    kinds_of = [json.loads(line)["kind"] for line in lines[1:]]
    assert kinds_of.count("pass") == 3
    assert kinds_of.count("search-64") <= kinds_of.count("pass")
    # Cut off within a line, as an interrupt may leave it.
    records.write_text("".join(lines[:3]) + lines[3][:9])
    again = run(*words)
    assert again.status == 0, again.stderr
    assert records.read_text().startswith("".join(lines[:3]))

    def solved(text: str) -> list[str]:
        return [" ".join(line.split()[:7]) for line in text.splitlines()[3:]]

    assert solved(again.stdout) == solved(whole.stdout)
    puzzles.write_text("source,question\na,..1..4...3....2.\n")
    refused = run(*words)
    assert refused.status == 2
    assert "records.jsonl: its puzzles is" in refused.stderr


def test_kinds_that_are_unknown_are_named(tmp_path: Path) -> None:
    refused = run("bundled:sudoku-4x4", tmp_path / "absent.csv", "--kinds", "pass,deep")
    assert refused.status == 2
    assert "--kinds: deep unknown; known: pass, depth" in refused.stderr
