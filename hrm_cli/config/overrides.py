"""`KEY=VALUE` on the command line: dotted or bare keys, YAML values."""

from __future__ import annotations

from collections.abc import Sequence

from hrm_cli.config.documents import Document, parse_yaml
from hrm_cli.config.keys import dotted_keys, find_key
from hrm_cli.config.validation import InvalidConfigError
from hrm_cli.errors import ConfigError, closest


def parse_overrides(overrides: Sequence[str]) -> Document:
    """The settings that the overrides make, by section: `["EPOCHS=20"]` → `{"train": {"epochs": 20}}`.

    Of two for one key the later holds. Values are not checked here: they are merged into a preset first.
    Raises ConfigError listing every override that cannot be read.
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


def setting_meant(option: str, value: str) -> str | None:
    """`lr=1e-3` for the option `--lr` and what follows it, where that is a setting; else None."""
    name = option.lstrip("-").replace("-", "_")
    try:
        find_key(name)
    except ConfigError:
        return None
    return f"{name}={value or 'VALUE'}"


def _parse(override: str) -> tuple[str, object]:
    # Only the first = separates: a value may hold more of them.
    name, equals, text = override.partition("=")
    if not equals:
        example = closest(name.lower(), dotted_keys())
        raise ConfigError(f"{override!r}: no = in it; overrides are KEY=VALUE, as in epochs=20{example}")
    if not name.strip():
        raise ConfigError(f"{override!r}: no key before the =; overrides are KEY=VALUE, as in epochs=20")
    key = find_key(name.strip())
    try:
        return key, parse_yaml(text, key)
    except ConfigError as error:
        raise ConfigError(f"{error}; quote a text with special characters: {name}='\"…\"'") from error
