"""Validation errors of a configuration. Each has the key, the value found and the values accepted."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hrm_cli.config.data import AdditionalSource
from hrm_cli.config.schema import SECTIONS, Preset
from hrm_cli.errors import ConfigError, closest

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
BOUNDS = (
    (annotated_types.Ge, "ge", "at least"),
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Le, "le", "at most"),
    (annotated_types.Lt, "lt", "below"),
)


class InvalidConfigError(ConfigError):
    """All problems of a configuration; the message lists them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        many = len(self.problems) > 1
        super().__init__(
            f"{len(self.problems)} problems:\n  " + "\n  ".join(self.problems) if many else self.problems[0]
        )


def explain(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """One message for each error that pydantic reports. `origins` maps keys to the files they came from."""
    return [_explain_one(dict(problem), origins) for problem in error.errors(include_url=False)]


def parse_stored_preset(document: Any) -> Preset:
    """Parses the complete preset in a file that hrm wrote. Raises ValueError, with all problems in one line."""
    try:
        return Preset.model_validate(document)
    except ValidationError as error:
        raise ValueError("; ".join(explain(error, {}))) from None


def with_origin(key: str, message: str, origins: Mapping[str, str]) -> str:
    """Prefixes `message` with the file that `key` came from; keys given as overrides get no prefix."""
    origin = origins.get(key) or origins.get(key.partition(".")[0], "")
    return f"{origin}: {message}" if origin else message


def accepted_values(field: FieldInfo) -> str:
    """The values that a field accepts, as text: `a whole number, at least 2, or null`."""
    annotation, nullable = _without_none(field.annotation)
    if get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is Literal:
        return f"a list of {_choices(get_args(annotation)[0])}"
    if get_origin(annotation) is Literal:
        return _choices(annotation)
    words = ["a list" if get_origin(annotation) is tuple else KINDS.get(annotation, "a value")]
    for item in field.metadata:
        words += [f"{word} {getattr(item, name)}" for kind, name, word in BOUNDS if isinstance(item, kind)]
    return ", ".join([*words, "or null"] if nullable else words)


def _choices(annotation: Any) -> str:
    """`Literal["a", "b", "c"]` → `a, b or c`."""
    *most, last = [str(choice) for choice in get_args(annotation)]
    return f"{', '.join(most)} or {last}"


def _explain_one(problem: dict[str, Any], origins: Mapping[str, str]) -> str:
    path = [str(part) for part in problem["loc"]]
    if not path:
        # The message of a check across sections contains its keys.
        return _reason(problem) or str(problem["msg"])
    key = ".".join(path)
    field = _field(path)
    if path[:2] == ["data", "also"] and len(path) > 2:
        # The origin of `data.also.0.clues`, an entry of the list of sources, is stored under `data.also`.
        origins = {key: origins.get("data.also", origins.get("data", ""))}
        known = AdditionalSource.model_fields
        if problem["type"] == "extra_forbidden":
            hint = closest(path[3], list(known)) or f"; accepted: {', '.join(known)}"
            return with_origin(key, f"{key}: unknown key{hint}", origins)
        if len(path) == 3:
            found = f"found {_shown(problem['input'])}; accepted: a mapping such as {{clues: minimal, num_train: 500}}"
            return with_origin(key, f"{key}: {found}", origins)
    elif problem["type"] == "extra_forbidden":
        from hrm_cli.config.keys import unknown_key

        return with_origin(key, unknown_key(key), origins)
    if len(path) == 1 and path[0] in SECTIONS:
        found = _reason(problem) or f"found {_shown(problem['input'])}; accepted: a mapping of keys to values"
        return with_origin(key, f"{key}: {found}", origins)
    if field is None:
        return with_origin(key, f"{key}: {problem['msg']}", origins)
    annotation, _ = _without_none(field.annotation)
    if annotation is str and _reason(problem):
        return with_origin(key, f"{key}: {_reason(problem)}", origins)
    if get_origin(annotation) is tuple:
        # Users know `train.loggers.0` as train.loggers.
        key = ".".join(path[:2])
    message = f"{key}: found {_shown(problem['input'])}; accepted: {accepted_values(field)}"
    if get_origin(annotation) is Literal and isinstance(problem["input"], str):
        message += closest(problem["input"], [str(choice) for choice in get_args(annotation)])
    return with_origin(key, message, origins)


def _reason(problem: Mapping[str, Any]) -> str:
    """The message of one of our own checks (a ValueError), which pydantic wraps; empty for other errors."""
    return str(problem["ctx"]["error"]) if problem["type"] == "value_error" else ""


def _field(path: Sequence[str]) -> FieldInfo | None:
    if len(path) == 1:
        return Preset.model_fields.get(path[0])
    if path[:2] == ["data", "also"] and len(path) > 3:
        return AdditionalSource.model_fields.get(path[3])
    section = SECTIONS.get(path[0])
    return section.model_fields.get(path[1]) if section else None


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """`Annotated[int, …] | None` → (int, True)."""
    nullable = False
    if get_origin(annotation) in {Union, types.UnionType}:
        (annotation,) = (member for member in get_args(annotation) if member is not type(None))
        nullable = True
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation, nullable


def _shown(value: Any) -> str:
    """A value in YAML notation, shortened if it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return reprlib.repr(value)
