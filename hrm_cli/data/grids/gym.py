"""Tasks of the package reasoning-gym as pairs of grids: `gym:NAME` or `gym:NAME?min_n=3&max_n=6`.

The package is an optional dependency (`pip install 'hrm-cli[gym]'`). A task qualifies if its question holds one grid
that determines the answer, and the answer is a grid, a sequence or a value. Where a question has further parameters,
such as the angle of a rotation, the parameters are fixed, so that the grid alone determines the answer.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from hrm_cli.errors import ConfigError, closest

PREFIX = "gym:"
_ENTRIES = 1 << 30
"""Entries of a task for one seed, more than anyone generates."""

Rows = list[list[str]]
Entry = Mapping[str, Any]
"""A question of reasoning-gym: `question`, `answer` and `metadata`."""


@dataclass(frozen=True)
class GymTask:
    """How a task's questions and answers become grids, and how an answer grid becomes text for its scorer."""

    summary: str
    question: Callable[[Entry], Rows]
    answer: Callable[[Entry], Rows]
    text: Callable[[Rows, Entry], str]
    settings: Mapping[str, Any]
    """Parameters of the task that differ from the package's defaults."""
    keeps: Callable[[Entry], bool] = lambda entry: True
    """Whether a question is used: for tasks that mix questions which their grid does not distinguish."""


@dataclass(frozen=True)
class GymSource:
    """A task of reasoning-gym with its parameters."""

    name: str
    settings: Mapping[str, Any]

    @classmethod
    def parse(cls, source: str) -> GymSource:
        """Parses `gym:NAME?KEY=VALUE&…`. Raises ConfigError for an unknown task or parameter."""
        name, _, query = source.removeprefix(PREFIX).partition("?")
        task = TASKS.get(name)
        if task is None:
            raise ConfigError(
                f"source {source}: no task {name!r}{closest(name, list(TASKS))}; "
                "`hrm build-dataset grids --list gym` lists the tasks"
            )
        given = {key: _value(value) for key, value in parse_qsl(query, keep_blank_values=True)}
        config_class = _package().factory.DATASETS[name][1]
        known = [field.name for field in fields(config_class) if field.name not in ("seed", "size")]
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"source {source}: {name} has no parameter {key!r}{closest(key, known)}; "
                    f"known: {', '.join(known)}"
                )
        settings = {**task.settings, **given}
        try:
            config = config_class(seed=0, size=1, **settings)
            getattr(config, "validate", lambda: None)()
        except (AssertionError, TypeError, ValueError) as error:
            raise ConfigError(f"source {source}: {error}") from None
        return cls(name, settings)

    def entries(self, seed: int) -> Iterator[Entry]:
        """The task's questions for a seed, without end.

        Entry i of the package depends only on seed + i. So seeds are spread far apart; otherwise seeds 0 and 1 would
        give almost the same entries.
        """
        first = seed * _ENTRIES % (1 << 61)
        entries = _package().create_dataset(self.name, seed=first, size=_ENTRIES, **self.settings)
        keeps = TASKS[self.name].keeps
        for index in range(_ENTRIES):
            entry = entries[index]
            if keeps(entry):
                yield entry

    def questions(self, seed: int) -> Iterator[tuple[Rows, Entry]]:
        """Question grids with their entries, without end."""
        for entry in self.entries(seed):
            yield TASKS[self.name].question(entry), entry

    def pairs(self, seed: int) -> Iterator[tuple[Rows, Rows]]:
        """Pairs of question and answer grids, without end."""
        task = TASKS[self.name]
        for entry in self.entries(seed):
            yield task.question(entry), task.answer(entry)

    def score(self, answer: Rows, entry: Entry) -> float:
        """The score between 0 and 1 that the task's own scorer gives to an answer grid."""
        text = TASKS[self.name].text(answer, entry)
        scorer = _package().create_dataset(self.name, seed=0, size=1, **self.settings)
        return float(scorer.score_answer(text, entry))


