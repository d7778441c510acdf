"""Parses `KEY=VALUE` settings on the command line. Keys are dotted or bare, values are YAML."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.config.documents import Document, parse_yaml
from hrm_cli.config.schema import InvalidConfigError, dotted_keys, find_key
from hrm_cli.errors import ConfigError, closest, meant_device


def parse_overrides(overrides: Sequence[str]) -> Document:
    """Parses overrides into settings by section: `["EPOCHS=20"]` → `{"train": {"epochs": 20}}`.

    If a key occurs twice, the last value counts. Values are checked later, after they are merged into a preset.
    Raises ConfigError, which lists every override that cannot be parsed.
    """
    document: Document = {}
    problems = []
    for override in overrides:
        try:
            key, value = _parse(override)
        except ConfigError as error:
            problems.append(str(error))
        else:
            section, _, field = key.partition(".")
            document.setdefault(section, {})[field] = value
    if problems:
        raise InvalidConfigError(problems)
    return document


def suggest_setting(option: str, value: str) -> str | None:
    """The setting `lr=1e-3` for an unknown option `--lr` with its value; None if there is no such setting."""
    name = option.lstrip("-").replace("-", "_")
    try:
        key = find_key(name)
    except ConfigError:
        return None
    if key == "train.device":
        value = meant_device(value) or value
    return f"{name}={value or 'VALUE'}"


def _parse(override: str) -> tuple[str, object]:
    # Only the first = separates key and value. A value may contain more of them.
    name, equals, text = override.partition("=")
    if not equals:
        example = closest(name.lower(), dotted_keys())
        raise ConfigError(f"{override!r}: = is missing; expected KEY=VALUE, as in epochs=20{example}")
    if not name.strip():
        raise ConfigError(f"{override!r}: the key before = is missing; expected KEY=VALUE, as in epochs=20")
    key = find_key(name.strip())
    try:
        return key, parse_yaml(text, key)
    except ConfigError as error:
        raise ConfigError(f"{error}; quote text with special characters: {name}='\"…\"'") from error
