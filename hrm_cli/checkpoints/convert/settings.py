"""Determines the configuration of a reference checkpoint, and the source of each setting.

Some settings follow from tensor shapes. The others come from the user, from `all_config.yaml`, from a preset, or from
the publication. The command prints the source of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrm_cli.checkpoints.convert.infer_arch import CannotInferArchError, InferredArch, infer_architecture
from hrm_cli.checkpoints.convert.infer_dataset import TENSORS, ConversionOptions, infer_dataset_facts
from hrm_cli.checkpoints.convert.reference_config import data_path_of, to_our_settings
from hrm_cli.checkpoints.convert.reference_files import ReferenceCheckpoint, sidecar_path
from hrm_cli.checkpoints.dataset_facts import DatasetFacts
from hrm_cli.config.documents import Document
from hrm_cli.config.presets import merge_documents, validated
from hrm_cli.config.schema import Preset
from hrm_cli.data.metadata import is_dataset
from hrm_cli.errors import CheckpointError, ConfigError

HEAD_DIM = 64
"""Width of one attention head in every published run. Gives the number of heads if it is not known."""

DEFAULT = "assumed: the default"

# The published settings of TRM (arXiv 2510.04871), used if no other source has them.
_TRM = {"H_cycles": 3, "puzzle_emb_len": 16}
_TRM_L_CYCLES = {True: 6, False: 4}
# Settings that the command prints with their source.
_SHOWN = (
    "core", "hidden_size", "num_heads", "H_layers", "L_layers", "expansion", "mlp_t", "pos_encodings",
    "puzzle_emb_ndim", "puzzle_emb_len", "H_cycles", "L_cycles", "halt_max_steps", "forward_dtype",
)  # fmt: skip


@dataclass(frozen=True)
class ResolvedSettings:
    """A configuration that matches the checkpoint's tensors."""

    preset: Preset
    facts: DatasetFacts
    sources: dict[str, tuple[Any, str]]
    """Value and source of each setting that affects what the model computes."""


def resolve_settings(checkpoint: ReferenceCheckpoint, options: ConversionOptions) -> ResolvedSettings:
    """Determines the configuration of a reference checkpoint.

    Raises CheckpointError if a setting cannot be determined; the message names the option that sets it. Raises
    ConfigError for a wrong setting.
    """
    try:
        inferred = infer_architecture(checkpoint.shapes)
    except CannotInferArchError as error:
        raise CheckpointError(f"{checkpoint.path}: {_with_prefix(str(error), checkpoint.prefix)}") from None
    document, origins = _layers(checkpoint, options, inferred)
    preset = validated(document, _file_origins(checkpoint, origins))
    facts, seq_len_from = infer_dataset_facts(checkpoint, options, preset, inferred)
    preset = _with_data(preset, options, checkpoint, facts)
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
    return ResolvedSettings(preset, facts, sources)


def _layers(
    checkpoint: ReferenceCheckpoint, options: ConversionOptions, inferred: InferredArch
) -> tuple[Document, dict[str, str]]:
    """The merged settings, and the source of each. Later sources override earlier ones."""
    layers: list[tuple[str, Document]] = []
    sidecar, config = checkpoint.sidecar, checkpoint.config
    if options.preset is not None:
        settings = options.preset.model_dump()
        if settings["arch"]["hidden_size"] != inferred.arch["hidden_size"]:
            # The preset's number of heads belongs to another hidden size.
            del settings["arch"]["num_heads"]
        layers.append((f"--preset {options.preset_name}", settings))
    if sidecar is not None:
        layers.append((sidecar_path(checkpoint.path).name, sidecar.preset.model_dump()))
    elif config is not None and checkpoint.config_path is not None:
        layers.append((checkpoint.config_path.name, to_our_settings(config, str(checkpoint.config_path))))
    else:
        layers += _settings_from_tensors(options, inferred)
    given = options.settings
    if options.num_heads is not None:
        named = given.get("arch", {}).get("num_heads", options.num_heads)
        if named != options.num_heads:
            raise ConfigError(
                f"--num-heads {options.num_heads} contradicts arch.num_heads={named}; give only one"
            )
        given = merge_documents(given, {"arch": {"num_heads": options.num_heads}})
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


def _settings_from_tensors(options: ConversionOptions, inferred: InferredArch) -> list[tuple[str, Document]]:
    """The inferred architecture, and defaults for settings that the tensors do not determine."""
    arch = dict(inferred.arch)
    layers: list[tuple[str, Document]] = []
    if arch["core"] == "trm" and (options.preset is None or options.preset.arch.core != "trm"):
        published: dict[str, Any] = {**_TRM, "L_cycles": _TRM_L_CYCLES[bool(arch.get("mlp_t"))]}
        if arch.get("mlp_t"):
            published["pos_encodings"] = "none"
        layers.append(("assumed: TRM's published value", {"arch": published}))
    if options.preset is not None and options.preset.arch.pos_encodings == "learned":
        # The checkpoint has no position table (else the tensors decide), so the preset's value does not apply.
        layers.append((DEFAULT, {"arch": {"pos_encodings": "rope"}}))
    layers.append((TENSORS, {"arch": arch}))
    return layers


def _heads(checkpoint: ReferenceCheckpoint, inferred: InferredArch) -> tuple[int, str]:
    hidden_size = inferred.arch["hidden_size"]
    if hidden_size % HEAD_DIM:
        if inferred.arch.get("mlp_t"):
            return 1, "the model has no attention"
        raise CheckpointError(
            f"{checkpoint.path}: the tensors do not show the number of heads, and {hidden_size} is not a "
            f"multiple of the usual head_dim {HEAD_DIM}; set it with --num-heads N"
        )
    return hidden_size // HEAD_DIM, f"assumed: head_dim {HEAD_DIM}; --num-heads overrides it"


def _with_data(
    preset: Preset, options: ConversionOptions, checkpoint: ReferenceCheckpoint, facts: DatasetFacts
) -> Preset:
    """Returns the preset with a `data` section that describes the model's puzzles."""
    if checkpoint.sidecar is not None and options.data is None:
        return preset
    path = None if options.data is None else str(options.data)
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
    """Maps the settings that come from the configuration file to its path, for error messages."""
    path = checkpoint.config_path
    return {} if path is None else {key: str(path) for key, source in origins.items() if source == path.name}


def _with_prefix(message: str, prefix: str) -> str:
    """Returns `message` with the parameter names as they are in the file."""
    return message.replace("inner.", f"{prefix}inner.")
