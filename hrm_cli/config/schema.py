"""The complete configuration: its four sections, its keys, and what is wrong with an invalid one.

Every field has a checked range and a description. A message about an invalid value contains the key, the value found
and the values accepted.
"""

from __future__ import annotations

import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.data import AdditionalSource, DataConfig
from hrm_cli.config.mixers import MIXERS_FOR_EVERY_SIZE, serves_every_size
from hrm_cli.config.renamed_settings import renamed_key
from hrm_cli.config.train import TrainConfig
from hrm_cli.config.values import Int, Section
from hrm_cli.errors import ConfigError, closest, nearest
from hrm_cli.printable import expectation


class EvalConfig(Section):
    """Evaluation, during training and in `hrm eval`."""

    batch_size: Int = Field(256, ge=1, description="batch size")
    max_steps: Int | None = Field(None, ge=1, description="maximum ACT steps; null means arch.halt_max_steps")
    halt: Literal["adaptive", "full"] = Field(
        "adaptive",
        description="adaptive: stop each puzzle when the model halts it; full: run all steps for every puzzle",
    )
    max_puzzles: Int | None = Field(
        None, ge=1, description="test puzzles evaluated during training; null means all"
    )


class Preset(Section):
    """A complete configuration: a preset whose `extends` and overrides are resolved."""

    purpose: str = Field("", description="what the preset is for, one line")
    arch: ArchConfig = ArchConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _check_together(self) -> Preset:
        objective, core = self.train.objective, self.arch.core
        if self.data.other_sizes and not serves_every_size(self.arch.mixer):
            raise ValueError(
                f"data.other_sizes: arch.mixer is {self.arch.mixer}, whose weights depend on the size; "
                f"set arch.mixer={MIXERS_FOR_EVERY_SIZE}"
            )
        if self.data.other_sizes and self.train.distill_from is not None:
            raise ValueError("data.other_sizes: a teacher (train.distill_from) knows one size only")
        if core == "nova" and self.arch.nova_halting == "mean" and self.train.accumulation_steps > 1:
            raise ValueError(
                "train.accumulation_steps above 1 cannot be combined with arch.nova_halting mean, "
                "which halts by the mean of the whole batch; use arch.nova_halting=per_row"
            )
        if objective is not None and (objective == "whole_forward") != (core == "nova"):
            fits = "whole_forward" if core == "nova" else "deep_supervision or rsm"
            raise ValueError(
                f"train.objective {objective} does not work with arch.core {core}; use {fits}, or null"
            )
        if self.train.l_distill_weight and core not in ("hrm", "trm"):
            raise ValueError(
                f"train.l_distill_weight {self.train.l_distill_weight:g} works only with the cores hrm and trm, but "
                f"arch.core is {core}; use train.l_distill_weight=0"
            )
        if self.train.carry_over and objective != "rsm":
            raise ValueError(
                f"train.carry_over {self.train.carry_over:g} works only with train.objective rsm; with other "
                "objectives, rows continue until they halt; use train.objective=rsm, or train.carry_over=0"
            )
        if self.train.gradient is not None and core == "nova":
            raise ValueError(
                f"train.gradient {self.train.gradient} works only with the cores hrm and trm, but arch.core is nova; "
                "set train.gradient=null"
            )
        if self.train.gradient == "last_updates" and (core != "hrm" or objective == "rsm"):
            raise ValueError(
                "train.gradient last_updates works only with arch.core hrm and deep supervision; TRM and the objective "
                "rsm train the last cycle or all cycles; use last_cycle, all_cycles or null"
            )
        if self.train.reach_back != TrainConfig.model_fields["reach_back"].default and objective != "rsm":
            raise ValueError(
                f"train.reach_back {self.train.reach_back:g} works only with train.objective rsm; leave it out, or use "
                "train.gradient=all_cycles"
            )
        for name in ("state_noise", "warm_up_rows", "repair_rows"):
            value = getattr(self.train, name)
            if value and core not in ("hrm", "trm"):
                raise ValueError(
                    f"train.{name} {value:g} works only with the cores hrm and trm, but arch.core is {core}; set "
                    f"train.{name}=0"
                )
        if self.arch.halting != "q_learning" and objective != "rsm" and core != "nova":
            raise ValueError(
                f"arch.halting {self.arch.halting} has no Q head, which this objective trains; use "
                "train.objective=rsm, or arch.halting=q_learning"
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    "arch": ArchConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}