def _package() -> Any:
    try:
        package = importlib.import_module("reasoning_gym")
        importlib.import_module("reasoning_gym.factory")
    except ImportError as error:
        raise ConfigError(
            "gym: sources need the package reasoning-gym; `pip install 'hrm-cli[gym]'` installs it"
        ) from error
    return package


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _strings(rows: Any) -> Rows:
    return [[str(cell) for cell in row] for row in rows]


def _from(key: str) -> Callable[[Entry], Rows]:
    return lambda entry: _strings(entry["metadata"][key])


def _blanks(key: str) -> Callable[[Entry], Rows]:
    """A grid of the metadata with `_` in empty cells."""
    return lambda entry: [
        ["_" if cell in (0, "0") else str(cell) for cell in row] for row in entry["metadata"][key]
    ]


def _answer_lines(entry: Entry) -> Rows:
    return [line.split() for line in str(entry["answer"]).strip().splitlines()]


def _answer_value(entry: Entry) -> Rows:
    return [[str(entry["answer"]).strip()]]


def _answer_moves(entry: Entry) -> Rows:
    return [list(str(entry["answer"]).strip())]


def _lines(rows: Rows, entry: Entry) -> str:
    return "\n".join(" ".join(row) for row in rows)


def _joined(rows: Rows, entry: Entry) -> str:
    return "".join(cell for row in rows for cell in row)


def _json_of_question(entry: Entry) -> Rows:
    text = str(entry["question"])
    return _strings(ast.literal_eval(text[text.rindex("\n\n") :].strip().rstrip(".")))


def _json_of_answer(entry: Entry) -> Rows:
    return _strings(ast.literal_eval(str(entry["answer"])))


def _as_json(rows: Rows, entry: Entry) -> str:
    return "[" + ",".join("[" + ",".join(row) + "]" for row in rows) + "]"


def _sokoban(entry: Entry) -> Rows:
    return [line.split() for line in entry["metadata"]["gamestr"].strip().splitlines()]


def _maze(entry: Entry) -> Rows:
    """The maze with the same symbols in every question: `#` wall, space as `.`, `S` start, `G` goal."""
    facts = entry["metadata"]
    meaning = {facts["wall"]: "#", facts["path"]: ".", facts["start"]: "S", facts["goal"]: "G"}
    return [[meaning[cell] for cell in row] for row in facts["grid"]]


def _emoji_lines(text: str) -> Rows:
    return [
        list(line.strip())
        for line in text.strip().splitlines()
        if set(line.strip()) <= set("❌✅❔") and line.strip()
    ]


def _futoshiki(entry: Entry) -> Rows:
    """Cells at even positions, constraints between them: `<` and `>` within a row, `^` and `v` within a column."""
    facts = entry["metadata"]
    size = len(facts["puzzle"])
    rows = [["." for _ in range(2 * size - 1)] for _ in range(2 * size - 1)]
    for r, line in enumerate(facts["puzzle"]):
        for c, cell in enumerate(line):
            rows[2 * r][2 * c] = str(cell) if cell else "_"
    for r1, c1, r2, c2, sign in facts["constraints"]:
        rows[r1 + r2][c1 + c2] = sign if r1 == r2 else {"<": "^", ">": "v"}[sign]
    return rows


def _futoshiki_text(rows: Rows, entry: Entry) -> str:
    """The digits of an answer in the layout of the question, with its inequality signs, which the scorer expects."""
    digits = (cell for row in rows for cell in row)
    return "".join(next(digits, "_") if cell.isdigit() else cell for cell in str(entry["answer"]))


def _kakurasu(entry: Entry) -> Rows:
    """Empty cells with the sums of the rows at the right and the sums of the columns below."""
    facts = entry["metadata"]
    rows = [["_"] * facts["n_cols"] + [str(total)] for total in facts["row_sums"]]
    return [*rows, [*map(str, facts["col_sums"]), "."]]


