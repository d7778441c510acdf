"""Writes a resolved preset as YAML, as commented YAML, or as the differences from another preset."""

from __future__ import annotations

from typing import Any

import yaml

from hrm_cli.config.schema import SECTIONS, Preset, accepted_values
from hrm_cli.config.values import Section


def resolved_yaml(preset: Preset) -> str:
    """Returns every setting of a preset as YAML. Loading the text gives an equal preset."""
    return yaml.safe_dump(preset.model_dump(), sort_keys=False, allow_unicode=True, width=10**6)


def commented_yaml(preset: Preset) -> str:
    """Returns `resolved_yaml` with a comment after each setting: its meaning and accepted values."""
    lines = [_line("purpose", preset.purpose)]
    for section, values in SECTIONS.items():
        lines += ["", f"{section}:"]
        for name, field in values.model_fields.items():
            line = _line(name, _editable(preset, section, name))
            accepted = "" if field.annotation is str else f" ({accepted_values(field)})"
            lines.append(f"  {line:<34} # {field.description}{accepted}")
    return "\n".join(lines) + "\n"


def diff_presets(a: Preset, b: Preset) -> list[tuple[str, Any, Any]]:
    """The settings in which two presets differ, as (key, value in a, value in b)."""
    return [
        (f"{section}.{name}", getattr(getattr(a, section), name), getattr(getattr(b, section), name))
        for section, values in SECTIONS.items()
        for name in values.model_fields
        if getattr(getattr(a, section), name) != getattr(getattr(b, section), name)
    ]


def _editable(preset: Preset, section: str, name: str) -> Any:
    if (section, name) == (
        "arch",
        "puzzle_emb_ndim",
    ) and preset.arch.puzzle_emb_ndim == preset.arch.hidden_size:
        # A number would become wrong when the user edits hidden_size.
        return None
    return getattr(getattr(preset, section), name)


def _line(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        entries = [entry.model_dump() if isinstance(entry, Section) else entry for entry in value]
        text = yaml.safe_dump(
            entries, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6
        )
        return f"{name}: {text.strip()}"
    # Only the double-quoted style writes text with line breaks on one line.
    style = '"' if isinstance(value, str) and len(value.splitlines()) > 1 else None
    return yaml.safe_dump({name: value}, allow_unicode=True, width=10**6, default_style=style).rstrip("\n")
