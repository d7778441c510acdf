"""Presets, packaged or a user's file: `extends`, overrides, then the schema."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hrm_cli.config.documents import Document, parse_document, read_text
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.renamed import with_new_names
from hrm_cli.config.schema import SECTIONS, Preset
from hrm_cli.config.validation import InvalidConfigError, explain, located
from hrm_cli.errors import ConfigError, closest

NameCheck = Callable[[str], None]
"""Raises ConfigError when a name is in no registry; the registries are in layers above this one."""


def list_presets() -> list[str]:
    """Names of the packaged presets."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _packaged().iterdir() if entry.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """A packaged preset as it is written, comments and all. Raises ConfigError for an unknown name."""
    names = list_presets()
    if name not in names:
        file = f"{name}.yaml"
        if Path(name).exists():
            hint = f"; a file of that name is here: write ./{name}"
        elif "/" not in name and Path(file).is_file():
            hint = f"; did you mean the file {file}?"
        else:
            # `sudoku` is the beginning of names, which says more than the letters in common with `trm-sudoku`.
            begun = [known for known in names if name and known.startswith(f"{name}-")]
            hint = (
                f"; did you mean {', '.join(begun[:-1])} or {begun[-1]}?"
                if len(begun) > 1
                else closest(name, names)
            )
        raise ConfigError(
            f"unknown preset {name!r}{hint} (packaged: {', '.join(names)}; or a path that ends in .yaml)"
        )
    return (_packaged() / f"{name}.yaml").read_text(encoding="utf-8")


def load_preset(
    name_or_path: str, overrides: Sequence[str] = (), name_checks: Mapping[str, NameCheck] | None = None
) -> Preset:
    """The resolved preset: the chain of `extends` merged, overrides on top, every value checked.

    `name_checks` maps keys such as `arch.core` to checks of registries that this layer may not know.
    Raises ConfigError; for wrong values it is an InvalidConfigError that lists them all.
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
    """The preset of a document whose `extends` are resolved; `origins` says which file a key came from.

    Raises InvalidConfigError, which lists every problem.
    """
    origins = origins or {}
    problems: list[str] = []
    preset = None
    sound = document
    while preset is None:
        try:
            preset = Preset.model_validate(sound)
        except ValidationError as error:
            problems += explain(error, origins)
            # Checks of several fields together wait until each field alone is right: without the wrong ones they run.
            rest = _without(sound, error)
            if rest == sound:
                break
            sound = rest
    problems += _unknown_names(document, name_checks or {}, origins)
    if problems or preset is None:
        raise InvalidConfigError(problems)
    return preset


def _without(document: Document, error: ValidationError) -> Document:
    """The document less the keys complained about."""
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
    """What messages call it: the preset's name, or the path as the user wrote it."""
    identity: str
    folder: Path
    """What relative paths inside it start from."""
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
        merged.pop("purpose", None)  # the purpose of what a preset extends is not its own
        merged = merge_documents(merged, source.document)
        origins |= dict.fromkeys(_keys(source.document), source.label)
    return merged, origins


def _open(name_or_path: str, folder: Path) -> _Source:
    if not _is_path(name_or_path):
        document = parse_document(preset_text(name_or_path), f"preset {name_or_path}")
        return _Source(f"preset {name_or_path}", name_or_path, folder, document)
    try:
        path = folder / Path(name_or_path).expanduser()
    except RuntimeError as error:  # ~NAME of nobody
        raise ConfigError(f"{name_or_path}: {error}") from None
    document = with_new_names(parse_document(read_text(path), str(path)), str(path))
    return _Source(str(path), str(path.resolve()), path.parent, document)


def _is_path(name_or_path: str) -> bool:
    return "/" in name_or_path or os.sep in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def _packaged() -> Traversable:
    package = resources.files("hrm_cli")
    inside_wheel = package / "presets"
    if inside_wheel.is_dir():
        return inside_wheel
    # A checkout, or an editable installation of one: the presets lie next to the package.
    return Path(str(package)).parent / "presets"


def merge_documents(below: Document, above: Document) -> Document:
    """`above` laid over `below`, section by section; a section without keys (`arch:` alone) changes nothing."""
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
                problems.append(located(key, str(error), origins))
    return problems
