"""Renamed settings. The old names are still accepted, with a warning if a user wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hrm_cli.errors import ConfigError

RENAMED = {"train.contract": "train.objective"}
"""Old name → new name, both as `section.field` of one section."""


class RenamedSettingWarning(FutureWarning):
    """A user wrote the old name of a setting. The commands print the warning as a note."""


def renamed_key(key: str) -> str | None:
    """The new name if `key` is the old name of a setting, else None. Warns about the old name.

    `key` may be dotted or bare, in any case.
    """
    wanted = key.lower()
    for old, new in RENAMED.items():
        if wanted in {old, old.partition(".")[2]}:
            warnings.warn(
                RenamedSettingWarning(f"{key} is now called {new}; the old name still works"), stacklevel=3
            )
            return new
    return None


def replace_old_names(document: dict[str, Any], where: str) -> dict[str, Any]:
    """Replaces old names of settings in a user's document. Warns about each.

    `where` is the document's source for messages. Raises ConfigError if both names of a setting are given.
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
        document = {**document, section: replace_old_fields(section, settings)}
    return document


def replace_old_fields(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Replaces old names in the settings of one section and keeps their order. Does not warn, for stored files."""
    names = {
        old.partition(".")[2]: new.partition(".")[2]
        for old, new in RENAMED.items()
        if old.startswith(f"{section}.") and new.partition(".")[2] not in settings
    }
    return {names.get(name, name): value for name, value in settings.items()}


@contextmanager
def ignore_rename_warnings() -> Iterator[None]:
    """Suppresses RenamedSettingWarning while a file that hrm wrote is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenamedSettingWarning)
        yield
