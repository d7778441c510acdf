"""Errors that are a user's to mend: the CLI turns each into one message and an exit status, never a traceback."""

from __future__ import annotations


class HRMError(Exception):
    """Base of every error with a message written for users.

    The message names the file, line or key at fault, what was found, and what would be accepted.
    """

    exit_status = 2


class ConfigError(HRMError):
    """A preset, an override or an option is wrong."""


class PuzzleError(HRMError):
    """A puzzle, or a file of puzzles, cannot be read."""


class DatasetError(HRMError):
    """A dataset folder is missing, damaged, or does not fit what it is used for."""


class CheckpointError(HRMError):
    """A checkpoint is missing, damaged, or does not fit what it is used for."""


class TrainingDiverged(HRMError):  # noqa: N818 - the event's name in this field
    """The loss stopped being finite or exploded: the run happened and its answer is negative."""

    exit_status = 1


def closest(word: str, choices: list[str]) -> str:
    """`"; did you mean X?"` for the choice nearest to `word`, or an empty string where none is near."""
    import difflib

    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
