"""Infers the architecture of a checkpoint without configuration from the names and shapes of its tensors.

Shapes do not determine the number of heads, cycles and steps, nor the puzzle length if positions are rotary.

Letters in shapes: H hidden size, V vocabulary, I inner width of a SwiGLU, P puzzle positions, S tokens of a puzzle.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hrm_cli.models.sizes import swiglu_width

Shapes = Mapping[str, tuple[int, ...]]

EMBED_TOKENS = "inner.embed_tokens.embedding_weight"
EMBED_POS = "inner.embed_pos.embedding_weight"
PUZZLE_TABLE = "inner.puzzle_emb.weights"
_LAYER = re.compile(r"inner\.([HL]_level)\.layers\.(\d+)\.")
_STATES = {"inner.H_init": 0, "inner.L_init": 0}
_HALVES = [step / 2 for step in range(1, 129)]


@dataclass(frozen=True)
class Inferred:
    """The inferred properties."""

    arch: dict[str, Any]
    """Fields of `ArchConfig`."""
    vocab_size: int
    num_puzzle_identifiers: int | None
    """Rows of the puzzle table; None without one."""
    positions: int | None
    """P + S, from a position table or a token-mixing MLP; None if positions are rotary."""


class CannotInferError(ValueError):
    """The tensors are not those of an HRM or a TRM; the message says why, without naming the file."""


def infer_architecture(shapes: Shapes) -> Inferred:
    """Reads core, widths, depths and tables off tensors named as in this project. Raises CannotInferError.

    Every width is that of most of the tensors that have it, so that a single misshaped one does not decide; whether
    all of them fit is for the caller to compare.
    """
    layers = _layers(shapes)
    if "L_level" not in layers:
        raise CannotInferError("inner.L_level.layers.0 is missing")
    hidden_size = _most(
        shapes, {EMBED_TOKENS: 1, "inner.lm_head.weight": 1, "inner.q_head.weight": 1} | _STATES
    )
    vocab_size = _most(shapes, {EMBED_TOKENS: 0, "inner.lm_head.weight": 0})
    core = "hrm" if "H_level" in layers else "trm"
    arch: dict[str, Any] = {"core": core, "hidden_size": hidden_size, "L_layers": layers["L_level"]}
    if core == "hrm":
        arch["H_layers"] = layers["H_level"]
        # HRM derives it from the width of the table.
        arch["puzzle_emb_len"] = 0
    widths = [(hidden_size, _most(shapes, _of_every_layer(shapes, ".mlp.down_proj.weight", 1)))]
    mixing = _of_every_layer(shapes, ".mlp_t.down_proj.weight", 0)
    positions = None
    arch["mlp_t"] = bool(mixing)
    if mixing:
        positions = _most(shapes, mixing)
        widths.append((positions, _most(shapes, dict.fromkeys(mixing, 1))))
    if EMBED_POS in shapes:
        arch["pos_encodings"] = "learned"
        positions = _most(shapes, {EMBED_POS: 0})
    identifiers = None
    arch["puzzle_emb_ndim"] = 0
    if PUZZLE_TABLE in shapes:
        identifiers = _most(shapes, {PUZZLE_TABLE: 0})
        arch["puzzle_emb_ndim"] = _most(shapes, {PUZZLE_TABLE: 1})
    expansion = _expansion(widths)
    if expansion is not None:
        arch["expansion"] = expansion
    return Inferred(arch, vocab_size, identifiers, positions)


def _most(shapes: Shapes, axes: Mapping[str, int]) -> int:
    """The size that most of the tensors have along their axis."""
    sizes = [shapes[name][axis] for name, axis in axes.items() if len(shapes.get(name, ())) > axis]
    if not sizes:
        raise CannotInferError(
            f"{next(iter(axes), 'inner.L_level.layers.0.mlp.down_proj.weight')} is missing"
        )
    return Counter(sizes).most_common(1)[0][0]


def _of_every_layer(shapes: Shapes, ending: str, axis: int) -> dict[str, int]:
    return {name: axis for name in shapes if _LAYER.match(name) and name.endswith(ending)}


def _layers(shapes: Shapes) -> dict[str, int]:
    """Blocks of each module; one that is missing in between is for the comparison of shapes to name."""
    found: dict[str, int] = {}
    for name in shapes:
        if match := _LAYER.match(name):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]) + 1)
    return found


def _expansion(widths: list[tuple[int, int]]) -> float | None:
    """An expansion that gives every (size, inner width): 4 where it does, else the least multiple of ½ that does."""
    exact = [inner * 1.5 / size for size, inner in widths]
    for expansion in (4.0, *_HALVES, *exact):
        if all(swiglu_width(size, expansion) == inner for size, inner in widths):
            return expansion
    return None
