"""Presets whose names are checked against the registries, which the configuration floor may not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hrm_cli.config.presets import load_preset
from hrm_cli.config.schema import DataConfig, Preset
from hrm_cli.errors import ConfigError, closest

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain


def load_configuration(name_or_path: str, overrides: Sequence[str] | None = None) -> Preset:
    """The resolved preset of `--preset NAME KEY=VALUE…`. Raises ConfigError telling every problem."""
    from hrm_cli.models.registry import check_core

    return load_preset(name_or_path, overrides or (), {"arch.core": check_core, "data.domain": _check_domain})


def _check_domain(name: str) -> None:
    from hrm_cli.puzzles.domain import DOMAINS

    if name not in DOMAINS:
        known = ", ".join(DOMAINS)
        raise ConfigError(
            f"data.domain: unknown domain {name!r}{closest(name, list(DOMAINS))}; known: {known}"
        )


def domain_of(data: DataConfig) -> Domain:
    """The domain that a data section describes. Raises ConfigError for a size that the domain does not have."""
    from hrm_cli.puzzles.domain import make_domain

    # Without a size every domain takes its usual one.
    return make_domain(data.domain, **({} if data.size is None else {"size": data.size}))
