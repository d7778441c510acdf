"""Determines our configuration for a checkpoint of the reference, and the source of each setting.

Settings that follow from tensor shapes come from them. The others come from the user, from `all_config.yaml`, from a
preset, or from the publication; the command prints which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.convert.facts import TENSORS, Wishes, facts_of
from hrm_cli.checkpoints.convert.infer_arch import CannotInferError, Inferred, infer_architecture
from hrm_cli.checkpoints.convert.reference_config import data_path_of, ours_of
from hrm_cli.checkpoints.convert.reference_files import ReferenceCheckpoint, companion_file
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.documents import Document
from hrm_cli.config.presets import merge_documents, validated
from hrm_cli.config.schema import Preset
from hrm_cli.data.metadata import is_dataset
from hrm_cli.errors import CheckpointError, ConfigError

HEAD_DIM = 64
"""Width of one attention head in every published run: what heads are counted by where nothing says their number."""

DEFAULT = "assumed: the default"

# How TRM was published (arXiv 2510.04871), where nothing else says so.
_TRM = {"H_cycles": 3, "puzzle_emb_len": 16}
_TRM_L_CYCLES = {True: 6, False: 4}
# Shown with where they came from, the rest of the architecture being of no use to ask about.
_SHOWN = (
    "core", "hidden_size", "num_heads", "H_layers", "L_layers", "expansion", "mlp_t", "pos_encodings",
    "puzzle_emb_ndim", "puzzle_emb_len", "H_cycles", "L_cycles", "halt_max_steps", "forward_dtype",
)  # fmt: skip


@dataclass(frozen=True)
class Settled:
    """A configuration that the checkpoint's tensors fit."""

    preset: Preset
    facts: DatasetFacts
    sources: dict[str, tuple[Any, str]]
    """Of each setting that decides what the model computes: its value, and where it came from."""


def settle(checkpoint: ReferenceCheckpoint, wishes: Wishes) -> Settled:
    """The configuration of a checkpoint of the reference.

    Raises CheckpointError where something cannot be told, saying how to tell it; ConfigError for a wrong setting.
    """
    try:
        inferred = infer_architecture(checkpoint.shapes)
    except CannotInferError as error:
        raise CheckpointError(f"{checkpoint.path}: {_own_names(str(error), checkpoint.prefix)}") from None
    document, origins = _layers(checkpoint, wishes, inferred)
    preset = validated(document, _file_origins(checkpoint, origins))
    facts, seq_len_from = facts_of(checkpoint, wishes, preset, inferred)
    preset = _with_data(preset, wishes, checkpoint, facts)
    arch = preset.arch
    hidden = {"H_layers", "mlp_t"} - ({"mlp_t"} if arch.core == "trm" else {"H_layers"})
    sources = {
        name: (getattr(arch, name), origins.get(f"arch.{name}", DEFAULT))
        for name in _SHOWN
        if name not in hidden
    }
    sources["vocab_size"] = (facts.vocab_size, TENSORS)
    sources["seq_len"] = (facts.seq_len, seq_len_from)
    sources["puzzle_identifiers"] = (facts.num_puzzle_identifiers, TENSORS)
    return Settled(preset, facts, sources)


