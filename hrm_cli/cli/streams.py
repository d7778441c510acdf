"""Handles closed or full standard streams, so that output never goes to another file and causes no traceback.

A closed stream acts like `/dev/null`. A failed write to stdout is a separate error. A failed write to stderr is
ignored, because there is no place left to report it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

from hrm_cli.errors import HRMError


class OutputLost(HRMError):  # noqa: N818 - what happened
    """Standard output cannot be written to: for example, its disk is full."""


def open_missing_streams() -> None:
    """Opens `/dev/null` in place of every closed standard stream.

    Otherwise the next opened file would get its file descriptor, and printed text would be written to that file.
    Without stderr, Python's `print` writes to stdout.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            # Child processes inherit a valid stream too.
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def write_out(text: str) -> None:
    """Writes to stdout. Raises BrokenPipeError, or OutputLost."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from None


def write_error(text: str) -> None:
    """Writes to stderr; errors are ignored."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def flush_out() -> None:
    """Flushes stdout. Raises BrokenPipeError, or OutputLost."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _lost(error) from None


def abandon_unwritable() -> None:
    """Discards output that cannot be written.

    Otherwise the interpreter would report an error when it flushes at exit.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _abandon(stream)


def _abandon(stream: IO[str]) -> None:
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _lost(error: OSError) -> OutputLost:
    return OutputLost(f"standard output: {error.strerror or error}")
