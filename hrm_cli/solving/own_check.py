"""`--check FILE.py:FUNCTION`: the user's own rule for answers to own puzzles.

The code runs with the rights of the command, and only because the user named it on the command line: nothing in a
dataset or a checkpoint can name it.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrm_cli.errors import ConfigError
from hrm_cli.puzzles.grids.domain import GridsDomain
from hrm_cli.solving.solution import Solution


@dataclass(frozen=True)
class OwnCheck:
    """A function of input and output, as lists of rows of symbols, that returns whether the output is right."""

    name: str
    function: Callable[[list[list[Any]], list[list[Any]]], Any]

    @classmethod
    def load(cls, text: str) -> OwnCheck:
        """The function that `FILE.py:FUNCTION` names. Raises ConfigError."""
        file, _, name = text.rpartition(":")
        if not file.endswith(".py") or not name.isidentifier():
            raise ConfigError(f"--check {text}: FILE.py:FUNCTION is expected, as in rules.py:is_right")
        path = Path(file)
        if not path.is_file():
            raise ConfigError(f"--check {text}: {file}: no such file")
        try:
            found = runpy.run_path(str(path)).get(name)
        except Exception as error:
            raise ConfigError(f"--check {text}: {file} cannot be run: {_told(error)}") from error
        if not callable(found):
            raise ConfigError(f"--check {text}: {file} has no function {name}")
        return cls(text, found)

    def judged(self, solution: Solution, domain: GridsDomain) -> Solution:
        """An answered puzzle as solved or unsolved, every other as it is. Raises ConfigError if the function fails."""
        if solution.status != "answered" or solution.puzzle is None or solution.answer is None:
            return solution
        try:
            is_right = self.function(domain.record(solution.puzzle.grid), domain.record(solution.answer))
        except Exception as error:
            raise ConfigError(f"--check {self.name}: failed on {solution.where}: {_told(error)}") from error
        if not isinstance(is_right, bool):
            raise ConfigError(f"--check {self.name}: returned {is_right!r:.40}; True or False is expected")
        if is_right:
            return replace(solution, status="solved", verified=True, one_pass=True)
        return replace(solution, status="unsolved", reason=f"refused by {self.name}")


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
