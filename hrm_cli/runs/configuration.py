"""Loads presets and checks names in them against the registries, which the configuration layer must not import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hrm_cli.config.data import DataConfig
from hrm_cli.config.overrides import parse_overrides
from hrm_cli.config.presets import NameCheck, load_preset, merge_documents, validated
from hrm_cli.config.schema import Preset

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain

DEFAULT_PRESET = "tiny"
"""Default preset of `hrm train`."""


def load_configuration(name_or_path: str, overrides: Sequence[str] | None = None) -> Preset:
    """Loads the preset of `--preset NAME KEY=VALUE…`. Raises ConfigError, which lists every problem."""
    return load_preset(name_or_path, overrides or (), _name_checks())


def configuration_of_run(
    preset_name: str | None, overrides: Sequence[str] | None, checkpoint: Path | None
) -> tuple[Preset, str]:
    """The configuration of a new run, and a name for its folder.

    If a checkpoint to start from is given but no preset, the checkpoint's configuration is used. Raises ConfigError, or
    CheckpointError if there is no such checkpoint, before a dataset is built.
    """
    from hrm_cli.checkpoints.model_files import read_model_card

    if checkpoint is None or preset_name is not None:
        preset = load_configuration(preset_name or DEFAULT_PRESET, overrides)
        name = Path(preset_name or DEFAULT_PRESET).stem
    else:
        own = read_model_card(checkpoint).preset.model_dump()
        preset = validated(merge_documents(own, parse_overrides(overrides or ())), {}, _name_checks())
        name = checkpoint.stem
    if checkpoint is not None:
        train = preset.train.model_copy(update={"init_from": checkpoint.as_posix()})
        preset = preset.model_copy(update={"train": train})
    if preset.train.init_from is not None:
        read_model_card(Path(preset.train.init_from))
    return preset, name


def _name_checks() -> dict[str, NameCheck]:
    from hrm_cli.models.registry import check_core

    return {"arch.core": check_core, "data.domain": _check_domain}


def _check_domain(name: str) -> None:
    from hrm_cli.puzzles.domain import DOMAINS

    if name not in DOMAINS:
        from hrm_cli.plugins import load_plugin

        load_plugin("domain", name, list(DOMAINS), "data.domain: ")


def domain_of(data: DataConfig) -> Domain:
    """The domain that a data section describes. Raises ConfigError for a size that the domain does not support."""
    from hrm_cli.puzzles.domain import OWN_PUZZLES, make_domain

    if data.domain == OWN_PUZZLES:
        return make_domain(data.domain)  # raises ConfigError, because only a dataset determines the sizes
    # Without a size, every domain uses its default size.
    return make_domain(data.domain, **data.shape)
