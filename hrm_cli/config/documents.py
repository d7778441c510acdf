"""YAML text → plain mappings, and what is wrong with the text in words that name the file and the line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hrm_cli.errors import ConfigError, closest

Document = dict[str, Any]


class _StrictLoader(yaml.SafeLoader):
    """YAML's plain types; a key written twice is refused, where PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is no text (YAML reads yes, no, on and off so); quote it",
                    problem_mark=key_node.start_mark,
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key} is written twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str, where: str) -> Any:
    """The value of one YAML document. Raises ConfigError naming `where` and the line."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark and "\n" in text else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem or error.context}") from error
    except Exception as error:
        # PyYAML also lets through whatever its constructors stumble on: ValueError for a date that does not
        # exist, KeyError for `!!bool maybe`, RecursionError for deep nesting, ….
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{where}: not valid YAML: {reason}") from error


def read_text(path: Path) -> str:
    """A text file, with or without a byte-order mark. Raises ConfigError when it cannot be read as one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{_neighbour(path)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a directory; a YAML file is wanted") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start} cannot be read)") from error
    if "\0" in text:
        raise ConfigError(f"{path}: is not text (it holds NUL bytes)")
    return text


def parse_document(text: str, where: str) -> Document:
    """A preset's mapping of sections. Raises ConfigError when the text holds anything else."""
    document = parse_yaml(text, where)
    if document is None:
        raise ConfigError(f"{where}: is empty; a preset holds the sections arch, data, train and eval")
    if not isinstance(document, dict):
        kind = "a list" if isinstance(document, list) else f"the value {document!r:.40}"
        raise ConfigError(
            f"{where}: found {kind}; a preset is a mapping with the sections arch, data, train, eval"
        )
    return document


def _neighbour(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.suffix in {".yaml", ".yml"}]
    except OSError:
        return ""
    return closest(path.name, names)
