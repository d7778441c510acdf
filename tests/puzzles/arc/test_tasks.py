"""Reading ARC tasks: what is accepted, and messages that name file, task and pair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hrm_cli.errors import PuzzleError
from hrm_cli.puzzles.arc.tasks import read_tasks

PAIR: dict[str, Any] = {"input": [[1]], "output": [[2]]}


def task(**changes: Any) -> dict[str, Any]:
    return {"train": [PAIR, PAIR], "test": [PAIR], **changes}


def written(folder: Path, name: str, document: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_a_task_file_is_named_by_itself(tmp_path: Path) -> None:
    (found,) = read_tasks(written(tmp_path, "ab12.json", task()))
    assert (found.name, len(found.train), len(found.test)) == ("ab12", 2, 1)
    assert found.document()["train"][0] == PAIR


def test_kaggle_challenges_use_the_solutions_next_to_them(tmp_path: Path) -> None:
    challenges = {"a": task(test=[{"input": [[3]]}])}
    file = written(tmp_path, "x_evaluation_challenges.json", challenges)
    assert read_tasks(file)[0].test[0].output is None
    written(tmp_path, "x_evaluation_solutions.json", {"a": [[[4, 4]]]})
    output = read_tasks(file)[0].test[0].output
    assert output is not None
    assert output.tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([1], "t.json: no ARC tasks"),
        ({}, "t.json: no ARC tasks"),
        ({"a": 3}, "t.json: task a: not a task"),
        (task(train=[]), "t.json: task t: no demonstration"),
        (task(test=[]), "t.json: task t: no test pair"),
        (task(train=[PAIR, {"input": [[1]]}]), "t.json: task t, demonstration 2: has no output"),
        (task(train=[{"output": [[1]]}]), "t.json: task t, demonstration 1: not a pair"),
        (
            task(train=[PAIR, {"input": [[1, 2], [3]], "output": [[1]]}]),
            "t.json: task t, demonstration 2, input: row 2 has 1 cell, row 1 has 2",
        ),
        (
            task(test=[PAIR, {"input": [[1]], "output": [[1, 11]]}]),
            "t.json: task t, test pair 2, output: row 1, column 2: found 11; expected a color",
        ),
        (task(test=[{"input": [[True]]}]), "t.json: task t, test pair 1, input: row 1, column 1: found true"),
        (task(test=[{"input": []}]), "t.json: task t, test pair 1, input: 0 rows; 1 to 30 are accepted"),
        (task(test=[{"input": [[]]}]), "0 columns; 1 to 30"),
        (task(test=[{"input": [[0]] * 31}]), "31 rows; 1 to 30"),
        (task(test=[{"input": "no"}]), "not a grid; expected a list of rows"),
        ({"a|||b": task()}, "a task's name"),
    ],
)
def test_errors_name_file_task_and_pair(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(PuzzleError) as raised:
        read_tasks(written(tmp_path, "t.json", document))
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("solutions", "told"),
    [
        ({}, "has no solution for task a"),
        ({"a": [[[1]], [[1]]]}, "task a: 2 solutions for 1 test pairs"),
        ({"a": [[[12]]]}, "task a, solution 1: row 1, column 1: found 12"),
        ({"a": 1}, "task a: expected a list of solutions"),
    ],
)
def test_solutions_that_do_not_match_their_tasks_are_reported(
    tmp_path: Path, solutions: Any, told: str
) -> None:
    file = written(tmp_path, "x_s_challenges.json", {"a": task(test=[{"input": [[3]]}])})
    written(tmp_path, "x_s_solutions.json", solutions)
    with pytest.raises(PuzzleError) as raised:
        read_tasks(file)
    assert told in str(raised.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_not_json_is_reported(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "t.json"
    file.write_bytes(content)
    with pytest.raises(PuzzleError, match=r"t\.json: cannot be read as JSON"):
        read_tasks(file)
