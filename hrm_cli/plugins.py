"""Plugins: domains, mixers, cores and sources of pairs that installed packages add through entry points.

The metadata of installed packages are read only if a name is not built in, or to list plugins. The code of a plugin is
imported when its name is used, never earlier. A plugin cannot replace a built-in name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hrm_cli.errors import ConfigError, closest, type_and_message
from hrm_cli.printable import quoted

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS = {
    "domain": "hrm_cli.domains",
    "mixer": "hrm_cli.mixers",
    "core": "hrm_cli.cores",
    "source": "hrm_cli.sources",
}
"""Kind of plugin → its entry point group."""

REQUIRED = {
    "domain": (
        "facts", "describe", "parse", "encode", "decode", "text", "sample_symmetries", "verify", "diagnose",
        "lines",
    ),
    "mixer": ("tables", "parameters", "embed", "logits", "prepared", "mix"),
    "core": ("objective", "initialize", "cast_weights", "initial_carry", "reset", "halts", "forward"),
    "source": ("__call__",),
}  # fmt: skip
"""Kind of plugin → the attributes that its object must have."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{1,39}")


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed package."""

    kind: str
    """A key of `GROUPS`."""
    name: str
    package: str
    """Name of the distribution."""
    version: str
    entry: EntryPoint
    conflict: str = ""
    """Why the name cannot be used; empty if it can."""

    @property
    def origin(self) -> str:
        """The package with its version, for messages."""
        return f"{self.package} {self.version}"

    def load(self) -> Any:
        """The object of the entry point. Raises ConfigError with the reason if it cannot be used."""
        reason = self.conflict
        if not reason:
            found, reason = _load(self.entry, self.kind)
            if not reason:
                return found
        raise ConfigError(f"{self.kind} {self.name} of package {self.origin} cannot be used: {reason}")

    def problem(self) -> str:
        """Why the plugin cannot be used; empty if it can. Imports it."""
        return self.conflict or _load(self.entry, self.kind)[1]


@lru_cache(maxsize=64)
def _load(entry: EntryPoint, kind: str) -> tuple[Any, str]:
    """The object of an entry point, or None and the reason why it cannot be used."""
    try:
        found = entry.load()
    except (Exception, SystemExit) as error:
        return None, f"{entry.value} cannot be imported ({type_and_message(error)})"
    missing = [name for name in REQUIRED[kind] if not hasattr(found, name)]
    if missing:
        return None, f"{entry.value} is not a {kind}: it lacks {', '.join(missing)}"
    if kind != "source" and not isinstance(found, type):
        return None, f"{entry.value} is not a class; expected a class that is a {kind}"
    if inspect.isabstract(found):
        absent = ", ".join(sorted(found.__abstractmethods__))
        return None, f"{entry.value} is not a complete {kind}: it does not implement {absent}"
    return found, ""


def plugins(kind: str, built_in: Sequence[str]) -> list[Plugin]:
    """The installed plugins of a kind, by name. Their code is not imported."""
    from importlib.metadata import entry_points

    found: dict[str, Plugin] = {}
    refused: list[Plugin] = []
    for entry in sorted(entry_points(group=GROUPS[kind]), key=lambda entry: (entry.name, _package(entry))):
        conflict = ""
        if entry.name in built_in:
            conflict = f"the {kind} {entry.name} is built in, and a plugin cannot replace it"
        elif not _NAME.fullmatch(entry.name):
            conflict = "a name has 2 to 40 lowercase letters, digits, _ or -, and begins with a letter"
        elif entry.name in found:
            conflict = f"package {found[entry.name].package} also provides the {kind} {entry.name} and takes precedence"
        plugin = Plugin(kind, entry.name, _package(entry), _version(entry), entry, conflict)
        if conflict:
            refused.append(plugin)
        else:
            found[entry.name] = plugin
    return [*found.values(), *refused]


def find_plugin(kind: str, name: str, built_in: Sequence[str]) -> Plugin | None:
    """The plugin with this name, or None."""
    return next((one for one in plugins(kind, built_in) if one.name == name and not one.conflict), None)


def load_plugin(kind: str, name: object, built_in: Sequence[str], prefix: str = "") -> Any:
    """The object of the plugin with this name. Raises ConfigError if there is none, or if it cannot be used.

    `prefix` starts the message about an unknown name: the key that states it.
    """
    found = find_plugin(kind, name, built_in) if isinstance(name, str) else None
    if found is None:
        raise unknown(kind, name, built_in, prefix)
    return found.load()


def unknown(kind: str, name: object, built_in: Sequence[str], prefix: str = "") -> ConfigError:
    """The error about a name that is neither built in nor that of a plugin."""
    names = [*built_in, *(plugin.name for plugin in plugins(kind, built_in) if not plugin.conflict)]
    return ConfigError(
        f"{prefix}unknown {kind} {quoted(name, 80)}{closest(name, names)}; known: {', '.join(names)}. No installed "
        f"package adds a {kind} of this name (hrm info lists plugins)"
    )


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown"


def _version(entry: EntryPoint) -> str:
    return (entry.dist.version or "unknown version") if entry.dist is not None else "unknown version"
