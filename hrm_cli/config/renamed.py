"""Settings that were renamed: the old name is still read, with a note where a user wrote it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hrm_cli.errors import ConfigError

RENAMED = {"train.contract": "train.objective"}
"""Old name → new name, both as `section.field` of one section."""


class RenamedSettingWarning(FutureWarning):
    """A user wrote the old name of a setting. The commands print it as a note."""


def new_name(key: str) -> str | None:
    """The new name of the setting that `key` names by its old one, dotted or bare, in any case; else None."""
    wanted = key.lower()
    for old, new in RENAMED.items():
        if wanted in {old, old.partition(".")[2]}:
            warnings.warn(
                RenamedSettingWarning(f"{key} is now called {new}; the old name still works"), stacklevel=3
            )
            return new
    return None


def with_new_names(document: dict[str, Any], where: str) -> dict[str, Any]:
    """A user's `document` with the new names of its settings, and a warning for each old one.

    `where` says in messages where the document comes from. Raises ConfigError where both names of a setting are given.
    """
    for old, new in RENAMED.items():
        section, _, field = old.partition(".")
        settings = document.get(section)
        if not isinstance(settings, dict) or field not in settings:
            continue
        if new.partition(".")[2] in settings:
            raise ConfigError(f"{where}: {old} is the old name of {new}; keep only one of them")
        warnings.warn(
            RenamedSettingWarning(f"{where}: {old} is now called {new}; the old name still works"),
            stacklevel=3,
        )
        document = {**document, section: renamed_fields(section, settings)}
    return document


def renamed_fields(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The `settings` of one section by their new names, in their order. No warning: a stored file may be old."""
    names = {
        old.partition(".")[2]: new.partition(".")[2]
        for old, new in RENAMED.items()
        if old.startswith(f"{section}.") and new.partition(".")[2] not in settings
    }
    return {names.get(name, name): value for name, value in settings.items()}


@contextmanager
def of_a_stored_file() -> Iterator[None]:
    """For files that hrm wrote itself: their old names are read without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedSettingWarning)
        yield
