"""The standard streams of a command that may be closed or full: nothing of theirs ends up elsewhere, or as a traceback.

A closed stream acts like `/dev/null`. What cannot be written to stdout is an error of its own; what cannot be
written to stderr is lost, for there is nowhere to say so.
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
    """Opens `/dev/null` in the place of every standard stream that is closed.

    Otherwise the next file that is opened would get its number, and what is printed would end up in it. Python's
    `print` takes stdout where stderr is missing.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            # Programs that are started from here see a sound stream too.
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
    """Writes to stderr, if that can be written to."""
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
    """Lets go of what cannot be written: the interpreter flushes both streams on its way out, and would complain."""
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
