"""The ledger: all published figures about HRM's size, what each of them counted, and the correct figure.

Only the published figures are stored. The rest (the correct figure, what the published figure counted, the verdict) is
computed from presets and formulas when it is requested.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from hrm_cli.accounting import kinds
from hrm_cli.accounting.approximations import Approximation, approximate
from hrm_cli.accounting.counting import ExactCount, count_exactly
from hrm_cli.accounting.report import trainable_by_kind
from hrm_cli.config.arch import NOVA_POSITIONS, ArchConfig
from hrm_cli.config.presets import load_preset

SUDOKU_TOKENS, SUDOKU_CELLS = 11, 81
"""Vocabulary size and sequence length that the size guide and the paper's Sudoku figures assume."""
ARC_TOKENS = 12
"""Vocabulary size used in the published count of nova: ten colors, padding, end of grid."""
CLARIFIED_IDENTIFIERS = 1000
"""Puzzle identifiers of the parameter clarification's dataset."""

PAPER = "HRM paper (arXiv 2506.21734)"
GUIDE_TABLE = "size guide, table of presets"
GUIDE_EXAMPLE = "size guide, example"
GUIDE_ADVICE = "size guide, advice"
CLARIFICATION = "parameter clarification"
INNOVATIONS = "architecture innovations"


@dataclass(frozen=True)
class Claim:
    """A published figure."""

    claim: str
    source: str
    claimed: str
    """The figure as published."""
    low: float
    """The smallest value that rounds to the published figure: 26.5M for 27M."""
    high: float


@dataclass(frozen=True)
class Finding:
    """The computed result for a claim."""

    computed: float
    """The correct figure in `unit`, usually the number of trainable parameters."""
    counted: str
    """What the published figure counted."""
    command: str
    """The command that reproduces the computed figure."""
    unit: str = "parameters"
    """`parameters`, `share` (a fraction from 0 to 1), or `difference` (of two counts)."""
    reproduced: float | None = None
    """The published figure recomputed exactly, if its derivation was found."""


@dataclass(frozen=True)
class Entry:
    """One row of the ledger."""

    claim: str
    source: str
    claimed: str
    computed: float
    counted: str
    verdict: str
    right: bool
    unit: str
    reproduced: float | None
    command: str


@dataclass(frozen=True)
class _CountedModel:
    """A configuration used in the ledger, with its exact and approximate counts."""

    arch: ArchConfig
    exact: ExactCount
    guide: Approximation
    rule: Approximation
    command: str


def ledger() -> list[Entry]:
    """Computes all entries."""
    return [_entry(claim, find()) for claim, find in _CLAIMS]


def ledger_document() -> dict[str, Any]:
    """The JSON document of `hrm params --explain`."""
    return {"claims": [asdict(entry) for entry in ledger()]}


def _entry(claim: Claim, finding: Finding) -> Entry:
    right = claim.low <= finding.computed <= claim.high
    return Entry(
        claim.claim,
        claim.source,
        claim.claimed,
        finding.computed,
        finding.counted,
        "right" if right else _deviation(claim, finding),
        right,
        finding.unit,
        finding.reproduced,
        finding.command,
    )


def _deviation(claim: Claim, finding: Finding) -> str:
    """The deviation of a wrong claim from the correct figure, as text."""
    too_high = claim.low > finding.computed
    nearest = claim.low if too_high else claim.high
    if finding.reproduced is not None:
        nearest = finding.reproduced
    if finding.unit == "share":
        points = abs(nearest - finding.computed) * 100
        return f"{points:.0f} points {'high' if too_high else 'low'}"
    return f"{abs(nearest / finding.computed - 1):.1%} {'high' if too_high else 'low'}"


@functools.cache
def _count(
    preset: str, *overrides: str, vocab_size: int = SUDOKU_TOKENS, identifiers: int = 1
) -> _CountedModel:
    arch = load_preset(preset, overrides).arch
    exact = count_exactly(arch, vocab_size, SUDOKU_CELLS, identifiers)
    guide, rule = approximate(arch, vocab_size, identifiers, trainable_by_kind(exact.kinds))
    return _CountedModel(arch, exact, guide, rule, " ".join(["hrm params --preset", preset, *overrides]))


def _all_trainable(preset: str) -> Finding:
    model = _count(preset)
    total = model.exact.trainable
    return Finding(total, f"every trainable parameter of preset {preset}", model.command, reproduced=total)


def _rule_of_thumb(preset: str) -> Finding:
    model = _count(preset)
    rule, guide = model.rule, model.guide
    return Finding(
        model.exact.trainable,
        f"{rule.parameters:,}, by the rule of thumb of 12·H² per block, which {rule.words()}. "
        f"The guide's own function gives {guide.parameters:,} ({guide.error:+.2%})",
        model.command,
        reproduced=rule.parameters,
    )


def _medium() -> Finding:
    model = _count("medium")
    smaller = _count("medium", "H_layers=2", "L_layers=2")
    return Finding(
        model.exact.trainable,
        f"something that we could not identify: both formulas give {model.rule.parameters:,}. "
        f"With 2+2 layers instead of 3+3 it has {smaller.exact.trainable:,}",
        model.command,
    )


