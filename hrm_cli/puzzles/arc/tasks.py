"""Reads ARC tasks from JSON: one task per file, as the authors publish them, or the two files of Kaggle's layout.

Every grid is checked. Error messages contain the file, the task and the pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrm_cli.errors import PuzzleError
from hrm_cli.json_text import load_json
from hrm_cli.printable import counted
from hrm_cli.puzzles.arc.kernels import SIDE
from hrm_cli.puzzles.arc.symmetry import COLORS, SEPARATOR
from hrm_cli.puzzles.domain import Grid

CHALLENGES, SOLUTIONS = "_challenges.json", "_solutions.json"
"""File name endings of Kaggle's layout."""


@dataclass(frozen=True)
class Pair:
    """An input grid and its output grid, or None if the output is unknown."""

    input: Grid
    output: Grid | None = None


@dataclass(frozen=True)
class Task:
    """A task: demonstration pairs and test pairs."""

    name: str
    train: tuple[Pair, ...]
    """The demonstrations; their outputs are always known."""
    test: tuple[Pair, ...]
    where: str = ""
    """The file that contains the task."""

    def document(self) -> dict[str, Any]:
        """The task as JSON, without unknown outputs."""
        return {
            role: [
                {
                    "input": pair.input.tolist(),
                    **({} if pair.output is None else {"output": pair.output.tolist()}),
                }
                for pair in pairs
            ]
            for role, pairs in (("test", self.test), ("train", self.train))
        }


def parse_grid(rows: Any, where: str) -> Grid:
    """Parses a grid from JSON. Raises PuzzleError, with `where`, the row and the error."""
    prefix = f"{where}: " if where else ""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise PuzzleError(f"{prefix}not a grid; expected a list of rows, as in [[0, 1], [2, 3]]")
    widths = [len(row) for row in rows]
    if not 1 <= len(rows) <= SIDE:
        raise PuzzleError(f"{prefix}{len(rows)} rows; 1 to {SIDE} are accepted")
    if len(set(widths)) > 1:
        odd = next(number for number, width in enumerate(widths) if width != widths[0])
        raise PuzzleError(
            f"{prefix}row {odd + 1} has {counted(widths[odd], 'cell')}, row 1 has {widths[0]}; "
            "all rows of a grid have the same length"
        )
    if not 1 <= widths[0] <= SIDE:
        raise PuzzleError(f"{prefix}{widths[0]} columns; 1 to {SIDE} are accepted")
    for number, row in enumerate(rows, start=1):
        for column, cell in enumerate(row, start=1):
            # In Python, True is an int and 1 == 1.0, so compare the exact type.
            if type(cell) is not int or not 0 <= cell < COLORS:
                raise PuzzleError(
                    f"{prefix}row {number}, column {column}: found {json.dumps(cell)}; "
                    f"expected a color, a whole number from 0 to {COLORS - 1}"
                )
    return np.array(rows, dtype=np.uint8)


def parse_task(document: Any, name: str, where: str, solutions: Sequence[Any] | None = None) -> Task:
    """Parses a task from a JSON object with `train` and `test`. Raises PuzzleError, with file, task and pair.

    `solutions`: the outputs of the test pairs, if they are in another file.
    """
    label = f"{where}: task {name}"
    if SEPARATOR in name or not name:
        raise PuzzleError(f"{label}: a task's name must not be empty and must not contain {SEPARATOR}")
    if not isinstance(document, Mapping) or not all(
        isinstance(document.get(role), list) for role in ("train", "test")
    ):
        raise PuzzleError(f'{label}: not a task; expected {{"train": [pair, …], "test": [pair, …]}}')
    train = _pairs(document["train"], f"{label}, demonstration", needs_output=True)
    test = _pairs(document["test"], f"{label}, test pair", needs_output=False)
    if not train or not test:
        raise PuzzleError(f"{label}: no {'test pair' if train else 'demonstration'}; expected at least one")
    if solutions is not None:
        if len(solutions) != len(test):
            raise PuzzleError(f"{label}: {len(solutions)} solutions for {len(test)} test pairs")
        test = [
            Pair(pair.input, parse_grid(rows, f"{label}, solution {number}"))
            for number, (pair, rows) in enumerate(zip(test, solutions, strict=True), start=1)
        ]
    return Task(name, tuple(train), tuple(test), where)


def _pairs(documents: list[Any], label: str, *, needs_output: bool) -> list[Pair]:
    pairs = []
    for number, document in enumerate(documents, start=1):
        if not isinstance(document, Mapping) or "input" not in document:
            raise PuzzleError(f'{label} {number}: not a pair; expected {{"input": grid, "output": grid}}')
        given = document.get("output")
        if given is None and needs_output:
            raise PuzzleError(
                f"{label} {number}: has no output; a demonstration needs an input and an output"
            )
        pairs.append(
            Pair(
                parse_grid(document["input"], f"{label} {number}, input"),
                None if given is None else parse_grid(given, f"{label} {number}, output"),
            )
        )
    return pairs


def read_json(file: Path) -> Any:
    """Reads a JSON file. Raises PuzzleError if it cannot be read."""
    try:
        return load_json(file)
    except FileNotFoundError:
        raise PuzzleError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise PuzzleError(f"{file}: cannot be read as JSON ({error})") from None


def read_tasks(file: Path) -> list[Task]:
    """Reads the tasks of a file: a single task, or Kaggle's challenges.

    Solutions are read from the file next to the challenges, if there is one.
    """
    solutions = None
    if file.name.endswith(CHALLENGES):
        beside = file.with_name(f"{file.name.removesuffix(CHALLENGES)}{SOLUTIONS}")
        solutions = beside if beside.is_file() else None
    return list(parse_tasks(read_json(file), str(file), file.stem, solutions))


def parse_tasks(document: Any, where: str, name: str, solutions_file: Path | None = None) -> Iterator[Task]:
    """Parses the tasks of a JSON document: a single task, or an object of tasks by name.

    `name` is the name of a single task if the document does not contain one.
    """
    if not isinstance(document, Mapping) or not document:
        raise PuzzleError(f"{where}: no ARC tasks; expected a task, or an object of tasks by name")
    if isinstance(document.get("train"), list):
        own = document.get("id") or document.get("name")
        yield parse_task(document, own if isinstance(own, str) else name, where)
        return
    solutions = {} if solutions_file is None else read_json(solutions_file)
    if not isinstance(solutions, Mapping):
        raise PuzzleError(f"{solutions_file}: expected an object of solutions by task name")
    for task, content in document.items():
        given = solutions.get(task)
        if given is not None and not isinstance(given, list):
            raise PuzzleError(f"{solutions_file}: task {task}: expected a list of solutions")
        if given is None and solutions_file is not None:
            raise PuzzleError(f"{solutions_file}: has no solution for task {task}, which is in {where}")
        yield parse_task(content, task, where, given)
