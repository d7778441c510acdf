"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hrm_cli.errors import ConfigError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A file to write text to, which takes its name when the block ends well; an older file stays until then.

    When the block is interrupted (Ctrl-C, a signal), what was written so far is kept as NAME.partial; when it
    fails otherwise, nothing is. Raises ConfigError where no such file can be written.
    """
    refuse_unwritable(path)
    target = path.resolve()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        stream = unfinished.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        with stream:
            yield stream
        unfinished.replace(target)
    except (KeyboardInterrupt, SystemExit):
        unfinished.replace(target.with_name(f"{target.name}.partial"))
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Raises ConfigError where it can be known beforehand that no file can be written to `path`."""
    target = path.resolve()
    if target.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file")
    if target.exists() and not target.is_file():
        raise ConfigError(
            f"{path}: is no ordinary file, and only such a file can be written whole or not at all"
        )
    if not target.parent.is_dir():
        raise ConfigError(f"{path}: the folder {target.parent} does not exist")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise ConfigError(f"{path}: may not be written (permission denied)")
