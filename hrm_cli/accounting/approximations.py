"""The two published approximations of HRM's parameter count, term by term, and the reasons for their errors.

Both are from the size guide (docs/parameter-counts.md): a function, and a rule of thumb that its table uses. With K
blocks, hidden size H, SwiGLU width I, vocabulary size V and `ids` puzzle identifiers:

- guide function: K·(4 + 3·I/H)·H² + 2VH + ids·H + 2H
- rule of thumb: K·12·H² + 2VH + H + 2H
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hrm_cli.accounting import kinds
from hrm_cli.config.arch import ArchConfig, swiglu_width

_MIN_REPORTED = 0.001
"""Minimum difference that is reported, as a fraction of the exact count."""


@dataclass(frozen=True)
class Reason:
    """A kind of parameter that a formula counts wrongly."""

    kind: str
    difference: int
    """Formula − exact."""
    words: str
    """The reason as text."""


@dataclass(frozen=True)
class Approximation:
    """A hand formula compared with the exact count."""

    name: str
    parameters: int
    error: float
    """Formula ÷ exact − 1."""
    reasons: tuple[Reason, ...]
    """The parts of the difference, largest first."""
    is_foreign: bool
    """Whether the formula was made for another architecture."""

    def words(self) -> str:
        """The reasons as text, without negligible ones."""
        exact = self.parameters / (1 + self.error)
        reported = [r.words for r in self.reasons if abs(r.difference) >= _MIN_REPORTED * exact]
        if self.is_foreign:
            return f"the formula was made for HRM with attention; it is off by {', '.join(reported)}"
        return "; ".join(reported)


def guide_terms(arch: ArchConfig, vocab_size: int, num_puzzle_identifiers: int = 1) -> dict[str, int]:
    """The terms of the guide's function, by the kind of parameter that each term counts."""
    hidden, blocks = arch.hidden_size, arch.H_layers + arch.L_layers
    puzzles = num_puzzle_identifiers * hidden if arch.puzzle_emb_size else 0
    return {
        kinds.ATTENTION: blocks * 4 * hidden**2,
        kinds.SWIGLU: blocks * 3 * swiglu_width(hidden, arch.expansion) * hidden,
        kinds.EMBEDDINGS: vocab_size * hidden,
        kinds.HEADS: vocab_size * hidden + 2 * hidden,
        kinds.PUZZLE_EMBEDDING: puzzles,
    }


def rule_of_thumb_terms(arch: ArchConfig, vocab_size: int) -> dict[str, int]:
    """The terms of the rule of thumb, by kind. Of the 12·H² per block, 4·H² are attention."""
    hidden, blocks = arch.hidden_size, arch.H_layers + arch.L_layers
    return {
        kinds.ATTENTION: blocks * 4 * hidden**2,
        kinds.SWIGLU: blocks * 8 * hidden**2,
        kinds.EMBEDDINGS: vocab_size * hidden,
        kinds.HEADS: vocab_size * hidden + 2 * hidden,
        kinds.PUZZLE_EMBEDDING: hidden,
    }


def approximate(
    arch: ArchConfig, vocab_size: int, num_puzzle_identifiers: int, trainable: Mapping[str, int]
) -> tuple[Approximation, Approximation]:
    """The guide's function and the rule of thumb compared with the exact trainable parameters, given by kind."""
    guide = guide_terms(arch, vocab_size, num_puzzle_identifiers)
    rule = rule_of_thumb_terms(arch, vocab_size)
    return (
        _compare("guide function", guide, arch, trainable),
        _compare("rule of thumb 12·H²", rule, arch, trainable),
    )


def _compare(
    name: str, terms: Mapping[str, int], arch: ArchConfig, trainable: Mapping[str, int]
) -> Approximation:
    total, exact = sum(terms.values()), sum(trainable.values())
    differences = {kind: terms.get(kind, 0) - trainable.get(kind, 0) for kind in {**terms, **trainable}}
    reasons = [
        Reason(kind, difference, _reason_text(kind, terms.get(kind, 0), trainable.get(kind, 0), arch))
        for kind, difference in differences.items()
        if difference
    ]
    reasons.sort(key=lambda reason: -abs(reason.difference))
    return Approximation(name, total, total / exact - 1, tuple(reasons), _is_foreign(arch))


def _is_foreign(arch: ArchConfig) -> bool:
    """Whether the formulas were made for another architecture: they count attention and two modules without gates."""
    return arch.core != "hrm" or arch.mixer != "attention" or arch.has_levels


def _reason_text(kind: str, counted: int, exact: int, arch: ArchConfig) -> str:
    if _is_foreign(arch):
        return f"{counted - exact:+,} for {kind}"
    if kind == kinds.SWIGLU:
        return _width_text(arch)
    if kind == kinds.ATTENTION:
        return f"misses the {exact - counted:,} factors of QK norm"
    if kind == kinds.HEADS:
        return f"misses the Q head's {exact - counted:,} biases"
    if kind == kinds.EMBEDDINGS:
        return f"misses {exact - counted:,} parameters of learned position embeddings"
    return f"counts {counted:,} puzzle-embedding numbers, which the network's optimizer does not train"


def _width_text(arch: ArchConfig) -> str:
    width, counted = swiglu_width(arch.hidden_size, arch.expansion), 8 * arch.hidden_size / 3
    if arch.expansion == 4:
        return f"assumes a SwiGLU width of {counted:,.0f}; the model rounds it up to {width:,}, a multiple of 256"
    return (
        f"assumes a SwiGLU width of {counted:,.0f}, as for expansion 4; at {arch.expansion:g} it is {width:,}"
    )
