"""What a checkpoint says about its training dataset. It is checked before memory is allocated for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hrm_cli.json_text import parse_json
from hrm_cli.printable import quoted
from hrm_cli.puzzles.domain import Domain, parse_domain
from hrm_cli.regular_files import read_text
from hrm_cli.safetensors_files import read_safetensors_header

MAX_VOCABULARY = 1 << 16
MAX_CELLS = 1_000_000
"""Maximum number of cells of a puzzle. The largest maze has this many."""
MAX_IDENTIFIERS = 1 << 31
MAX_STEPS = 1 << 62

_BOUNDS = {
    "vocab_size": MAX_VOCABULARY,
    "seq_len": MAX_CELLS,
    "num_puzzle_identifiers": MAX_IDENTIFIERS,
}
_KNOWN = {*_BOUNDS, "domain", "identifiers"}


@dataclass(frozen=True)
class DatasetFacts:
    """The facts that a model needs about its training dataset. Stored in every checkpoint."""

    vocab_size: int
    seq_len: int
    num_puzzle_identifiers: int
    domain: dict[str, object]
    """The domain's name and options: `{"name": "sudoku", "size": 9}`."""
    identifiers: str = ""
    """Names of the puzzle identifiers, packed by `hrm_cli.puzzles.arc.names`; empty if there is only one."""

    def resized(self, domain: Domain) -> DatasetFacts:
        """The same facts for puzzles of `domain`, of the same kind and another size."""
        stated = {"name": domain.name, **domain.facts()}
        return replace(self, vocab_size=domain.vocab_size, seq_len=domain.seq_len, domain=stated)


def parse_facts(document: Any) -> DatasetFacts:
    """Parses the facts in a JSON object. Raises ValueError with the wrong key, or ConfigError for an unknown domain."""
    if not isinstance(document, Mapping):
        raise ValueError(f"dataset: expected an object with {', '.join(_BOUNDS)}")
    unknown = sorted(set(map(str, document)) - _KNOWN)
    if unknown:
        raise ValueError(f"dataset: unknown key {quoted(unknown[0], 80)}")
    numbers = {}
    for name, largest in _BOUNDS.items():
        value = document.get(name)
        if type(value) is not int or not 1 <= value <= largest:
            raise ValueError(
                f"dataset.{name}: found {quoted(value, 40)}; expected a whole number from 1 to {largest:,}"
            )
        numbers[name] = value
    names = document.get("identifiers", "")
    if not isinstance(names, str):
        raise ValueError(f"dataset.identifiers: found {quoted(names, 40)}; expected packed names")
    domain = parse_domain(document.get("domain"))
    if domain is not None and (domain.vocab_size, domain.seq_len) != (
        numbers["vocab_size"],
        numbers["seq_len"],
    ):
        raise ValueError(
            f"dataset: {numbers['vocab_size']} tokens and {numbers['seq_len']} cells, but {domain.describe()} has "
            f"{domain.vocab_size} and {domain.seq_len}"
        )
    return DatasetFacts(**numbers, domain=dict(document.get("domain") or {}), identifiers=names)


def parse_step(text: str) -> int:
    """Parses the training step in a header. Raises ValueError if it is not a whole number."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise ValueError(f"step: found {quoted(text, 40)}; expected a whole number")
    return int(text)


_MODEL_FILE = "model.safetensors"
_LONGEST_POINTER = 4096


def checkpoint_domain(checkpoint: Path) -> Mapping[str, Any] | None:
    """Name and options of the domain that a local checkpoint was trained on, read without importing torch.

    Used for checks before a model is loaded. None if the checkpoint cannot be read; the loader reports the error.
    """
    try:
        file = _file(checkpoint)
        facts = (
            None
            if file is None
            else parse_json(read_safetensors_header(file).metadata.get("dataset", "null"))
        )
    except (OSError, ValueError):
        return None
    domain = facts.get("domain") if isinstance(facts, Mapping) else None
    return domain if isinstance(domain, Mapping) and isinstance(domain.get("name"), str) else None


def _file(checkpoint: Path) -> Path | None:
    if checkpoint.is_dir():
        folders = [checkpoint, *_pointed_to(checkpoint / "best"), *_pointed_to(checkpoint / "latest")]
    elif checkpoint.name in ("best", "latest"):
        folders = _pointed_to(checkpoint)
    else:
        return checkpoint if checkpoint.is_file() else None
    return next((folder / _MODEL_FILE for folder in folders if (folder / _MODEL_FILE).is_file()), None)


def _pointed_to(pointer: Path) -> list[Path]:
    return [pointer.parent / read_text(pointer, _LONGEST_POINTER).strip()] if pointer.is_file() else []
