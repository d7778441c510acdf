"""The kinds of input: each makes one from a random generator and returns what reads it."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Read = Callable[[], object]
Make = Callable[[random.Random, Path], Read]


@dataclass(frozen=True)
class Kind:
    """One reader, or one command."""

    make: Make
    weight: float
    """Its share of the inputs."""


KINDS: dict[str, Kind] = {}
SHOWN: list[str] = []
"""What the input being read has led to on the screen, next to the error that it ended with."""
STATE: dict[str, Any] = {}
"""What is made once and used by many inputs: models, a run."""


def kind(weight: float) -> Callable[[Make], Make]:
    """Registers a function as the kind of its name."""

    def register(make: Make) -> Make:
        KINDS[make.__name__] = Kind(make, weight)
        return make

    return register


def reference_run() -> Path:
    """A finished run of this version with its dataset."""
    run: Path = STATE["run"]
    return run


@contextlib.contextmanager
def captured() -> Iterator[None]:
    """Collects what is printed in the block."""
    stream = io.StringIO()
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        SHOWN.append(stream.getvalue())


def command(*words: object) -> None:
    """Runs `hrm` in this process; its own errors are printed as `hrm` does."""
    from hrm_cli.cli import console
    from hrm_cli.cli.app import _run
    from hrm_cli.errors import HRMError

    with captured():
        try:
            _run([str(word) for word in words])
        except HRMError as error:
            console.print_error(str(error))
        except OSError as error:
            console.print_error(f"{error.filename}: {error.strerror}")
