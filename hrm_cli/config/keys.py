"""Looks up settings by name: `section.field` or a bare field name, in any case. Suggests the closest name."""

from __future__ import annotations

from hrm_cli.config.renamed_settings import renamed_key
from hrm_cli.config.schema import SECTIONS
from hrm_cli.errors import ConfigError, nearest


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
