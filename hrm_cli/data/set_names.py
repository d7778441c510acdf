"""Names of the sets of a split: each becomes part of file names, and no two are the same on any file system."""

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
"""Bytes of a name: file systems take 255 with the name of the array after it."""


class UniqueNames:
    """Gives names that differ even on file systems that ignore case or the encoding of accents."""

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = {same_file(name) for name in taken}

    def take(self, wanted: str) -> str:
        """`wanted`, or with a number after it where that is taken: hard, hard-2, hard-3, …"""
        numbered = (wanted if n == 1 else f"{wanted}-{n}" for n in count(1))
        name = next(free for free in numbered if same_file(free) not in self._taken)
        self._taken.add(same_file(name))
        return name


def set_names(configs: Sequence[DataConfig]) -> list[str]:
    """A name for the test puzzles of each source, all different; `all` where there is one source without a name."""
    if len(configs) == 1:
        return [_plain(configs[0].name) if configs[0].name else "all"]
    names = UniqueNames()
    return [names.take(_plain(config.name) if config.name else _derived(config)) for config in configs]


def file_name(text: str) -> str:
    """A text as a name of a set: what file names do not take becomes a hyphen, and it is cut where it is long."""
    plain = re.sub(r"[^\w.-]+", "-", re.sub(r"__+", "_", unicodedata.normalize("NFC", text)))
    return plain.encode()[:LONGEST].decode(errors="ignore").strip("-.") or "unnamed"


def _derived(config: DataConfig) -> str:
    if config.source == BUILTIN:
        return f"builtin-{config.clues if config.domain == 'sudoku' else config.style}"
    if config.source.startswith(hub.PREFIX):
        return config.source.rpartition("/")[2]
    return file_name(Path(config.source).stem)


def _plain(name: str) -> str:
    # It becomes a piece of file names.
    if Path(name).name != name or "__" in name or len(name.encode()) > LONGEST:
        raise ConfigError(
            f"data.name {name!r}: becomes part of a file name; use letters, digits, - and single _, "
            f"{LONGEST} bytes at most"
        )
    return name
