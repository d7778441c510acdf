"""Loads presets, packaged or from a user's file: resolves `extends`, applies overrides, and validates."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hrm_cli.config.documents import Document, parse_document, read_text
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.renamed_settings import replace_old_names
from hrm_cli.config.schema import SECTIONS, InvalidConfigError, Preset, explain, with_origin
from hrm_cli.errors import ConfigError, closest

RUN_CONFIGURATION = "config.yaml"
"""The file of a run folder that holds its settings, so that the folder can be named like a preset."""

NameCheck = Callable[[str], None]
"""Raises ConfigError if a name is not registered. The registries are in layers above this one."""


def list_presets() -> list[str]:
    """Names of the packaged presets."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _packaged().iterdir() if entry.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """The text of a packaged preset, with its comments. Raises ConfigError for an unknown name."""
    names = list_presets()
    if name not in names:
        file = f"{name}.yaml"
        if Path(name).exists():
            hint = f"; to use the file of that name, write ./{name}"
        elif "/" not in name and Path(file).is_file():
            hint = f"; did you mean the file {file}?"
        else:
            # For `sudoku`, the names that begin with it are better suggestions than similar names such as `trm-sudoku`.
            completions = [known for known in names if name and known.startswith(f"{name}-")]
            hint = (
                f"; did you mean {', '.join(completions[:-1])} or {completions[-1]}?"
                if len(completions) > 1
                else closest(name, names)
            )
        raise ConfigError(
            f"unknown preset {name!r}{hint} (packaged: {', '.join(names)}; or a path that ends in .yaml)"
        )
    return (_packaged() / f"{name}.yaml").read_text(encoding="utf-8")


def first_comment(name: str) -> list[str]:
    """The comment at the head of a packaged preset: what it is for, and how to run it. Empty for a file."""
    if _is_path(name):
        return []
    return list(takewhile(lambda line: line.startswith("#"), preset_text(name).splitlines()))


def load_preset(
    name_or_path: str, overrides: Sequence[str] = (), name_checks: Mapping[str, NameCheck] | None = None
) -> Preset:
    """Loads a preset: merges the chain of `extends`, applies the overrides, and validates every value.

    `name_checks` maps keys such as `arch.core` to checks against registries that this layer may not import.
    Raises ConfigError. If values are wrong, it is an InvalidConfigError that lists all of them.
    """
    document, origins = _merged_chain(name_or_path)
    for section, values in parse_overrides(overrides).items():
        document = merge_documents(document, {section: values})
        origins |= dict.fromkeys([section, *(f"{section}.{field}" for field in values)], "")
    return validated(document, origins, name_checks)


def validated(
    document: Document,
    origins: Mapping[str, str] | None = None,
    name_checks: Mapping[str, NameCheck] | None = None,
) -> Preset:
    """Validates a document whose `extends` is resolved. `origins` maps keys to the files they came from.

    Raises InvalidConfigError, which lists every problem.
    """
    origins = origins or {}
    problems: list[str] = []
    preset = None
    remaining = document
    while preset is None:
        try:
            preset = Preset.model_validate(remaining)
        except ValidationError as error:
            problems += explain(error, origins)
            # Pydantic checks combinations of fields only if each field is valid. Without the invalid ones it does.
            rest = _without_invalid(remaining, error)
            if rest == remaining:
                break
            remaining = rest
    problems += _unknown_names(document, name_checks or {}, origins)
    if problems or preset is None:
        raise InvalidConfigError(problems)
    return preset


def _without_invalid(document: Document, error: ValidationError) -> Document:
    """The document without the keys that `error` reports."""
    wrong = {tuple(map(str, problem["loc"][:2])) for problem in error.errors()}
    kept: Document = {}
    for key, value in document.items():
        if (key,) in wrong and not isinstance(value, dict):
            continue
        inner = (
            {k: v for k, v in value.items() if (key, str(k)) not in wrong}
            if isinstance(value, dict)
            else value
        )
        kept[key] = inner
    return kept


@dataclass(frozen=True)
class _Source:
    """One file of a chain of `extends`."""

    label: str
    """Its name in messages: the preset's name, or the path as the user wrote it."""
    identity: str
    folder: Path
    """The folder that relative paths in the document start from."""
    document: Document


def _merged_chain(name_or_path: str) -> tuple[Document, dict[str, str]]:
    chain = [_open(name_or_path, Path())]
    while (parent := chain[-1].document.pop("extends", None)) is not None:
        child = chain[-1]
        if not isinstance(parent, str):
            raise ConfigError(
                f"{child.label}: extends: found {reprlib.repr(parent)}; accepted: a preset's name or a path"
            )
        try:
            source = _open(parent, child.folder)
        except ConfigError as error:
            raise ConfigError(f"{child.label}: extends: {error}") from error
        chain.append(source)
        if source.identity in {earlier.identity for earlier in chain[:-1]}:
            raise ConfigError(f"extends is circular: {' → '.join(link.label for link in chain)}")
    merged: Document = {}
    origins: dict[str, str] = {}
    for source in reversed(chain):
        merged.pop("purpose", None)  # a preset does not inherit the purpose of its parent
        merged = merge_documents(merged, source.document)
        origins |= dict.fromkeys(_keys(source.document), source.label)
    return merged, origins


def _open(name_or_path: str, folder: Path) -> _Source:
    if not _is_path(name_or_path):
        document = parse_document(preset_text(name_or_path), f"preset {name_or_path}")
        return _Source(f"preset {name_or_path}", name_or_path, folder, document)
    try:
        path = folder / Path(name_or_path).expanduser()
    except RuntimeError as error:  # ~NAME of a user who does not exist
        raise ConfigError(f"{name_or_path}: {error}") from None
    if os.path.isfile(path / RUN_CONFIGURATION):  # unlike Path.is_file, it is False for impossible names
        path /= RUN_CONFIGURATION
    document = replace_old_names(parse_document(read_text(path), str(path)), str(path))
    return _Source(str(path), str(path.resolve()), path.parent, document)


def _is_path(name_or_path: str) -> bool:
    return "/" in name_or_path or os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def _packaged() -> Traversable:
    package = resources.files("hrm_cli")
    inside_wheel = package / "presets"
    if inside_wheel.is_dir():
        return inside_wheel
    # In a checkout or an editable installation, the folder of presets is next to the package.
    return Path(str(package)).parent / "presets"


def merge_documents(below: Document, above: Document) -> Document:
    """Merges two documents section by section. Values of `above` override those of `below`.

    A section without keys (`arch:` alone) changes nothing.
    """
    merged = dict(below)
    for key, value in above.items():
        section = {} if value is None and key in SECTIONS else value
        both = isinstance(section, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **section} if both else section
    return merged


def _keys(document: Document) -> list[str]:
    inner = [f"{key}.{name}" for key, value in document.items() if isinstance(value, dict) for name in value]
    return [*document, *inner]


def _unknown_names(
    document: Document, name_checks: Mapping[str, NameCheck], origins: Mapping[str, str]
) -> list[str]:
    problems = []
    for key, check in name_checks.items():
        section, _, field = key.partition(".")
        values: Any = document.get(section)
        name = values.get(field) if isinstance(values, dict) else None
        if isinstance(name, str):
            try:
                check(name)
            except ConfigError as error:
                problems.append(with_origin(key, str(error), origins))
    return problems
