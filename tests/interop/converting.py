"""Converts a checkpoint of the reference for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.convert.conversion import Conversion, to_model_file
from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
from hrm_cli.checkpoints.convert.reference_files import read_reference
from hrm_cli.config.overrides import parse_overrides


def converted(source: Path, *settings: str, **options: Any) -> Conversion:
    """Ours of a checkpoint of the reference, next to its folder."""
    target = source.parent.parent / "ours.safetensors"
    return to_model_file(
        read_reference(source), target, ConversionOptions(parse_overrides(settings), **options)
    )