def _layers(
    checkpoint: ReferenceCheckpoint, wishes: Wishes, inferred: Inferred
) -> tuple[Document, dict[str, str]]:
    """The settings, those of the weakest source first, and which source each came from."""
    layers: list[tuple[str, Document]] = []
    companion, config = checkpoint.companion, checkpoint.config
    if wishes.preset is not None:
        settings = wishes.preset.model_dump()
        if settings["arch"]["hidden_size"] != inferred.arch["hidden_size"]:
            # A preset's heads are for its own width.
            del settings["arch"]["num_heads"]
        layers.append((f"--preset {wishes.preset_name}", settings))
    if companion is not None:
        layers.append((companion_file(checkpoint.path).name, companion.preset.model_dump()))
    elif config is not None and checkpoint.config_path is not None:
        layers.append((checkpoint.config_path.name, ours_of(config, str(checkpoint.config_path))))
    else:
        layers += _told_by_tensors(wishes, inferred)
    given = wishes.settings
    if wishes.num_heads is not None:
        named = given.get("arch", {}).get("num_heads", wishes.num_heads)
        if named != wishes.num_heads:
            raise ConfigError(f"--num-heads {wishes.num_heads} and arch.num_heads={named}: give one of them")
        given = merge_documents(given, {"arch": {"num_heads": wishes.num_heads}})
    layers.append(("given", given))
    document: Document = {}
    origins: dict[str, str] = {}
    for source, settings in layers:
        document = merge_documents(document, settings)
        origins |= {
            f"{section}.{name}": source
            for section, values in settings.items()
            if isinstance(values, dict)
            for name in values
        }
    if "num_heads" not in document.get("arch", {}):
        document["arch"]["num_heads"], origins["arch.num_heads"] = _heads(checkpoint, inferred)
    return document, origins


def _told_by_tensors(wishes: Wishes, inferred: Inferred) -> list[tuple[str, Document]]:
    arch = dict(inferred.arch)
    layers: list[tuple[str, Document]] = []
    if arch["core"] == "trm" and (wishes.preset is None or wishes.preset.arch.core != "trm"):
        published: dict[str, Any] = {**_TRM, "L_cycles": _TRM_L_CYCLES[bool(arch.get("mlp_t"))]}
        if arch.get("mlp_t"):
            published["pos_encodings"] = "none"
        layers.append(("assumed: as TRM was published", {"arch": published}))
    if wishes.preset is not None and wishes.preset.arch.pos_encodings == "learned":
        # Learned positions would be among the tensors.
        layers.append((DEFAULT, {"arch": {"pos_encodings": "rope"}}))
    layers.append((TENSORS, {"arch": arch}))
    return layers


def _heads(checkpoint: ReferenceCheckpoint, inferred: Inferred) -> tuple[int, str]:
    hidden_size = inferred.arch["hidden_size"]
    if hidden_size % HEAD_DIM:
        if inferred.arch.get("mlp_t"):
            return 1, "the model has no attention"
        raise CheckpointError(
            f"{checkpoint.path}: the tensors do not show the number of heads, and {hidden_size} is not a "
            f"multiple of the usual head_dim {HEAD_DIM}; state it with --num-heads N"
        )
    return hidden_size // HEAD_DIM, f"assumed: head_dim {HEAD_DIM}; --num-heads overrides it"


def _with_data(
    preset: Preset, wishes: Wishes, checkpoint: ReferenceCheckpoint, facts: DatasetFacts
) -> Preset:
    """The configuration with its data section about the puzzles that the model is for."""
    if checkpoint.companion is not None and wishes.data is None:
        return preset
    path = None if wishes.data is None else str(wishes.data)
    if path is None and checkpoint.config is not None:
        named = data_path_of(checkpoint.config)
        path = named if named is not None and is_dataset(Path(named)) else None
    changes: dict[str, Any] = {"path": path}
    domain = dict(facts.domain)
    if domain:
        rows = domain.get("rows") if domain.get("rows") == domain.get("columns") else None
        changes |= {"domain": domain["name"], "size": domain.get("size", rows)}
    return preset.model_copy(update={"data": preset.data.model_copy(update=changes)})


def _file_origins(checkpoint: ReferenceCheckpoint, origins: Mapping[str, str]) -> dict[str, str]:
    """The settings that a file is to blame for, by the path a user knows it by."""
    path = checkpoint.config_path
    return {} if path is None else {key: str(path) for key, source in origins.items() if source == path.name}


def _own_names(message: str, prefix: str) -> str:
    """A message about our names, in the names that the file has."""
    return message.replace("inner.", f"{prefix}inner.")
