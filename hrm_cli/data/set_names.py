"""Names of the sets of a split. A name is part of file names, so it is made unique on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from hrm_cli.config.data import DataConfig
from hrm_cli.data import hub
from hrm_cli.data.metadata import same_file
from hrm_cli.data.sources import BUILTIN
from hrm_cli.errors import ConfigError

LONGEST = 150
"""Maximum length of a name in bytes. File systems allow 255, including the name of the array."""


class UniqueNames:
    """Makes names unique, also on file systems that ignore case or normalize Unicode."""

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = {same_file(name) for name in taken}

    def take(self, wanted: str) -> str:
        """Returns `wanted`, with a number appended if the name is taken: hard, hard-2, hard-3, …"""
        numbered = (wanted if n == 1 else f"{wanted}-{n}" for n in count(1))
        name = next(free for free in numbered if same_file(free) not in self._taken)
        self._taken.add(same_file(name))
        return name


def set_names(configs: Sequence[DataConfig]) -> list[str]:
    """A unique name for the test puzzles of each source. A single source without a name is called `all`."""
    if len(configs) == 1:
        return [_plain(configs[0].name) if configs[0].name else "all"]
    names = UniqueNames()
    return [names.take(_plain(config.name) if config.name else _derived(config)) for config in configs]


def file_name(text: str) -> str:
    """Converts text to the name of a set: invalid characters become hyphens, and long names are truncated."""
    plain = re.sub(r"[^\w.-]+", "-", re.sub(r"__+", "_", unicodedata.normalize("NFC", text)))
    return plain.encode()[:LONGEST].decode(errors="ignore").strip("-.") or "unnamed"


def _derived(config: DataConfig) -> str:
    if config.source == BUILTIN:
        return f"builtin-{config.clues if config.domain == 'sudoku' else config.style}"
    if config.source.startswith(hub.PREFIX):
        return config.source.rpartition("/")[2]
    return file_name(Path(config.source).stem)


def _plain(name: str) -> str:
    # The name becomes part of file names.
    if Path(name).name != name or "__" in name or len(name.encode()) > LONGEST:
        raise ConfigError(
            f"data.name {name!r}: becomes part of a file name; use letters, digits, - and single _, "
            f"{LONGEST} bytes at most"
        )
    return name