def _legion() -> Finding:
    model = _count("legion", identifiers=CLARIFIED_IDENTIFIERS)
    hidden, blocks = model.arch.hidden_size, model.arch.H_layers + model.arch.L_layers
    feed_forward = 2 * hidden * 4 * hidden + hidden
    embedding = SUDOKU_TOKENS * model.arch.puzzle_emb_size
    formula = blocks * (4 * hidden**2 + feed_forward) + embedding
    real = trainable_by_kind(model.exact.kinds)
    return Finding(
        model.exact.trainable,
        f"{formula:,}, by a hand formula: {blocks} blocks with a feed-forward of two matrices "
        f"({feed_forward:,} each), "
        f"where the model's SwiGLU has three ({real[kinds.SWIGLU] // blocks:,}); an embedding of "
        f"{embedding:,}, where the model has {real[kinds.EMBEDDINGS]:,}; and no heads, which have "
        f"{real[kinds.HEADS]:,}. The puzzle "
        f"table, {model.exact.puzzle_embedding:,} at {CLARIFIED_IDENTIFIERS:,} identifiers, is stored in addition",
        model.command,
        reproduced=formula,
    )


def _nova() -> _CountedModel:
    return _count("nova", vocab_size=ARC_TOKENS)


def _nova_stored() -> Finding:
    model = _nova()
    exact = model.exact
    return Finding(
        exact.trainable,
        f"{exact.state_dict:,}, all stored numbers: {exact.buffers:,} of them are a fixed position table of "
        f"{NOVA_POSITIONS:,} × {model.arch.hidden_size} numbers, which is never trained",
        model.command,
        reproduced=exact.state_dict,
    )


def _nova_trainable() -> Finding:
    model = _nova()
    arch = model.arch
    same_size = _count(
        "base", f"hidden_size={arch.hidden_size}", f"num_heads={arch.num_heads}", f"H_layers={arch.H_layers}",
        f"L_layers={arch.L_layers}", vocab_size=ARC_TOKENS,
    )  # fmt: skip
    return Finding(
        model.exact.trainable,
        "the trainable parameters of the same model, without that table. It is not a smaller HRM but "
        f"another architecture (preset nova); HRM of that width and depth has {same_size.exact.trainable:,}",
        model.command,
        reproduced=model.exact.trainable,
    )


def _expansion() -> Finding:
    wide, narrow = _count("base"), _count("base", "expansion=3")
    numbers = [trainable_by_kind(model.exact.kinds)[kinds.SWIGLU] for model in (wide, narrow)]
    blocks = wide.arch.H_layers + wide.arch.L_layers
    widths = [count // (3 * blocks * wide.arch.hidden_size) for count in numbers]
    return Finding(
        1 - numbers[1] / numbers[0],
        f"the factor alone, 3 ÷ 4. But the width is rounded up to a multiple of 256: at H = {wide.arch.hidden_size} "
        f"it decreases from {widths[0]:,} to {widths[1]:,}",
        narrow.command,
        "share",
        reproduced=1 - 3 / 4,
    )


def _heads() -> Finding:
    counts = [_count("base", f"num_heads={heads}").exact.trainable for heads in (4, 8, 16)]
    return Finding(
        max(counts) - min(counts),
        f"base with 4, 8 and 16 heads: {counts[0]:,} each. More heads means narrower heads",
        "hrm params --preset base num_heads=16",
        "difference",
    )


def _cycles() -> Finding:
    few, many = _count("base"), _count("base", "H_cycles=4", "L_cycles=4")
    return Finding(
        many.exact.trainable - few.exact.trainable,
        f"base with cycles 2/2 and 4/4: {few.exact.trainable:,} each. The same modules run more often",
        many.command,
        "difference",
    )


_CLAIMS: tuple[tuple[Claim, Callable[[], Finding]], ...] = (
    (Claim("HRM has 27M parameters", PAPER, "27M", 26.5e6, 27.5e6), lambda: _all_trainable("base")),
    (Claim("the base model has ~25M", GUIDE_TABLE, "~25M", 24.5e6, 25.5e6), lambda: _rule_of_thumb("base")),
    (
        Claim("the tiny model has ~0.40M", GUIDE_TABLE, "~0.40M", 0.395e6, 0.405e6),
        lambda: _rule_of_thumb("tiny"),
    ),
    (
        Claim("the small model has ~3.2M", GUIDE_TABLE, "~3.2M", 3.15e6, 3.25e6),
        lambda: _rule_of_thumb("small"),
    ),
    (Claim("384 wide, 3+3 layers: ~7–8M", GUIDE_EXAMPLE, "~7–8M", 7e6, 8e6), _medium),
    (
        Claim("768 wide, 6+6 layers: ~85M", GUIDE_EXAMPLE, "~85M", 84.5e6, 85.5e6),
        lambda: _all_trainable("large"),
    ),
    (Claim("the 6+4-layer model has 31.5M", CLARIFICATION, "31,463,808", 31.45e6, 31.55e6), _legion),
    (Claim("the bridged model has 6.95M", INNOVATIONS, "6.95M", 6.945e6, 6.955e6), _nova_stored),
    (Claim("the bridged model has ~5–6M", CLARIFICATION, "~5–6M", 5e6, 6e6), _nova_trainable),
    (Claim("expansion 3 saves ~25% of MLP", GUIDE_ADVICE, "~25%", 0.225, 0.275), _expansion),
    (Claim("num_heads alone changes nothing", GUIDE_ADVICE, "no change", 0, 0), _heads),
    (Claim("cycles add no parameters", GUIDE_ADVICE, "none", 0, 0), _cycles),
)
