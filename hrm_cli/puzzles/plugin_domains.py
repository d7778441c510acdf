"""Creates the domains that plugins add."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hrm_cli.errors import ConfigError, HRMError
from hrm_cli.plugins import load_plugin
from hrm_cli.printable import cut, quoted

if TYPE_CHECKING:
    from hrm_cli.puzzles.domain import Domain

_USED: dict[tuple[int, int], Domain] = {}
"""The plugins' domains that this process has created, by vocabulary and length."""


def make_plugin_domain(name: object, facts: Mapping[str, Any], built_in: Sequence[str]) -> Domain:
    """Creates the domain of the plugin called `name`.

    Raises ConfigError for an unknown name or option, if the constructor fails, or if the domain has another name.
    """
    factory = load_plugin("domain", name, built_in)
    accepted = list(inspect.signature(factory).parameters)
    for option, value in facts.items():
        if option not in accepted:
            raise ConfigError(
                f"domain {name}: unknown option {quoted(option, 80)}; accepted: {', '.join(accepted)}"
            )
        if value is not None and type(value) is not int:
            raise ConfigError(f"domain {name}: {option}: found {quoted(value, 40)}; expected a whole number")
    try:
        domain: Domain = factory(**facts)
    except HRMError:
        raise
    except Exception as error:
        raise ConfigError(
            f"domain {name}: cannot be created with {quoted(dict(facts), 80)} "
            f"({type(error).__name__}: {cut(str(error), 200)})"
        ) from error
    if domain.name != name:
        raise ConfigError(
            f"domain {name}: its name is {quoted(domain.name, 40)}; expected the name of its entry point"
        )
    _USED[domain.vocab_size, domain.seq_len] = domain
    return domain


def used_domain(vocab_size: int, seq_len: int) -> Domain | None:
    """The domain with this shape that this process has created. Inferring a domain imports no plugin."""
    return _USED.get((vocab_size, seq_len))
