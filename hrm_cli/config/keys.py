"""The names of all settings, `section.field`: found in any case, by bare name, or as the closest one."""

from __future__ import annotations

from hrm_cli.config.renamed import new_name
from hrm_cli.config.schema import SECTIONS
from hrm_cli.errors import ConfigError, nearest


def dotted_keys() -> list[str]:
    """Every setting as `section.field`, in the schema's order."""
    return [f"{section}.{name}" for section, model in SECTIONS.items() for name in model.model_fields]


def find_key(key: str) -> str:
    """The setting that `key` names: dotted, or the bare name of one field of one section, in any case.

    Raises ConfigError for an unknown key (with the closest), an ambiguous one (with the choices), a section. A bare
    name of several words that also ends a key of another section is ambiguous: `batch_size` may mean
    `train.global_batch_size`.
    """
    if (renamed := new_name(key)) is not None:
        return renamed
    wanted = key.lower()
    if wanted in SECTIONS:
        first = next(iter(SECTIONS[wanted].model_fields))
        raise ConfigError(f"{key}: is a section; name one of its keys, as in {wanted}.{first}=…")
    # A variant's own settings carry its name: nova.halting is arch.nova_halting.
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
    """The message for a key that names nothing, with the closest that does."""
    near = _closest_keys(key)
    if near:
        return f"{key}: unknown key; did you mean {' or '.join(near)}?"
    section = key.partition(".")[0].lower()
    if section in SECTIONS:
        return f"{key}: unknown key; {section} takes {', '.join(SECTIONS[section].model_fields)}"
    return f"{key}: unknown key; the sections are {', '.join(SECTIONS)}"


def _closest_keys(key: str) -> list[str]:
    section, dot, field = key.lower().partition(".")
    if not dot:
        section, field = "", section
    # A field of exactly that name elsewhere is more likely meant than a similar one here.
    homes = [name for name in dotted_keys() if name.partition(".")[2].lower() == field]
    if homes:
        return homes
    # Compared without the section, whose letters would make any two of its keys look similar.
    near_section = section if section in SECTIONS else nearest(section, list(SECTIONS))
    if near_section:
        names = {name.lower(): f"{near_section}.{name}" for name in SECTIONS[near_section].model_fields}
    else:
        names = {name.partition(".")[2].lower(): name for name in dotted_keys()} | {
            name: name for name in SECTIONS
        }
    near = nearest(field, list(names))
    return [names[near]] if near else []