def dotted_keys() -> list[str]:
    """Every setting as `section.field`, in the schema's order."""
    return [f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields]


def find_key(key: str) -> str:
    """The setting `section.field` for a key: a dotted or bare name, in any case.

    Raises ConfigError if the key is unknown, ambiguous or a section. The message contains the closest key or the
    choices. A bare name with an underscore is also ambiguous if a key of another section ends with it: `batch_size` may
    mean `train.global_batch_size`.
    """
    if (renamed := renamed_key(key)) is not None:
        return renamed
    wanted = key.lower()
    if wanted in SECTIONS:
        first = next(iter(SECTIONS[wanted].model_fields))
        raise ConfigError(f"{key}: is a section; use one of its keys, as in {wanted}.{first}=…")
    # Settings of a variant begin with its name: nova.halting means arch.nova_halting.
    bare = wanted.replace(".", "_")
    found = [
        name for name in dotted_keys() if name.lower() == wanted or name.partition(".")[2].lower() == bare
    ]
    if not found:
        raise ConfigError(unknown_key(key))
    if len(found) == 1 and "." not in wanted and "_" in wanted:
        home = found[0].partition(".")[0]
        elsewhere = [name for name in dotted_keys() if not name.startswith(f"{home}.")]
        found += [name for name in elsewhere if name.lower().endswith(f"_{wanted}") and name not in found]
    if len(found) > 1:
        raise ConfigError(f"{key}: ambiguous; write {' or '.join(found)}")
    return found[0]


def unknown_key(key: str) -> str:
    """The error message for an unknown key, with the closest known key."""
    near = _closest_keys(key)
    if near:
        return f"{key}: unknown key; did you mean {' or '.join(near)}?"
    section = key.partition(".")[0].lower()
    if section in SECTIONS:
        return f"{key}: unknown key; accepted in {section}: {', '.join(SECTIONS[section].model_fields)}"
    return f"{key}: unknown key; the sections are {', '.join(SECTIONS)}"


def _closest_keys(key: str) -> list[str]:
    section, dot, field = key.lower().partition(".")
    if not dot:
        section, field = "", section
    # A field with exactly this name in another section is a better suggestion than a similar one in this section.
    homes = [name for name in dotted_keys() if name.partition(".")[2].lower() == field]
    if homes:
        return homes
    # Compared without the section, because a common prefix makes all keys of a section look similar.
    near_section = section if section in SECTIONS else nearest(section, list(SECTIONS))
    if near_section:
        names = {name.lower(): f"{near_section}.{name}" for name in SECTIONS[near_section].model_fields}
    else:
        names = {name.partition(".")[2].lower(): name for name in dotted_keys()} | {
            name: name for name in SECTIONS
        }
    near = nearest(field, list(names))
    return [names[near]] if near else []


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
    words = [KINDS.get(annotation, "a value")]
    if get_origin(annotation) is tuple:
        item_kind = KINDS.get(_without_none(get_args(annotation)[0])[0])
        words = ["a list" if item_kind is None else f"a list, each item {item_kind}"]
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
        return with_origin(key, unknown_key(key), origins)
    if len(path) == 1 and path[0] in SECTIONS:
        found = _reason(problem) or f"found {_shown(problem['input'])}; accepted: a mapping of keys to values"
        return with_origin(key, f"{key}: {found}", origins)
    if field is None:
        return with_origin(key, f"{key}: {expectation(problem['msg'])}", origins)
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
