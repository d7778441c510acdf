"""Functions in the user's own Python files, named as `FILE.py:FUNCTION` on the command line.

The code runs with the rights of the command, and only because the user named it there: no dataset, preset or
checkpoint can name code.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.config.values import names_function
from hrm_cli.errors import ConfigError, type_and_message
from hrm_cli.printable import quoted


def load_function(text: str, option: str) -> Callable[..., Any]:
    """Runs the file of `FILE.py:FUNCTION` and returns the function. `option` starts messages, as in `--check`.

    Raises ConfigError if the file cannot be run or lacks the function.
    """
    file, _, name = text.rpartition(":")
    if not names_function(text):
        raise ConfigError(f"{option} {text}: expected FILE.py:FUNCTION, as in rules.py:is_right")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"{option} {text}: {file}: no such file")
    try:
        found = runpy.run_path(str(path)).get(name)
    except Exception as error:
        raise ConfigError(f"{option} {text}: {file} cannot be run: {type_and_message(error)}") from error
    if not callable(found):
        raise ConfigError(f"{option} {text}: {file} has no function {name}")
    return found


@dataclass(frozen=True)
class OwnCheck:
    """`--check FILE.py:FUNCTION`: a function of input and output, as lists of rows of symbols: is the output right?

    The code runs with the rights of the command, and only because the user named it on the command line: nothing in a
    dataset or a checkpoint can name it.
    """

    name: str
    function: Callable[[list[list[Any]], list[list[Any]]], Any]

    @classmethod
    def load(cls, text: str) -> OwnCheck:
        """The function that `FILE.py:FUNCTION` names. Raises ConfigError."""
        return cls(text, load_function(text, "--check"))

    def accepts(self, given: list[list[Any]], answer: list[list[Any]]) -> bool:
        """What the function returns. Raises ConfigError if it fails or returns anything but True or False."""
        try:
            is_right = self.function(given, answer)
        except Exception as error:
            raise ConfigError(
                f"--check {self.name}: failed on {quoted(given, 200)}: {type_and_message(error)}"
            ) from error
        if not isinstance(is_right, bool):
            raise ConfigError(f"--check {self.name}: returned {quoted(is_right, 40)}; expected True or False")
        return is_right
