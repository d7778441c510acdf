"""Layout of `--help`: plain text, grouped options, and common names for types.

Rich's boxes would break long lines, remove [brackets] and take longer than the rest of `hrm --help`.
"""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

_TYPES = {"int": "INTEGER", "float": "FLOAT", "str": "TEXT", "path": "PATH"}
_TYPE = re.compile(r"<(?:list\[)?(int|float|str|path)(?: range)?\]?>")


class PlainCommand(TyperCommand):
    """A command whose options are shown in the groups that `rich_help_panel` names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options without a group, then the groups in the order of their first option."""
        _format_options(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """A command with subcommands."""

    command_class = PlainCommand

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options as in `PlainCommand`, then the subcommands."""
        _format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


def _format_options(command: Any, ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
    for param in command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is None:
            continue
        name, text = record
        if param.param_type_name == "argument":
            sections["Arguments"].append((_TYPE.sub("", name).rstrip(), _readable(text)))
        else:
            panel = getattr(param, "rich_help_panel", None) or "Options"
            name = _TYPE.sub(lambda match: _TYPES[match[1]], name)
            sections.setdefault(panel, []).append((name, _readable(text)))
    # General options at the end of a signature (--json, --help) stay in the general group.
    for title, records in sections.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _readable(text: str) -> str:
    """Removes the inner brackets from `[default: (as trained); x>=1]`."""
    return re.sub(r"\[default: \((.*?)\)(?=[;\]])", r"[default: \1", text)
