"""Layout of `--help`: plain text, grouped options, and common names for types.

Rich's boxes would break long lines, remove [brackets] and take longer than the rest of `hrm --help`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_TYPES = {"int": "INTEGER", "float": "FLOAT", "str": "TEXT", "path": "PATH"}
_TYPE = re.compile(r"(?i)<(?:list\[)?(int|float|str|path)(?: range)?\]?>")


class PlainCommand(TyperCommand):
    """A command whose options are shown in the groups that `rich_help_panel` names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options without a group, then the groups in the order of their first option."""
        _format_options(self, ctx, formatter)


class PlainGroup(TyperGroup):
    """A command with subcommands."""

    command_class = PlainCommand

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The subcommands, each with the first sentence of its help, which wraps instead of being cut."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command)) for name, command in found if command and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments and options as in `PlainCommand`, then the subcommands."""
        _format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


class ListingGroup(PlainGroup):
    """A group that prints a list if no subcommand is named. `list` may be written out, as in `hrm runs list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Removes `list`, unless it is the argument of a subcommand."""
        first = next((index for index, word in enumerate(args) if not word.startswith("-")), None)
        if first is not None and args[first] == "list":
            args = [*args[:first], *args[first + 1 :]]
        return super().parse_args(ctx, args)


def plain_command(name: str, function: Callable[..., None], summary: str | None = None) -> Any:
    """The command `name` with the signature of `function`, and with plain help."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=PlainCommand, help=summary)(function)
    return typer.main.get_command(app)


def load_command(name: str, place: str) -> Any:
    """The command or group `name` that is defined at `place`, written as `module:attribute`."""
    module, _, attribute = place.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    return typer.main.get_group(target) if isinstance(target, typer.Typer) else plain_command(name, target)


class CommandTable(MutableMapping[str, Any]):
    """The commands of a group, each imported when it is looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = load_command(name, self._places[name])
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


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
            name = _TYPE.sub(lambda match: _TYPES[match[1].lower()], name)
            sections.setdefault(panel, []).append((name, _readable(text)))
    # General options at the end of a signature (--json, --help) stay in the general group.
    for title, records in sections.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _readable(text: str) -> str:
    """Removes the inner brackets from `[default: (as trained); x>=1]`."""
    return re.sub(r"\[default: \((.*?)\)(?=[;\]])", r"[default: \1", text)


def _first_sentence(command: Any) -> str:
    """What a command does, for the list of commands: the first sentence of its first paragraph."""
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", paragraph, maxsplit=1)[0]
