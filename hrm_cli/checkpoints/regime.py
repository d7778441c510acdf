"""The conditions of a score: training data, built-in knowledge, effort, use of the rules, compute, sample size.

Only scores with the same conditions are comparable. `hrm eval`, `hrm models` and the model cards state them in the
same form. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hrm_cli.config.data import DataConfig
from hrm_cli.config.mixers import is_structured, mixer_entry
from hrm_cli.config.redact import source_name
from hrm_cli.config.schema import Preset
from hrm_cli.printable import counted
from hrm_cli.puzzles.domain import parse_domain

Rules = Literal["not used", "verify answers", "verify answers and prune the search"]


@dataclass(frozen=True)
class Regime:
    """The conditions of a score, other than the weights."""

    training_data: str
    built_in_knowledge: str
    effort: str
    """`one pass of at most 16 steps`, and the stages after it."""
    rules: Rules
    """How the rules of the puzzle were used while solving."""
    flops_per_puzzle: float | None
    """None if no puzzle has a known answer."""
    puzzles: int
    interval: tuple[float, float]
    """The 95 % interval of the score, between 0 and 1."""

    def document(self) -> dict[str, Any]:
        """The object `regime` of `hrm eval --json`."""
        return {**vars(self), "interval": list(self.interval)}

    def describe(self) -> str:
        """The regime as one line of text."""
        low, high = self.interval
        flops = "" if self.flops_per_puzzle is None else f"; {self.flops_per_puzzle:.2g} FLOPs per puzzle"
        return (
            f"Regime: trained on {self.training_data}; {knowledge_text(self.built_in_knowledge)}; {self.effort}; "
            f"rules: {self.rules}{flops}; {counted(self.puzzles, 'puzzle')} (95 %: {low:.1%} to {high:.1%})"
        )


NO_KNOWLEDGE = "none"


def knowledge_text(built_in: str) -> str:
    """The built-in knowledge as part of a sentence."""
    return (
        "no knowledge of the rules built in"
        if built_in == NO_KNOWLEDGE
        else f"built-in knowledge: {built_in}"
    )


def built_in_knowledge(mixer: str | None, domain: Mapping[str, Any], *, position_tables: bool = False) -> str:
    """The knowledge of the rules that an architecture has before training."""
    if position_tables:
        units = "row, column or box" if domain.get("name") == "sudoku" else "row or column"
        return f"which cells share a {units} (arch.position_tables)"
    if not is_structured(mixer):
        return NO_KNOWLEDGE
    if mixer == "units" and domain.get("name") == "sudoku":
        return "rows, columns and boxes, and that digits are interchangeable (arch.mixer=units)"
    return f"{mixer_entry(str(mixer)).knows} (arch.mixer={mixer})"


def training_data(
    preset: Preset, domain: Mapping[str, Any], *, trained_on: str | None = None, is_converted: bool = False
) -> str:
    """Number and kind of the training puzzles, from a model file's header.

    `trained_on` is a bundled model's description of its training data. It takes precedence.
    """
    if trained_on:
        return trained_on
    if is_converted:
        return "data of the reference implementation, which the model file does not describe"
    data = preset.data
    found = parse_domain(dict(domain))
    what = found.describe() if found is not None else data.domain
    if data.path is not None:
        text = f"{what}: the dataset {source_name(data.path)}, which the model file does not describe"
    else:
        text = f"{what}: " + ", and ".join(
            _describe_source(source) for source in data.sources if _is_trained_on(source)
        )
    start = preset.train.init_from
    return text if start is None else f"{text}; initialized from the weights of {source_name(start)}"


def _is_trained_on(source: DataConfig) -> bool:
    return bool(source.num_train) if source.source == "builtin" else source.subsample_size != 0


def _describe_source(source: DataConfig) -> str:
    """`1,000 generated puzzles (minimal), 8 augmented copies each`."""
    if source.source == "builtin":
        text = f"{source.num_train:,} generated puzzles ({_kind(source)})"
    else:
        count = "all" if source.subsample_size is None else f"{source.subsample_size:,}"
        text = f"{count} training puzzles of {source_name(source.source)}"
    if source.variations:
        text += f" with {source.variations:,} variations"
    if source.augment == "online":
        return f"{text}, a random symmetry at every visit"
    return f"{text}, {source.num_aug:,} augmented copies each" if source.num_aug else text


def _kind(source: DataConfig) -> str:
    if source.domain == "maze":
        return source.style if source.min_path <= 1 else f"{source.style}, paths of {source.min_path} or more"
    clues = source.clues if source.clues == "minimal" else f"{source.clues} clues"
    harder = f", {source.min_difficulty} or more branches" if source.min_difficulty else ""
    return f"{clues}{harder}"
