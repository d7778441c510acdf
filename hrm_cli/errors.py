"""Errors that a user can fix. The CLI turns each into one message and an exit status, never a traceback."""

from __future__ import annotations

from hrm_cli.printable import cut, printable, shortened


class HRMError(Exception):
    """Base class of all errors whose message is written for users.

    The message contains the file, line or key at fault, the value found, and the values accepted. Control characters,
    which may come from a file's name or content, are escaped. Very long messages are shortened.
    """

    exit_status = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(printable(message)))


class ConfigError(HRMError):
    """A preset, an override or an option is wrong."""


class PuzzleError(HRMError):
    """A puzzle, or a file of puzzles, cannot be read."""


class DatasetError(HRMError):
    """A dataset folder is missing or damaged, or cannot be used for this purpose."""


class CheckpointError(HRMError):
    """A checkpoint is missing or damaged, or cannot be used for this purpose."""


class TrainingDiverged(HRMError):  # noqa: N818 - the name describes the event
    """The loss became non-finite or exploded. The command itself worked, so the exit status is 1."""

    exit_status = 1


EXIT_FAULT = 70
"""Exit status of an internal error (`EX_SOFTWARE` in sysexits.h)."""


def fault(error: BaseException) -> str:
    """A one-line message for an internal error, with how to report it."""
    return (
        f"an internal error of hrm ({type_and_message(error)}). Please report it, with what `hrm info` prints "
        "and the traceback that the same command shows with --debug"
    )


def reason_of(error: BaseException) -> str:
    """Why something failed, in one line without Python's own notation."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeError):
        return "not UTF-8 text"
    if isinstance(error, KeyError) and error.args:
        return f"the entry {error.args[0]} is missing"
    return first_line(error) or type(error).__name__


def type_and_message(error: BaseException) -> str:
    """The type of an exception and the first line of its message, if it has one: `ValueError: too short`."""
    message = first_line(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, cut to 200 characters. Empty if there is no message."""
    lines = str(error).strip().splitlines()
    return cut(lines[0], _LONGEST_LINE) if lines else ""


_LONGEST_LINE = 200
_LONGEST_NAME = 200


def nearest(word: object, choices: list[str]) -> str:
    """The choice closest to `word`, or an empty string if no choice is close."""
    import difflib

    if not isinstance(word, str) or len(word) > _LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return near[0] if near else ""


def closest(word: object, choices: list[str]) -> str:
    """`"; did you mean X?"` for the choice closest to `word`, or an empty string if no choice is close."""
    near = nearest(word, choices)
    return f"; did you mean {near}?" if near else ""


_DEVICES = {"cuda": ("gpu", "nvidia", "rocm"), "mps": ("metal", "apple")}


def meant_device(name: str) -> str | None:
    """torch's name of a device that is commonly called `name`: `gpu:1` → `cuda:1`. None for any other name."""
    kind, colon, number = name.partition(":")
    found = [device for device, others in _DEVICES.items() if kind.lower() in others]
    return f"{found[0]}{colon}{number}" if found else None
