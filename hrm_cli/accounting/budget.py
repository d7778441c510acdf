"""Finds the configurations closest to a parameter budget.

A search evaluates thousands of candidates, so it counts them in closed form (`components`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrm_cli.accounting.components import trainable_in_closed_form
from hrm_cli.config.arch import ArchConfig
from hrm_cli.config.schema import find_key
from hrm_cli.errors import ConfigError

VARIABLE = ("hidden_size", "H_layers", "L_layers", "expansion")
"""Fields of `arch` that change the parameter count. A search may vary them."""
DEFAULT_VARY = "hidden_size,H_layers,L_layers"

WIDTH_STEP = 64
MAX_WIDTH = 8192
MAX_LAYERS = 64
EXPANSIONS = tuple(half / 2 for half in range(2, 17))
"""1 to 8 in steps of a half."""
HEAD_SIZES = (32, 128)
"""Range of sensible head sizes. The search uses the size closest to the given configuration's."""
MAX_ASPECT_CHANGE = 2.0
"""If width and depth both vary, width ÷ blocks may differ from the given configuration's by at most this factor."""

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


@dataclass(frozen=True)
class Candidate:
    """A configuration near the budget."""

    arch: ArchConfig
    trainable: int
    error: float
    """Trainable ÷ budget − 1."""
    overrides: tuple[str, ...]
    """The overrides, as `KEY=VALUE`, that turn the preset into this configuration."""


def parse_amount(text: str) -> int:
    """Parses an amount: `7M`, `7.5M`, `500k`, `1B`, `27275266` or `27,275,266`. Raises ConfigError."""
    found = re.fullmatch(
        r"(\d+(?:\.\d+)?|\.\d+)\s*([kmb]?)", text.strip().replace(",", "").replace("_", "").lower()
    )
    amount = round(float(found[1]) * _SUFFIXES[found[2]]) if found else 0
    if amount < 1:
        raise ConfigError(
            f"--budget: found {text!r}; accepted: a number of parameters such as 7M, 500k or 27275266"
        )
    return amount


def parse_vary(text: str, given: ArchConfig) -> list[str]:
    """Parses a list of `arch` fields, such as `hidden_size,H_layers`.

    Fields that do not change the core's parameter count are dropped (TRM has no H_layers). Raises ConfigError for an
    unknown field, or if no field is left.
    """
    accepted = [field for field in VARIABLE if _changes_count(given, field)]
    words = f"accepted: {', '.join(accepted)} (num_heads follows hidden_size)"
    fields = []
    for name in filter(None, map(str.strip, text.split(","))):
        try:
            field = find_key(name).removeprefix("arch.")
        except ConfigError as error:
            raise ConfigError(f"--vary: {error}") from None
        if field not in VARIABLE:
            raise ConfigError(
                f"--vary: {field} does not change the parameter count, or depends on another setting; {words}"
            )
        fields.append(field)
    if not any(field in accepted for field in fields):
        raise ConfigError(
            f"--vary: found {text!r}, which does not change the parameter count of core {given.core}; {words}"
        )
    return [field for field in accepted if field in fields]


def nearest(
    given: ArchConfig,
    vocab_size: int,
    seq_len: int,
    budget: int,
    vary: Sequence[str],
    count: int,
    domain: Mapping[str, Any] | None = None,
) -> list[Candidate]:
    """The `count` configurations closest to `budget` trainable parameters, closest first.

    They differ from `given` only in the fields `vary`, and in num_heads if the width varies. Of configurations with
    the same count, only the one most similar to `given` is returned. `domain` is as for `components`.
    """
    best: dict[int, tuple[float, ArchConfig]] = {}
    for arch in _candidates(given, vary):
        trainable = trainable_in_closed_form(arch, vocab_size, seq_len, domain)
        ranked = (_dissimilarity(arch, given), arch)
        if trainable not in best or ranked[0] < best[trainable][0]:
            best[trainable] = ranked
    order = sorted(best, key=lambda trainable: (abs(trainable - budget), best[trainable][0]))
    return [
        Candidate(arch, trainable, trainable / budget - 1, _overrides(arch, vary))
        for trainable in order[:count]
        for arch in [best[trainable][1]]
    ]


def _changes_count(given: ArchConfig, field: str) -> bool:
    doubled = given.model_copy(update={field: 2 * getattr(given, field)})
    return trainable_in_closed_form(doubled, 1, 1) != trainable_in_closed_form(given, 1, 1)


def _candidates(given: ArchConfig, vary: Sequence[str]) -> Iterator[ArchConfig]:
    widths = range(WIDTH_STEP, MAX_WIDTH + 1, WIDTH_STEP) if "hidden_size" in vary else [given.hidden_size]
    expansions = EXPANSIONS if "expansion" in vary else [given.expansion]
    depths = list(_depths(given, vary))
    aspect = given.hidden_size / (given.H_layers + given.L_layers)
    both_vary = len(widths) > 1 and len(depths) > 1
    follows = given.puzzle_emb_ndim == given.hidden_size
    for hidden in widths:
        heads = _heads(hidden, given.head_dim) if "hidden_size" in vary else given.num_heads
        for slow, fast in depths:
            change = hidden / (slow + fast) / aspect
            if both_vary and not 1 / MAX_ASPECT_CHANGE <= change <= MAX_ASPECT_CHANGE:
                continue
            for expansion in expansions:
                # model_copy skips validation, which would take most of the time. The fields stay within their ranges,
                # and a printed configuration is validated when it is loaded.
                yield given.model_copy(
                    update={
                        "hidden_size": hidden,
                        "num_heads": heads,
                        "H_layers": slow,
                        "L_layers": fast,
                        "expansion": expansion,
                        "puzzle_emb_ndim": hidden if follows else given.puzzle_emb_ndim,
                    }
                )


def _depths(given: ArchConfig, vary: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of H_layers and L_layers. If both vary, each depth is split in the given configuration's proportion."""
    slow_varies, fast_varies = "H_layers" in vary, "L_layers" in vary
    if not (slow_varies and fast_varies):
        for layers in range(1, MAX_LAYERS + 1) if slow_varies or fast_varies else [0]:
            yield layers if slow_varies else given.H_layers, layers if fast_varies else given.L_layers
        return
    for blocks in range(2, 2 * MAX_LAYERS + 1):
        slow = round(blocks * given.H_layers / (given.H_layers + given.L_layers))
        yield min(max(slow, 1), blocks - 1), blocks - min(max(slow, 1), blocks - 1)


def _heads(hidden: int, head_size: int) -> int:
    """The number of heads that divides `hidden` and gives a head size closest to `head_size`."""
    wanted = min(max(head_size, HEAD_SIZES[0]), HEAD_SIZES[1])
    sizes = [size for size in range(2, hidden + 1, 2) if hidden % size == 0]
    return hidden // min(sizes, key=lambda size: (abs(size - wanted), size))


def _dissimilarity(arch: ArchConfig, given: ArchConfig) -> float:
    """How much the proportions differ from those of `given`; 0 if they are equal."""
    aspect = (arch.hidden_size / (arch.H_layers + arch.L_layers)) / (
        given.hidden_size / (given.H_layers + given.L_layers)
    )
    return max(aspect, 1 / aspect) - 1 + abs(arch.expansion - given.expansion)


def _overrides(arch: ArchConfig, vary: Sequence[str]) -> tuple[str, ...]:
    fields = ["hidden_size", "num_heads"] if "hidden_size" in vary else []
    fields += [field for field in VARIABLE if field in vary and field not in fields]
    return tuple(f"{field}={getattr(arch, field):g}" for field in fields)
