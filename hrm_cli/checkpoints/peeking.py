"""Which domain a local checkpoint was trained on, found without torch: for checks before a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hrm_cli.json_text import parse_json
from hrm_cli.regular_files import read_text
from hrm_cli.safetensors_files import read_safetensors_header

_MODEL_FILE = "model.safetensors"
_LONGEST_POINTER = 4096


def trained_on(checkpoint: Path) -> str | None:
    """The name of the domain; None for what cannot be read here, which the loader says more about."""
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
    name = domain.get("name") if isinstance(domain, Mapping) else None
    return name if isinstance(name, str) else None


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
