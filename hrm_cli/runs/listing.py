"""Filters and sorts the runs of a folder, and finds the settings in which runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from hrm_cli.config.presets import list_presets, load_preset
from hrm_cli.errors import ConfigError, closest
from hrm_cli.runs.records import RunRecords

Order = Literal["best", "time", "step", "name"]
_STATES = ["running", "finished", "interrupted", "diverged", "failed", "unknown"]
_NOT_SETTINGS = {"purpose"}


def ordered(runs: Sequence[RunRecords], by: Order | None) -> list[RunRecords]:
    """Sorts runs. `best`: highest exact accuracy first. `time`, `step`: most training first. `name`: alphabetically."""
    if by == "best":
        return sorted(runs, key=lambda run: run.best["exact_accuracy"] if run.best else -1.0, reverse=True)
    if by == "time":
        return sorted(runs, key=lambda run: run.seconds or 0.0, reverse=True)
    if by == "step":
        return sorted(runs, key=lambda run: run.step, reverse=True)
    return sorted(runs, key=lambda run: str(run.folder)) if by == "name" else list(runs)


def filtered(runs: Sequence[RunRecords], filters: Sequence[str]) -> list[RunRecords]:
    """Returns the runs that match all filters: `state=STATE`, `preset=NAME`, or a pattern for the folder's name.

    Raises ConfigError for an invalid filter.
    """
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals:
            runs = [
                run
                for run in runs
                if fnmatchcase(run.folder.name, text) or fnmatchcase(str(run.folder), text)
            ]
        elif key == "state":
            if value not in _STATES:
                raise ConfigError(
                    f"--filter {text}: unknown state{closest(value, _STATES)}; accepted: {', '.join(_STATES)}"
                )
            runs = [run for run in runs if run.state == value]
        elif key == "preset":
            if value not in list_presets():
                raise ConfigError(f"--filter {text}: no preset of that name{closest(value, list_presets())}")
            # A run stores the preset's settings and its purpose, but not its name.
            purpose = load_preset(value).purpose
            runs = [run for run in runs if run.config.get("purpose") == purpose]
        else:
            raise ConfigError(
                f"--filter {text}: expected state=STATE, preset=NAME, or a pattern such as 'tiny-*'"
            )
    return list(runs)


def differing_settings(runs: Sequence[RunRecords]) -> list[tuple[str, list[Any]]]:
    """The settings in which the runs differ, as dotted keys, with the value of each run."""
    flat = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one if key not in _NOT_SETTINGS)
    values = {key: [one.get(key) for one in flat] for key in keys}
    return [(key, given) for key, given in values.items() if any(value != given[0] for value in given)]


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
