"""Converts reference checkpoints to model files and back, bit for bit.

Tensors keep their dtype in both directions, with one exception: the reference stores the two initial states in the
forward dtype, because its attention accepts no other. This project stores them in float32. They are rounded when a
reference checkpoint is written, and the exact values go to a sidecar file (`reference_files.Sidecar`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hrm_cli.checkpoints.convert.infer_arch import PUZZLE_TABLE
from hrm_cli.checkpoints.convert.infer_dataset import ConversionOptions
from hrm_cli.checkpoints.convert.reference_config import (
    CONFIG_FILE,
    read_reference_config,
    to_our_settings,
    to_reference_config,
)
from hrm_cli.checkpoints.convert.reference_files import (
    INITIAL_STATES,
    PREFIX,
    ReferenceCheckpoint,
    Sidecar,
    exact_initial_states,
    refuse_existing_config,
    sidecar_path,
    write_sidecar,
)
from hrm_cli.checkpoints.convert.settings import resolve_settings
from hrm_cli.checkpoints.convert.torch_files import write_torch_file
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.checkpoints.model_files import (
    REFERENCE_ENTRY,
    ModelCard,
    check_intact,
    compare_shapes,
    model_card,
    not_finite,
    read_header,
    write_model_file,
)
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.documents import Document
from hrm_cli.config.presets import merge_documents
from hrm_cli.config.schema import Preset
from hrm_cli.errors import CheckpointError, reason_of
from hrm_cli.files import write_text, written_whole
from hrm_cli.json_text import parse_json
from hrm_cli.models.layers import mean_table
from hrm_cli.models.registry import build_model

ORIGIN_KEY = REFERENCE_ENTRY
"""Header entry of a converted file. It contains what is needed to write the original file again."""

_CORES = ("hrm", "trm")
# Architecture settings that the reference's models have as well.
_COMMON = (
    "core", "hidden_size", "num_heads", "H_layers", "L_layers", "expansion", "puzzle_emb_ndim", "puzzle_emb_len",
    "pos_encodings", "mlp_t",
)  # fmt: skip

_OURS = (
    "initial_state", "damping", "state_dtype", "position_tables", "qk_norm", "fusion", "middle_cycles",
    "size_adapter_rank",
)  # fmt: skip
"""Architecture settings for which the reference has only the default."""


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion."""

    destination: Path
    preset: Preset
    facts: DatasetFacts
    step: int
    tensors: Mapping[str, Tensor]
    sources: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """For `to_model_file`: each setting's value and where it came from."""
    written: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def to_model_file(
    checkpoint: ReferenceCheckpoint, destination: Path, options: ConversionOptions
) -> Conversion:
    """Converts a reference checkpoint to a model file.

    Raises CheckpointError if tensors are missing, unknown or have the wrong shape, and ConfigError for wrong settings.
    """
    resolved = resolve_settings(checkpoint, options)
    tensors, notes = dict(checkpoint.tensors), []
    rows = options.resize_puzzle_embedding
    if rows is not None:
        tensors = resize_puzzle_table(checkpoint.path, tensors, rows)
        notes.append(
            f"puzzle embeddings: {rows:,} rows, each the mean of the {len(checkpoint.tensors[PUZZLE_TABLE]):,} "
            "original rows"
        )
    prefix, facts = checkpoint.prefix, resolved.facts
    compare_shapes(
        checkpoint.path,
        {f"{prefix}{name}": shape for name, shape in reference_shapes(resolved.preset.arch, facts).items()},
        {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in tensors.items()},
    )
    notes += _note_not_finite(tensors)
    tensors |= exact_initial_states(checkpoint)
    if checkpoint.averaged:
        notes.append(
            "weights: the averaged (EMA) weights of ema_helper, which the reference uses for evaluation"
        )
    _write_ours(destination, tensors, resolved.preset, checkpoint, facts)
    return Conversion(
        destination,
        resolved.preset,
        facts,
        checkpoint.step,
        tensors,
        resolved.sources,
        (destination,),
        tuple(notes),
    )


