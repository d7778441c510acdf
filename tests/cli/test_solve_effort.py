"""`hrm solve` tries harder: the stages that are requested, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .copying import BLANKS, COMPLETE, records

MAZE = """\
...#......
#.#.#.#.#.
#.#...#...
#.#######S
#.....#...
#G###.#.##
#.....#...
#.#.#...#.
....#.....
##########
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ("pass", 1, 0)),
        (("--effort", "low"), ("pass", 8, 0)),
        (("--search", 30), ("search", 1, 9)),
        (("--search", 30, "--search-rules"), ("search", 1, 2)),
        (("--search", 1), ("pass", 1, 1)),
        (("--search", 0, "--restarts", 2), ("pass", 3, 0)),
        (("--effort", "medium", "--attempts", 1, "--restarts", 0), ("search", 1, 9)),
        (("--effort", "high", "--max-seconds", 0), ("pass", 1, 0)),
    ],
)
def test_other_checkpoints_get_the_effort_that_is_asked_for(
    hrm_solve: Any, options: tuple[object, ...], expected: tuple[str, int, int]
) -> None:
    (record,) = records(hrm_solve(COMPLETE[:-1] + ".", "--json", *options).stdout)
    how, attempts, nodes = expected
    assert (record["how"], record["attempts"]) == (how, attempts)
    # The model knows nothing of the last cell: which of nine digits comes first is a matter of rounding.
    assert record["nodes"] <= 1 + nodes
    assert (record["nodes"] > 0) == (nodes > 0)
    assert (record["status"] == "solved") == (how == "search")
    assert record["total_steps"] >= record["steps"]


@pytest.mark.parametrize("name", ["--search", "--restarts", "--attempts", "--effort"])
def test_a_saved_state_is_of_one_pass(hrm_solve: Any, tmp_path: Path, name: str) -> None:
    value = "high" if name == "--effort" else 9
    done = hrm_solve(BLANKS, name, value, "--save-carry", tmp_path / "state.safetensors")
    assert done.status == 2
    assert f"{name}: a saved state belongs to one pass" in done.stderr


def test_a_maze_that_one_pass_does_not_solve_is_searched_with_further_walls(
    run_hrm: Any, tmp_path: Path
) -> None:
    (tmp_path / "maze.txt").write_text(MAZE)
    command = ("solve", "maze.txt", "--attempts", 1, "--max-steps", 1, "--json", "--trace", "--search")
    done = run_hrm(*command, 8, "--search-steps", 16, cwd=tmp_path)
    record = json.loads(done.stdout.splitlines()[0])
    assert (record["how"], record["status"]) == ("search", "solved")
    assert record["nodes"] >= 1
    assert record["trace"][-1]["grid"] == record["answer"]