def _survo(entry: Entry) -> Rows:
    """The puzzle, and below it the numbers to place, in ascending order, in as many rows as they need."""
    facts = entry["metadata"]
    width = len(facts["puzzle"][0])
    numbers = sorted(facts["candidate_numbers"])
    rows = [["_" if cell == 0 else str(cell) for cell in row] for row in facts["puzzle"]]
    for start in range(0, len(numbers), width):
        line = [str(number) for number in numbers[start : start + width]]
        rows.append(line + ["."] * (width - len(line)))
    return rows


TASKS: dict[str, GymTask] = {
    "binary_matrix": GymTask(
        "distance of every cell to the nearest 0", _from("matrix"), _answer_lines, _lines, {}
    ),
    "futoshiki": GymTask(
        "Latin square with inequalities between cells",
        _futoshiki,
        _from("solution"),
        _futoshiki_text,
        {"min_board_size": 4, "max_board_size": 4},
    ),
    "game_of_life": GymTask(
        "the board after one step",
        _json_of_question,
        _json_of_answer,
        _as_json,
        {"filled_cells": 30, "simulation_steps": 1},
    ),
    "kakurasu": GymTask(
        "place ones so that weighted sums of rows and columns match", _kakurasu, _answer_lines, _lines, {}
    ),
    "largest_island": GymTask(
        "size of the largest component of ones", _from("grid"), _answer_value, _joined, {}
    ),
    "manipulate_matrix": GymTask(
        "mirror along the diagonal (other operations: the parameters w_…)",
        _from("matrix"),
        _answer_lines,
        _lines,
        {
            "min_transforms": 1,
            "max_transforms": 1,
            "w_rotate": 0,
            "w_hmirror": 0,
            "w_vmirror": 0,
            "w_dmirror": 1,
            "w_cmirror": 0,
            "w_map": 0,
            "w_crop": 0,
            "w_remove_every_nth_row": 0,
            "w_remove_every_nth_col": 0,
            "w_zero_divisible": 0,
        },
    ),
    "maze": GymTask("number of steps from S to G", _maze, _answer_value, _joined, {}),
    "mini_sudoku": GymTask("4×4 Sudoku", _blanks("puzzle"), _answer_lines, _lines, {}),
    "modulo_grid": GymTask(
        "fill the holes of a pattern of remainders",
        lambda entry: _emoji_lines(entry["question"]),
        lambda entry: _emoji_lines(entry["answer"]),
        lambda rows, entry: "\n".join("".join(row) for row in rows),
        {"size_x": 10, "size_y": 10, "max_divisor": 10, "max_target": 10},
    ),
    "n_queens": GymTask("complete the placement of n queens", _from("puzzle"), _answer_lines, _lines, {}),
    "pool_matrix": GymTask(
        "the maximum of every window of 2×2",
        _from("matrix"),
        _answer_lines,
        _lines,
        {"min_pool_size": 2, "max_pool_size": 2},
        lambda entry: entry["metadata"]["pool_type"] == "max",
    ),
    "rotate_matrix": GymTask(
        "rotate by 90° clockwise",
        _from("matrix"),
        _answer_lines,
        _lines,
        {"min_rotations": 1, "max_rotations": 1},
    ),
    "rotten_oranges": GymTask(
        "minutes until all are rotten", _from("matrix"), _answer_value, _joined, {"min_n": 5, "max_n": 10}
    ),
    "shortest_path": GymTask(
        "moves from * to #", _from("matrix"), lambda entry: [str(entry["answer"]).split()], _lines, {}
    ),
    "sokoban": GymTask("moves that push every box to a goal", _sokoban, _answer_moves, _joined, {}),
    "spiral_matrix": GymTask("the cells in spiral order", _from("matrix"), _answer_lines, _lines, {}),
    "sudoku": GymTask("9×9 Sudoku", _blanks("puzzle"), _answer_lines, _lines, {}),
    "survo": GymTask("place numbers so that rows and columns add up", _survo, _answer_lines, _lines, {}),
    "tsumego": GymTask(
        "the move that captures, as a coordinate",
        lambda entry: _strings(entry["metadata"]["board"]),
        _answer_value,
        _joined,
        {},
    ),
}
"""The tasks that qualify, by name."""