def to_reference(
    model_file: Path, destination: Path, *, rows: int | None = None, force: bool = False
) -> Conversion:
    """Converts a model file to a reference checkpoint: a torch file, and `all_config.yaml` next to it.

    `rows` resizes the puzzle embedding table. Raises CheckpointError if the reference has no such model, or if a
    different `all_config.yaml` exists next to the destination and `force` is False.
    """
    header = read_header(model_file)
    card = model_card(header)
    _check_exists_in_reference(card)
    try:
        tensors = load_file(card.path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{card.path}: cannot be read: {reason_of(error)}") from None
    check_intact(header, tensors)
    if rows is not None:
        tensors = resize_puzzle_table(card.path, tensors, rows)
    origin = _origin(header.metadata, card.path)
    config = _config_text(card, origin, destination)
    if not force:
        refuse_existing_config(destination.parent, config)
    written = [destination, destination.parent / CONFIG_FILE]
    notes = _note_not_finite(tensors)
    if origin is None:
        exact = {name: tensors[name] for name in INITIAL_STATES}
        if card.preset.arch.forward_dtype != "float32":
            tensors |= {name: state.to(torch.bfloat16) for name, state in exact.items()}
            notes.append("H_init, L_init: rounded to bfloat16, as the reference stores them")
        write_sidecar(destination, Sidecar(card.preset, card.facts, card.step, exact))
        written.append(sidecar_path(destination))
    prefix = PREFIX if origin is None else origin["prefix"]
    write_torch_file(destination, {f"{prefix}{name}": tensor for name, tensor in tensors.items()})
    write_text(destination.parent / CONFIG_FILE, config)
    return Conversion(
        destination, card.preset, card.facts, card.step, tensors, {}, tuple(written), tuple(notes)
    )


def resize_puzzle_table(path: Path, tensors: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Returns the tensors with a resized puzzle embedding table. Every row is the mean of the old rows.

    The reference resizes in the same way. A table that already has `rows` rows is not changed. Raises CheckpointError
    if there is no table.
    """
    table = tensors.get(PUZZLE_TABLE)
    if table is None:
        raise CheckpointError(f"{path}: has no puzzle embedding table ({PUZZLE_TABLE}) to resize")
    return {**tensors, PUZZLE_TABLE: table if len(table) == rows else mean_table(table, rows)}


def reference_shapes(arch: ArchConfig, facts: DatasetFacts) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in the reference's model of this architecture, by name without the prefix."""
    common = ArchConfig(**{name: getattr(arch, name) for name in _COMMON})
    model = build_model(common, facts.vocab_size, facts.seq_len, facts.num_puzzle_identifiers, device="meta")
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _note_not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    # Weights with NaN or infinity are converted bit for bit as well, with a note.
    broken = not_finite(tensors)
    return (
        [f"weights: {broken} contain NaN or infinity; this model cannot produce an answer"] if broken else []
    )


def _written(value: Any) -> str:
    """A setting's value as YAML writes it."""
    return json.dumps(value) if isinstance(value, bool | tuple) else str(value)


def _check_exists_in_reference(card: ModelCard) -> None:
    core = card.preset.arch.core
    if core not in _CORES:
        raise CheckpointError(
            f"{card.path}: core {core} does not exist in the reference, which has {' and '.join(_CORES)}"
        )
    for name in _OURS:
        value, usual = getattr(card.preset.arch, name), ArchConfig.model_fields[name].default
        if value != usual:
            raise CheckpointError(
                f"{card.path}: arch.{name} is {_written(value)}; the reference supports only {_written(usual)}"
            )
    try:
        compare_shapes(card.path, reference_shapes(card.preset.arch, card.facts), card.shapes)
    except CheckpointError as error:
        raise CheckpointError(f"{error}. The reference does not have this variant of {core}") from None


def _origin(metadata: Mapping[str, str], path: Path) -> dict[str, Any] | None:
    if ORIGIN_KEY not in metadata:
        return None
    try:
        origin = parse_json(metadata[ORIGIN_KEY])
        prefix, config = origin["prefix"], origin["config"]
        if not isinstance(prefix, str) or not isinstance(config, str | None):
            raise TypeError
        return {"prefix": prefix, "config": config}
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path}: the header entry {ORIGIN_KEY} cannot be read") from None


def _write_ours(
    destination: Path,
    tensors: Mapping[str, Tensor],
    preset: Preset,
    checkpoint: ReferenceCheckpoint,
    facts: DatasetFacts,
) -> None:
    origin = {"prefix": checkpoint.prefix, "config": checkpoint.config_text}
    # A checkpoint with a sidecar file was a model file before, so the reference is not its origin.
    extra = {} if checkpoint.sidecar else {ORIGIN_KEY: json.dumps(origin)}
    # Cloned because several tensors may share one storage, which safetensors does not write.
    copies = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    try:
        with written_whole(destination) as partial:
            write_model_file(partial, copies, preset, checkpoint.step, facts, extra)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{destination}: cannot be written ({reason_of(error)})") from None


def _config_text(card: ModelCard, origin: Mapping[str, Any] | None, destination: Path) -> str:
    """The text of `all_config.yaml`: the original if it still matches the configuration, else a new one."""
    written = to_reference_config(card.preset, card.preset.data.path or "data", destination.name)
    if origin is not None and origin["config"] is not None:
        text = origin["config"]
        original = read_reference_config(text, f"{card.path}: the original {CONFIG_FILE}")
        if _agrees(original, card.preset):
            return text
        written = merge_documents(original, {**written, "arch": {**original["arch"], **written["arch"]}})
    return yaml.safe_dump(written, sort_keys=True, allow_unicode=True)


def _agrees(original: Document, preset: Preset) -> bool:
    values = preset.model_dump()
    return all(
        values[section][name] == value or values[section][name] == _number(value)
        for section, settings in to_our_settings(original, CONFIG_FILE).items()
        for name, value in settings.items()
    )


def _number(value: Any) -> Any:
    # The reference writes 0.0001. People write 1e-4, which YAML reads as text.
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
