"""Sources of own puzzles: files and folders, `hf:OWNER/NAME`, `gym:NAME`, functions `FILE.py:FUNCTION`, and plugins.

Every source becomes files of pairs. A source that generates pairs is written to a JSON lines file first, so that it
runs once and later stages treat all sources alike.
"""

from __future__ import annotations

import inspect
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.config.values import SOURCE_PREFIXES, generates, plugin_of_source
from hrm_cli.data.grids import gym
from hrm_cli.data.hub import PREFIX as HUB
from hrm_cli.data.hub import HubAddress, snapshot
from hrm_cli.errors import DatasetError, HRMError, type_and_message
from hrm_cli.plugins import load_plugin
from hrm_cli.printable import quoted
from hrm_cli.puzzles.grids.own_code import load_function
from hrm_cli.puzzles.grids.reading import ACCEPTED, ENDINGS, SPLIT_NAMES

Report = Callable[[str, int, int | None], None]
_LIKE_PLUGIN = re.compile("[a-z][a-z0-9_-]+:[^/]*$")
SPLIT_IDS = ("", "train", "validation", "test")

_MOST_REPEATS = 20
"""A generator ends after this many pairs in a row per wanted pair whose inputs have occurred before."""
_FEWEST_TRIES = 10_000
_REPORT_EVERY = 256


@dataclass(frozen=True)
class PairFile:
    """A file or folder of pairs."""

    path: Path
    split: str = ""
    """The split it belongs to; empty if the source does not say."""
    shown: str | None = None
    """How messages name its pairs, as in `gym:maze: pair `, instead of file and line."""

    def where(self, where: str) -> str:
        """A pair's position as messages show it. `where` is the reader's text, which starts with the path."""
        return where if self.shown is None else where.replace(f"{self.path}:", self.shown, 1)


def is_source(text: str) -> bool:
    """Whether a word of a command is a source of pairs, going by its form."""
    return (
        text.startswith(HUB) or generates(text) or ("=" not in text and Path(text).suffix.lower() in ENDINGS)
    )


def pair_files(source: str, scratch: Path, *, count: int, seed: int, report: Report) -> list[PairFile]:
    """The files of a source. Generators make `count` pairs with different inputs.

    Raises ConfigError for a malformed source, and DatasetError if it cannot be read or holds nothing.
    """
    if generates(source):
        return [_generated(source, scratch, count, seed, report)]
    if source.startswith(HUB):
        endings = [f"*{ending}" for ending in ENDINGS]
        folder = snapshot(HubAddress.parse(source, "source"), f"source {source}", DatasetError, endings)
        return files_of(source, folder)
    return files_of(source, Path(source).expanduser())


def files_of(source: str, path: Path) -> list[PairFile]:
    """The files at a path, each with its split. Raises DatasetError if there are none.

    In a folder, the names of files and subfolders state the split (`test.csv`, `train/`), also those of the hub's
    numbered parts (`train-00000-of-00002.parquet`).
    """
    if not path.exists():
        plugin = "; no installed plugin adds such a source" if _LIKE_PLUGIN.match(source) else ""
        raise DatasetError(f"source {source}: does not exist{plugin}; accepted: {ACCEPTED}")
    if not path.is_dir():
        return [PairFile(path)]
    split_files: dict[str, list[Path]] = {}
    whole: list[Path] = []
    for entry in sorted(path.iterdir()):
        is_data = entry.suffix.lower() in ENDINGS if entry.is_file() else any(entry.glob("*.npy"))
        stem, part, _ = entry.stem.partition("-0") if entry.is_file() else (entry.name, "", "")
        split = SPLIT_NAMES.get(stem.lower())
        if is_data and split is not None:
            others = split_files.setdefault(split, [])
            if others and not part:
                raise DatasetError(
                    f"source {source}: {others[0].name} and {entry.name} are both the {split} split"
                )
            others.append(entry)
        elif is_data and entry.is_file():
            whole.append(entry)
    if split_files and "train" not in split_files:
        raise DatasetError(f"source {source}: there are {', '.join(split_files)}, but no train file")
    if split_files:
        return [PairFile(file, split) for split in SPLIT_IDS for file in split_files.get(split, [])]
    if any(path.glob("*.npy")):
        return [PairFile(path)]
    if not whole and (path / "data").is_dir():
        return files_of(source, path / "data")
    if not whole:
        raise DatasetError(f"source {source}: the folder contains no pairs; accepted: {ACCEPTED}")
    return [PairFile(entry) for entry in whole]


def _generated(source: str, scratch: Path, count: int, seed: int, report: Report) -> PairFile:
    path = scratch / "generated.jsonl"
    inputs: set[int] = set()
    repeats = 0
    with path.open("w", encoding="utf-8") as stream:
        for number, pair in enumerate(_pairs(source, seed), start=1):
            try:
                given, wanted = pair
                line = json.dumps([given, wanted], ensure_ascii=False)
            except (TypeError, ValueError):
                raise DatasetError(
                    f"source {source}: pair {number} is {quoted(pair, 80)}; expected (input, output), each a list "
                    "of rows or a text"
                ) from None
            key = hash(json.dumps(given))
            if key in inputs:
                repeats += 1
                if repeats > max(_FEWEST_TRIES, _MOST_REPEATS * count):
                    break
                continue
            inputs.add(key)
            stream.write(f"{line}\n")
            if len(inputs) % _REPORT_EVERY == 0:
                report(f"generating {source}", len(inputs), count)
            if len(inputs) == count:
                break
    if not inputs:
        raise DatasetError(f"source {source}: made no pairs")
    if len(inputs) < count:
        raise DatasetError(
            f"source {source}: {count:,} pairs with different inputs are needed, but {number:,} pairs have only "
            f"{len(inputs):,}; request fewer (--num-train, --num-test, --num-validation)"
        )
    return PairFile(path, shown=f"{source}: pair ")


def _pairs(source: str, seed: int) -> Iterator[Any]:
    if source.startswith(gym.PREFIX):
        yield from gym.GymSource.parse(source).pairs(seed)
        return
    name = plugin_of_source(source)
    arguments: tuple[str, ...] = ()
    if name is None:
        function = load_function(source, "source")
    else:
        function = load_plugin("source", name, SOURCE_PREFIXES)
        arguments = (source.partition(":")[2],)
    rng = random.Random(seed)
    try:
        if inspect.isgeneratorfunction(function):
            yield from function(*arguments, rng)
        else:
            while True:
                yield function(*arguments, rng)
    except HRMError:
        raise
    except Exception as error:
        raise DatasetError(f"source {source}: failed: {type_and_message(error)}") from error
