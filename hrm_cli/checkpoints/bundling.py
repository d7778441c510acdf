"""Writes a checkpoint as a bundled model: bfloat16 weights, one puzzle embedding, and facts in the header."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from hrm_cli.checkpoints.bundled import (
    ENTRY,
    SUFFIX,
    BundledFacts,
    BundledModel,
    bundled_folder,
    read_bundled,
)
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import read_model_card, write_model_file
from hrm_cli.config.mixers import serves_every_size
from hrm_cli.config.redact import redact_text, redacted
from hrm_cli.errors import CheckpointError, ConfigError
from hrm_cli.files import written_whole
from hrm_cli.puzzles.arc.domain import ArcDomain

MAX_FILE_BYTES = 14_000_000
"""Maximum size of one bundled model. It keeps the wheel small."""
MAX_TOTAL_BYTES = 40_000_000
"""Maximum size of all bundled models together."""

_PUZZLE_EMBEDDING = "inner.puzzle_emb.weights"


def add_bundled(checkpoint: Path, name: str, facts: BundledFacts, folder: Path | None = None) -> BundledModel:
    """Writes FOLDER/NAME.safetensors and replaces an older one. Raises CheckpointError or ConfigError.

    `checkpoint` may be a bundled model itself. Its weights then stay the same, and only its facts change.
    """
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."):
        raise ConfigError(
            f"--name {name!r}: lowercase letters, digits, - and . are accepted, as in sudoku-9x9"
        )
    card = read_model_card(checkpoint)
    if not card.facts.domain:
        raise CheckpointError(
            f"{card.path}: its puzzles belong to no known domain, so hrm could never choose it for a puzzle"
        )
    if facts.every_size and not serves_every_size(card.preset.arch.mixer):
        raise ConfigError(
            f"{card.path}: --every-size, but with arch.mixer={card.preset.arch.mixer} the weights depend on the size "
            "of the puzzles"
        )
    tensors = {tensor: value.to(torch.bfloat16) for tensor, value in load_file(card.path).items()}
    dataset = card.facts
    # Puzzles read from a file have the blank identifier. Only ARC tasks have their own identifiers.
    if dataset.domain.get("name") != ArcDomain.name and dataset.num_puzzle_identifiers > 1:
        if _PUZZLE_EMBEDDING in tensors:
            tensors[_PUZZLE_EMBEDDING] = tensors[_PUZZLE_EMBEDDING][:1].clone()
        dataset = DatasetFacts(dataset.vocab_size, dataset.seq_len, 1, dataset.domain)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > MAX_FILE_BYTES:
        raise ConfigError(
            f"{card.path}: {size / 1e6:.1f} MB in bfloat16; a bundled model has at most "
            f"{MAX_FILE_BYTES / 1e6:.0f} MB"
        )
    folder = folder or bundled_folder()
    target = folder / f"{name}{SUFFIX}"
    others = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}") if path != target)
    if others + size > MAX_TOTAL_BYTES:
        raise ConfigError(
            f"{folder}: {(others + size) / 1e6:.1f} MB with {name}; all models together have at most "
            f"{MAX_TOTAL_BYTES / 1e6:.0f} MB"
        )
    preset = redacted(card.preset)
    public_facts = replace(
        facts,
        trained_on=redact_text(facts.trained_on),
        measured=tuple(replace(one, on=redact_text(one.on)) for one in facts.measured),
    )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with written_whole(target) as partial:
            write_model_file(partial, tensors, preset, card.step, dataset, extra={ENTRY: public_facts.text()})
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror or error}") from error
    return read_bundled(target)
