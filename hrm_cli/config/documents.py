"""Parses YAML files of presets. Errors contain the file and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrm_cli import regular_files, yaml_text
from hrm_cli.errors import ConfigError, closest
from hrm_cli.printable import quoted

Document = dict[str, Any]


def parse_yaml(text: str, where: str) -> Any:
    """Parses one YAML document. Raises ConfigError, with `where` and the line."""
    try:
        return yaml_text.parse_yaml(text)
    except yaml_text.BadYAML as error:
        line = f":{error.line}" if error.line is not None else ""
        raise ConfigError(f"{where}{line}: {error}") from error


def read_text(path: Path) -> str:
    """Reads a text file, with or without a byte-order mark. Raises ConfigError if it cannot be read."""
    try:
        text = regular_files.read_text(path, yaml_text.LARGEST)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{_neighbor(path)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a directory; expected a YAML file or a run folder") from error
    except regular_files.UnusableFile as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if "\0" in text:
        raise ConfigError(f"{path}: is not a text file (it contains NUL bytes)")
    return text


def parse_document(text: str, where: str) -> Document:
    """Parses a preset's mapping of sections. Raises ConfigError if the text contains anything else."""
    document = parse_yaml(text, where)
    if document is None:
        raise ConfigError(f"{where}: is empty; expected a mapping with the sections arch, data, train, eval")
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else f"the value {quoted(document, 40)}"
        raise ConfigError(
            f"{where}: found {kind}; expected a mapping with the sections arch, data, train, eval"
        )
    return document


def _neighbor(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:
        return ""
    return closest(path.name, names)
